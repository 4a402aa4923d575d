"""Sleeping tracks that are seen again: by how they look, and by where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.tracking.track import TrackRecord
import numpy as np
import numpy.typing as npt

_MARGIN = 0.02
_PLACE_BONUS = 0.05
_PLACE_SLACK = 0.1


@dataclass(frozen=True)
class Appearance:
    """
    Something new in a frame.

    Attributes
    ----------
    embedding
        (C,) float32 of length 1.
    centre, extent
        (3,) float64 world metres: mean and standard deviation of its points, or None.

    """

    embedding: npt.NDArray[np.float32]
    centre: npt.NDArray[np.float64] | None = None
    extent: npt.NDArray[np.float64] | None = None


def reidentify(seen: Sequence[Appearance], sleeping: Sequence[TrackRecord],
               least: float) -> list[TrackRecord | None]:
    """
    Return, for everything new, the sleeping track that it is, or None.

    A pair must like each other best, by a margin over the second choice of either. Where both
    have a place in the world it must be the same one, and then less likeness is enough.

    Parameters
    ----------
    seen
        What is new.
    sleeping
        Tracks out of view; those without an embedding are nobody.
    least
        Cosine of the embeddings that is needed where no place is known.

    """
    answer: list[TrackRecord | None] = [None] * len(seen)
    known = [track for track in sleeping if track.embedding is not None
             and seen and track.embedding.shape == seen[0].embedding.shape]
    if not known:
        return answer
    looks = np.stack([one.embedding for one in seen])
    score = looks @ np.stack([track.embedding for track in known if track.embedding is not None]).T
    score = _with_places(score, seen, known)
    things = np.array([track.identity for track in known])
    for row in range(len(seen)):
        column = int(score[row].argmax())
        best = score[row, column]
        rivals = max(score[row, things != things[column]].max(initial=-1),
                     np.delete(score[:, column], row).max(initial=-1))
        if best >= least and best - rivals >= _MARGIN:
            answer[row] = known[column]
    return answer


def _with_places(score: npt.NDArray[np.float32], seen: Sequence[Appearance],
                 tracks: Sequence[TrackRecord]) -> npt.NDArray[np.float32]:
    """Return the likeness, raised where the places agree and -1 where they contradict."""
    centres, extents = _boxes(seen)
    others, reaches = _boxes(tracks)
    apart = np.abs(centres[:, None] - others)
    placed = np.isfinite(apart).all(axis=2)
    reach = np.minimum(extents[:, None], reaches) + _PLACE_SLACK
    agree = (apart <= reach).all(axis=2)
    return np.where(placed, np.where(agree, score + np.float32(_PLACE_BONUS), -1), score)


def _boxes(things: Sequence[Appearance | TrackRecord]
           ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (N, 3) centres and extents, NaN where no place is known or it may have changed."""
    boxes = np.full((2, len(things), 3), np.nan)
    for row, thing in enumerate(things):
        if isinstance(thing, TrackRecord) and thing.mobile:
            continue
        if thing.centre is not None and thing.extent is not None:
            boxes[:, row] = thing.centre, thing.extent
    return boxes[0], boxes[1]
