"""Where tracks are in the world: points of the present frame, and a voxel map of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from diffseg_ros.geometry.voxels import voxel_codes, voxel_indices
from diffseg_ros.tracking.label_map import STRIDE
from diffseg_ros.tracking.tracking_frame import Indices, TrackingFrame
from diffseg_ros.types import Mask, Matrix
import numpy as np
import numpy.typing as npt

VOXEL_SIZE = 0.05
"""Metres."""

MOST_VOTES = 20

_ENTRIES = 2**18
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_STEP = 8
_LEAST_POINTS = 4

Position = npt.NDArray[np.float64]
"""(2, 3) float64 world metres: mean and standard deviation of points."""


class WorldPoints:
    """World points of every eighth pixel along each axis that has depth."""

    def __init__(self, frame: TrackingFrame, world: Matrix) -> None:
        """Take a frame with depth and intrinsics, and its (4, 4) camera-to-world transform."""
        self._rows, self._columns = frame.grid(_STEP)
        self._points = frame.points(self._rows, self._columns, world).astype(np.float64)

    def position(self, mask: Mask) -> Position | None:
        """Return the position of a subsampled mask, None where it has few points."""
        points = self._points[mask[self._rows // STRIDE, self._columns // STRIDE]]
        if len(points) < _LEAST_POINTS:
            return None
        return np.stack([points.mean(axis=0), points.std(axis=0)])

    def positions(self, slots: npt.NDArray[np.integer]) -> Iterator[tuple[int, Position]]:
        """Yield slot and position of every (H, W) slot with enough points."""
        owners = slots[self._rows, self._columns].astype(np.int64)
        counts = np.bincount(owners)
        total = np.maximum(counts, 1)[:, None]
        mean, square = (np.stack([np.bincount(owners, axis, len(counts)) for axis in points.T],
                                 axis=1) / total
                        for points in (self._points, np.square(self._points)))
        spread = np.sqrt(np.maximum(square - np.square(mean), 0))
        positions = np.stack([mean, spread], axis=1)
        for slot in np.flatnonzero(counts >= _LEAST_POINTS):
            yield int(slot), positions[slot]


class VoxelLabelMap:
    """
    Majority votes of track ids in world voxels, one vote per frame and voxel.

    A hash table of fixed size: voxels that fall on one entry vote against each other, and the
    entry goes to the newer one when its votes are used up, so that places that are not seen
    again make room. Source of the vote: Boyer and Moore, "MJRTY", 1981.
    """

    def __init__(self) -> None:
        self._keys = np.full(_ENTRIES, -1, np.int64)
        self._ids = np.zeros(_ENTRIES, np.int32)
        self._votes = np.zeros(_ENTRIES, np.int16)

    def clear(self) -> None:
        self._votes[:] = 0
        self._keys[:] = -1

    def vote(self, points: npt.NDArray[np.floating], ids: npt.NDArray[np.int32]) -> None:
        """Vote for (N,) ids at (N, 3) finite world metres; the last in a voxel counts, once."""
        keys, entries = _hash(points)
        votes = self._votes[entries]
        agrees = (self._keys[entries] == keys) & (self._ids[entries] == ids)
        takes = ~agrees & (votes <= 1)
        after = np.where(agrees, np.minimum(votes + 1, MOST_VOTES), votes - 1)
        self._votes[entries] = np.where(takes, 1, after)
        self._keys[entries[takes]] = keys[takes]
        self._ids[entries[takes]] = ids[takes]

    def recall(self, points: npt.NDArray[np.floating]
               ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """Return the (N,) int32 id and int16 votes at (N, 3) world points; 0 votes is none."""
        keys, entries = _hash(points)
        votes = np.where(self._keys[entries] == keys, self._votes[entries], 0)
        return self._ids[entries], votes.astype(np.int16)

    def rename(self, old: int, new: int) -> None:
        self._ids[self._ids == old] = new

    def content(self) -> VoxelLabels:
        """Return what is remembered."""
        used = np.flatnonzero(self._votes > 0)
        return VoxelLabels(self._keys[used], self._ids[used], self._votes[used])

    def insert(self, labels: VoxelLabels) -> None:
        """Remember voxels with their votes, in place of what is known of them."""
        entries = _entries(labels.keys)
        self._keys[entries], self._ids[entries] = labels.keys, labels.ids
        self._votes[entries] = labels.votes


class VoxelLabels(NamedTuple):
    """Voxels of a map: (V,) int64 keys, int32 ids and int16 votes."""

    keys: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int32]
    votes: npt.NDArray[np.int16]

    def centres(self) -> npt.NDArray[np.float64]:
        """Return the (V, 3) centres in world metres."""
        return (voxel_indices(self.keys).astype(np.float64) + 0.5) * VOXEL_SIZE

    def of(self, ids: npt.NDArray[np.int32]) -> VoxelLabels:
        """Return the voxels of some ids."""
        kept = np.isin(self.ids, ids)
        return VoxelLabels(self.keys[kept], self.ids[kept], self.votes[kept])


def _hash(points: npt.NDArray[np.floating]) -> tuple[Indices, Indices]:
    """Return the key of each point's voxel and its entry in the table."""
    keys = voxel_codes(np.floor(points * (1 / VOXEL_SIZE)).astype(np.int64))
    return keys, _entries(keys)


def _entries(keys: Indices) -> Indices:
    """Return the entries of voxels in the table."""
    mixed = keys.astype(np.uint64) * _HASH_FACTOR
    mixed ^= mixed >> np.uint64(32)
    mixed *= _HASH_FACTOR
    return (mixed >> np.uint64(64 - _ENTRIES.bit_length() + 1)).astype(np.int64)
