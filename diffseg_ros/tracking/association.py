"""Data association: segments with tracks in view by overlap, new segments with lost tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.track_manager import TrackRecord
from diffseg_ros.tracking.world_map import Position
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

_CONTINUES_SHARE = 0.2
_UNLIKE_SHARE = 0.3
_SWALLOWED_SHARE = 0.5
_LEAST_SHARE = 0.05
_ALIKE = 0.5
_MARGIN = 0.02
_LOADED_MARGIN = 0.1
_PLACE_BONUS = 0.05
_PLACE_SLACK = 0.1

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """
    How a frame's S segments lie on the T tracks expected in it.

    `slots` holds the (T,) tracks' slots, `rows` the (H, W) row of each pixel's track in the table,
    T where none is known. `cells` is the (H, W) place of each pixel's track and segment in the
    flattened `table`, which counts the (T + 1, S) pixels that they share; those of no track are in
    the last row.
    """

    slots: Counts
    rows: Counts
    cells: Counts
    table: Counts


def count_overlap(slots: npt.NDArray[np.integer], known: Mask | None,
                  segments: npt.NDArray[np.integer], count: int) -> Overlap:
    """
    Count the pixels that tracks and segments share.

    Where not `known` (None is everywhere) a slot is a guess. Segments are 0 to count - 1.
    """
    if known is not None:
        slots = np.where(known, slots, np.uint16(CAPACITY))
    present = np.flatnonzero(np.bincount(slots.ravel(), minlength=CAPACITY)[:CAPACITY])
    row_of = np.full(CAPACITY + 1, len(present), np.int64)
    row_of[present] = np.arange(len(present))
    rows = row_of.take(slots)
    cells = rows * count + segments
    table = np.bincount(cells.ravel(), minlength=(len(present) + 1) * count)
    return Overlap(present, rows, cells, table.reshape(-1, count))


def associate(table: Counts,
              similarity: npt.NDArray[np.floating] | None = None) -> Counts:
    """
    Return the (T + 1, S) row that a segment's pixels on each track are assigned to.

    T + s is the new track that segment s starts; the last row is for pixels of no known track. A
    segment continues the track that holds most of it, if that is a fifth of the segment (30 %
    where they do not look alike at all) or half of a track that looks like it. Several segments
    may continue one track. Tracks that a segment swallows, more than half of each, keep their
    pixels; the rest goes to the track it continues, or to a new one. `table` is that of Overlap,
    `similarity` the (T, S) cosine of the embeddings: of two tracks the one that looks like the
    segment may hold less. None leaves looks out.
    """
    overlap, sizes = table[:-1], table.sum(axis=0)
    tracks, segments = overlap.shape
    starts = np.arange(segments) + tracks
    if not tracks:
        return starts[None, :]
    inside = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    similarity = (np.ones(overlap.shape) if similarity is None else similarity).clip(0, 1)
    best = (overlap * (1 + similarity)).argmax(axis=0), np.arange(segments)
    alike, share = similarity[best], overlap[best] / np.maximum(sizes, 1)
    continues = ((share >= _UNLIKE_SHARE + (_CONTINUES_SHARE - _UNLIKE_SHARE) * alike)
                 | ((inside[best] >= _SWALLOWED_SHARE) & (share >= _LEAST_SHARE)
                    & (alike >= _ALIKE)))
    main = np.where(continues, best[0], starts)
    assignment = np.where(inside >= _SWALLOWED_SHARE, np.arange(tracks)[:, None], main)
    return np.concatenate([assignment, main[None, :]])


class Appearance(NamedTuple):
    """How something new looks, a (C,) float32 embedding of length 1, and where it is."""

    embedding: npt.NDArray[np.float32]
    position: Position | None = None


def reidentify(new: Sequence[Appearance], lost: Sequence[TrackRecord],
               threshold: float) -> list[TrackRecord | None]:
    """
    Return, for everything new, the lost track that it is, or None.

    A pair must be each other's best match, by a margin over the second choice of either, with a
    cosine of at least `threshold`. Where both have a position it must be the same one, and then
    0.05 less is enough. Tracks without an embedding match nothing; those of a file that have no
    position need a larger margin, as they may be of another place.
    """
    found: list[TrackRecord | None] = [None] * len(new)
    known = [track for track in lost if track.embedding is not None
             and new and track.embedding.shape == new[0].embedding.shape]
    if not known:
        return found
    score = _similarity(new, known)
    ids = np.array([track.id for track in known])
    for row in range(len(new)):
        column = int(score[row].argmax())
        best = score[row, column]
        rivals = max(score[row, ids != ids[column]].max(initial=-1),
                     np.delete(score[:, column], row).max(initial=-1))
        track = known[column]
        unplaced = track.loaded and track.position is None
        if best >= threshold and best - rivals >= (_LOADED_MARGIN if unplaced else _MARGIN):
            found[row] = track
    return found


def _similarity(new: Sequence[Appearance],
                tracks: Sequence[TrackRecord]) -> npt.NDArray[np.float32]:
    """Return (N, T) cosines, raised where the positions agree and -1 where they contradict."""
    cosine = np.stack([one.embedding for one in new]) @ np.stack(
        [track.embedding for track in tracks if track.embedding is not None]).T
    # A track that moved by itself may be elsewhere by now.
    centres, extents = _positions([one.position for one in new])
    track_centres, track_extents = _positions([None if track.dynamic else track.position
                                               for track in tracks])
    distance = np.abs(centres[:, None] - track_centres)
    placed = np.isfinite(distance).all(axis=2)
    reach = np.minimum(extents[:, None], track_extents) + _PLACE_SLACK
    agree = (distance <= reach).all(axis=2)
    return np.where(placed, np.where(agree, cosine + np.float32(_PLACE_BONUS), -1), cosine)


def _positions(positions: Sequence[Position | None]) -> npt.NDArray[np.float64]:
    """Return (2, N, 3) centres and extents, NaN where no position is known."""
    unknown = np.full((2, 3), np.nan)
    return np.stack([unknown if one is None else one for one in positions], axis=1)
