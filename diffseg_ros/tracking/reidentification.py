"""Sleeping tracks that are seen again: by how they look, and by where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.tracking.life import Track
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


def reidentify(seen: Sequence[Appearance], sleeping: Sequence[Track],
               least: float) -> list[Track | None]:
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
    answer: list[Track | None] = [None] * len(seen)
    known = [track for track in sleeping if track.embedding is not None
             and seen and track.embedding.shape == seen[0].embedding.shape]
    if not known:
        return answer
    looks = np.stack([one.embedding for one in seen])
    score = looks @ np.stack([track.embedding for track in known if track.embedding is not None]).T
    for row, one in enumerate(seen):
        for column, track in enumerate(known):
            score[row, column] = _with_place(float(score[row, column]), one, track)
    for row in range(len(seen)):
        column = int(score[row].argmax())
        best = score[row, column]
        rivals = max(np.delete(score[row], column).max(initial=-1),
                     np.delete(score[:, column], row).max(initial=-1))
        if best >= least and best - rivals >= _MARGIN:
            answer[row] = known[column]
    return answer


def _with_place(score: float, one: Appearance, track: Track) -> float:
    """Return the likeness, raised where the places agree and -1 where they contradict."""
    if one.centre is None or one.extent is None or track.centre is None or track.extent is None:
        return score
    apart = np.abs(one.centre - track.centre)
    reach = np.minimum(one.extent, track.extent) + _PLACE_SLACK
    return score + _PLACE_BONUS if (apart <= reach).all() else -1.0
