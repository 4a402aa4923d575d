"""Whether a place in the world keeps its id through the sequence: voxel_agreement."""

from __future__ import annotations

from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.types import UNLABELLED
import numpy as np
import numpy.typing as npt

VOXEL_SIZE = 0.05
"""Metres."""
MIN_FRAMES = 3
"""Frames that must have seen a voxel for it to be scored."""

_BITS = 21
_HALF = 1 << (_BITS - 1)
_COMPACT_ABOVE = 1 << 21

Codes = npt.NDArray[np.int64]


class VoxelAccumulator:
    """
    Counts the votes of every 5 cm world voxel.

    In each frame a voxel gets one vote: the id that most of the frame's points in it carry, the
    lower one of two as frequent. A vote for no segment agrees with nothing. Memory grows with
    the number of different (voxel, id) pairs.
    """

    def __init__(self) -> None:
        """Begin an empty sequence."""
        self._voxels: Codes = np.empty(0, np.int64)
        self._ids: Codes = np.empty(0, np.int64)
        self._votes: Codes = np.empty(0, np.int64)
        self._new: list[tuple[Codes, Codes]] = []
        self._pending = 0

    def add(self, cloud: LabelledCloud, pose: npt.NDArray[np.float64]) -> None:
        """
        Vote with one frame.

        Parameters
        ----------
        cloud
            Points in the camera's optical frame with the labels of the frame.
        pose
            (4, 4) camera-to-world transform.

        """
        valid = cloud.valid
        world = cloud.points[valid] @ pose[:3, :3].T + pose[:3, 3]
        cells = np.floor(world / VOXEL_SIZE).astype(np.int64) + _HALF
        cells = cells[inside := ((cells >= 0) & (cells < 2 * _HALF)).all(axis=1)]
        codes = cells[:, 0] << 2 * _BITS | cells[:, 1] << _BITS | cells[:, 2]
        voxels, ids, counts = _counted(codes, cloud.labels[valid][inside].astype(np.int64))
        # Sorted by voxel, then most points, then lowest id: the first of each voxel votes.
        order = np.lexsort((ids, -counts, voxels))
        first = order[_starts(voxels[order])]
        self._new.append((voxels[first], ids[first]))
        self._pending += len(first)
        if self._pending > max(_COMPACT_ABOVE, len(self._votes)):
            self._compact()

    def agreement(self) -> float | None:
        """Return the share of votes for the voxel's majority id; None without voxels to score."""
        self._compact()
        if not len(self._votes):
            return None
        starts = np.flatnonzero(_starts(self._voxels))
        seen = np.add.reduceat(self._votes, starts)
        best = np.maximum.reduceat(np.where(self._ids == UNLABELLED, 0, self._votes), starts)
        scored = seen >= MIN_FRAMES
        return float(best[scored].sum() / seen[scored].sum()) if scored.any() else None

    def _compact(self) -> None:
        """Add the new votes to the sums, which stay sorted by voxel and id."""
        if not self._new:
            return
        voxels, ids = (np.concatenate(parts) for parts in zip(*self._new))
        weights = np.concatenate([self._votes, np.ones(len(voxels), np.int64)])
        self._voxels, self._ids, self._votes = _counted(
            np.concatenate([self._voxels, voxels]), np.concatenate([self._ids, ids]), weights)
        self._new, self._pending = [], 0


def _counted(voxels: Codes, ids: Codes, weights: Codes | None = None
             ) -> tuple[Codes, Codes, Codes]:
    """Return the different (voxel, id) pairs, sorted, and the sum of each one's weights."""
    order = np.lexsort((ids, voxels))
    voxels, ids = voxels[order], ids[order]
    starts = np.flatnonzero(_starts(voxels) | _starts(ids))
    if weights is None:
        return voxels[starts], ids[starts], np.diff(starts, append=len(voxels))
    sums = np.add.reduceat(weights[order], starts) if len(starts) else weights
    return voxels[starts], ids[starts], sums


def _starts(values: Codes) -> npt.NDArray[np.bool_]:
    """Mark the first of each run of equal values."""
    marks = np.ones(len(values), bool)
    marks[1:] = values[1:] != values[:-1]
    return marks
