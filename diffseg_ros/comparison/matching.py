"""Which id of one replay is which of another, by the pixels that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from diffseg_ros.geometry.label_images import compact, distinct_labels
from diffseg_ros.types import LabelImage, UNLABELLED
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

LEAST_IOU = 0.1
"""Intersection over union, over the recording, from which on two ids can be the same thing."""

_NOBODY = -2
_IDS = 1 << 32

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """
    How many pixels each pair of ids has in common; pairs without any are left out.

    Attributes
    ----------
    old, new
        (P,) int64 ids of each pair, UNLABELLED (-1) among them.
    pixels
        (P,) int64, above 0.

    """

    old: Ids
    new: Ids
    pixels: npt.NDArray[np.int64]

    @cached_property
    def old_sizes(self) -> npt.NDArray[np.int64]:
        """(P,) int64 pixels of the old id of each pair."""
        return _sizes(self.old, self.pixels)

    @cached_property
    def new_sizes(self) -> npt.NDArray[np.int64]:
        """(P,) int64 pixels of the new id of each pair."""
        return _sizes(self.new, self.pixels)

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """(P,) intersection over union of each pair."""
        return np.asarray(self.pixels / (self.old_sizes + self.new_sizes - self.pixels))


def frame_overlaps(old: LabelImage, new: LabelImage) -> Overlaps:
    """Return the overlaps of two (H, W) label images of one frame."""
    rows, columns = (distinct_labels(labels).astype(np.int64) for labels in (old, new))
    pairs = compact(old).astype(np.int64) * len(columns) + compact(new)
    pixels = np.bincount(pairs.ravel(), minlength=len(rows) * len(columns))
    met = np.flatnonzero(pixels)
    return Overlaps(rows[met // len(columns)], columns[met % len(columns)], pixels[met])


def summed(frames: Sequence[Overlaps]) -> Overlaps:
    """Return the overlaps of all frames together."""
    codes = np.concatenate([(frame.old - UNLABELLED) * _IDS + frame.new - UNLABELLED
                            for frame in frames])
    pairs, places = np.unique(codes, return_inverse=True)
    pixels = np.zeros(len(pairs), np.int64)
    np.add.at(pixels, places, np.concatenate([frame.pixels for frame in frames]))
    return Overlaps(pairs // _IDS + UNLABELLED, pairs % _IDS + UNLABELLED, pixels)


@dataclass(frozen=True)
class Match:
    """Pairs of an old and a new id that are the same thing, (M,) each, sorted by the old one."""

    old: Ids
    new: Ids

    def partners(self, old: Ids) -> Ids:
        """Return (P,) the new id of each old one, -2 without one; UNLABELLED stays so."""
        ends = np.append(self.old, np.iinfo(np.int64).max)
        places = np.searchsorted(ends, old)
        found = np.where(ends[places] == old, np.append(self.new, _NOBODY)[places], _NOBODY)
        return np.where(old == UNLABELLED, UNLABELLED, found)

    def moved_share(self, frame: Overlaps) -> float:
        """Return the share of a frame's pixels, 0 to 1, whose id is not the same thing's."""
        moved = self.partners(frame.old) != frame.new
        return float(frame.pixels[moved].sum() / frame.pixels.sum())


def match_ids(total: Overlaps) -> Match:
    """
    Match ids one to one so that they have most pixels in common, in pairs of LEAST_IOU or more.

    The result is that of `scipy.optimize.linear_sum_assignment`, from the pairs that meet alone:
    a table of all ids would be large for long recordings.
    """
    able = (total.old != UNLABELLED) & (total.new != UNLABELLED) & (total.iou >= LEAST_IOU)
    old, rows = np.unique(total.old[able], return_inverse=True)
    new, columns = np.unique(total.new[able], return_inverse=True)
    if not len(old):
        return Match(old, new)
    # Each old id may also take a column of its own, so that a full matching exists: every pair
    # counts one pixel more than that column.
    alone = np.arange(len(old))
    weights = csr_matrix(
        (np.concatenate([total.pixels[able] + 1, np.ones(len(old), np.int64)]),
         (np.concatenate([rows, alone]), np.concatenate([columns, len(new) + alone]))))
    taken, partners = min_weight_full_bipartite_matching(weights, maximize=True)
    matched = partners < len(new)
    return Match(old[taken[matched]], new[partners[matched]])


def _sizes(ids: Ids, pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    places = np.unique(ids, return_inverse=True)[1]
    sizes = np.zeros(int(places.max(initial=-1)) + 1, np.int64)
    np.add.at(sizes, places, pixels)
    return sizes[places]
