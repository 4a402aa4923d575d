"""Which track each pixel of freshly found segments speaks for."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.tracking.track import CAPACITY
import numpy as np
import numpy.typing as npt

_CONTINUES_SHARE = 0.2
_UNLIKE_SHARE = 0.3
_SWALLOWS_SHARE = 0.5
_LEAST_SHARE = 0.05
_ALIKE = 0.5

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """
    How a frame's segments lie on the tracks expected in it.

    Attributes
    ----------
    slots
        (T,) slots of the tracks.
    rows
        (H, W) number of each pixel's track, T where none is known.
    places
        (H, W) place of each pixel's track and segment in the flattened table.
    table
        (T + 1, S) pixels that they share, those of no track in the last row.

    """

    slots: Counts
    rows: Counts
    places: Counts
    table: Counts


@dataclass(frozen=True)
class Association:
    """
    What segments say about tracks.

    Attributes
    ----------
    says
        (T + 1, S) number of the track that a segment's pixels on a track speak for, or T + s
        for what segment s begins; the last row is for pixels of no known track.
    new
        (S,) pixels of what each segment begins.

    """

    says: Counts
    new: Counts


def tabulate(slots: npt.NDArray[np.integer], known: npt.NDArray[np.bool_] | None,
             segments: npt.NDArray[np.integer], count: int) -> Cells:
    """
    Count the pixels that tracks and segments share.

    Parameters
    ----------
    slots
        (H, W) slot of each pixel's track.
    known
        (H, W) bool where that is more than a guess; None is everywhere.
    segments
        (H, W) from 0 to count - 1.
    count
        Number of segments.

    """
    if known is not None:
        slots = np.where(known, slots, np.uint16(CAPACITY))
    present = np.flatnonzero(np.bincount(slots.ravel(), minlength=CAPACITY)[:CAPACITY])
    number = np.full(CAPACITY + 1, len(present), np.int64)
    number[present] = np.arange(len(present))
    rows = number.take(slots)
    places = rows * count
    places += segments
    table = np.bincount(places.ravel(), minlength=(len(present) + 1) * count)
    return Cells(present, rows, places, table.reshape(-1, count))


def associate(table: Counts, likeness: npt.NDArray[np.floating] | None = None) -> Association:
    """
    Join segments to expected tracks without demanding one segment a track.

    A segment continues the track that holds most of it, if that is a fifth of the segment (half
    where they do not look alike at all) or half of a track that looks like it. Several segments
    may continue one track (over-segmentation leaves ids alone). Where a segment swallows tracks,
    more than half of each, they keep their pixels (under-segmentation). The rest of a segment
    speaks for the track it continues, or begins one.

    Parameters
    ----------
    table
        (T + 1, S) of Cells.
    likeness
        (T, S) cosine of how tracks and segments look: of two tracks in a segment the one that
        looks like it may hold less. None leaves looks out.

    """
    overlap, sizes = table[:-1], table.sum(axis=0)
    tracks, segments = overlap.shape
    begins = np.arange(segments) + tracks
    if not tracks:
        return Association(begins[None, :], sizes)
    inside = overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1)
    score = overlap if likeness is None else overlap * (1 + likeness.clip(0, 1))
    best, columns = score.argmax(axis=0), np.arange(segments)
    like = np.ones(segments) if likeness is None else likeness[best, columns].clip(0, 1)
    share = overlap[best, columns] / np.maximum(sizes, 1)
    continues = ((share >= _UNLIKE_SHARE + (_CONTINUES_SHARE - _UNLIKE_SHARE) * like)
                 | ((inside[best, columns] >= _SWALLOWS_SHARE) & (share >= _LEAST_SHARE)
                    & (like >= _ALIKE)))
    main = np.where(continues, best, begins)
    own = np.arange(tracks)[:, None]
    says = np.where(inside >= _SWALLOWS_SHARE, own, main[None, :])
    says = np.concatenate([says, main[None, :]])
    return Association(says, np.where(says == begins, table, 0).sum(axis=0))
