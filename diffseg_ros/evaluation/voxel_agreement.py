"""Whether a place in the world keeps its id through the sequence: voxel_agreement."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.geometry.label_images import first_members
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.geometry.voxels import majority, voxel_codes, voxel_keys, voxel_numbers
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Mask, Matrix, UNLABELLED
import numpy as np
import numpy.typing as npt

VOXEL_SIZE = 0.05
"""Metres."""
MIN_FRAMES = 3
"""Frames that must have seen a voxel for it to be scored."""

_MAX_DISTANCE = 5e4
_COMPACT_ABOVE = 1 << 21


@register_measure('voxel_agreement', commands=('tracks',))
class VoxelAgreement(Measure):
    """
    Counts the votes of every 5 cm world voxel.

    In each frame a voxel gets one vote: the id that most of the frame's points in it carry, the
    lower one of two as frequent. A vote for no segment agrees with nothing. Points farther than
    50 km from the origin are left out. Memory grows with the number of different (voxel, id)
    pairs.
    """

    def reset(self) -> None:
        self._votes: list[tuple[npt.NDArray[np.int64], ...]] = []
        self._stored = self._new = 0

    def update(self, observation: Observation) -> None:
        cloud, frame = observation.cloud, observation.frame
        if cloud is not None and frame is not None and frame.pose is not None:
            self.add(cloud, frame.pose)

    def add(self, cloud: LabelledCloud, pose: Matrix) -> None:
        """Vote with points in the optical frame; `pose` is camera to world."""
        valid = cloud.valid
        world = cloud.points[valid] @ pose[:3, :3].T + pose[:3, 3]
        near = (np.abs(world) < _MAX_DISTANCE).all(axis=1)
        keys = voxel_keys(world[near], VOXEL_SIZE)
        voxels, count = voxel_numbers(keys)
        if not count:
            return
        ids = majority(voxels, count, cloud.labels[valid][near]).astype(np.int64)
        codes = voxel_codes(keys[first_members(voxels)])
        self._votes.append((codes, ids, np.ones(count, np.int64)))
        self._new += count
        if self._new > max(_COMPACT_ABOVE, self._stored):
            self._compact()

    def compute(self) -> dict[str, Any]:
        """Return the share of votes for the voxel's majority id as voxel_agreement, or None."""
        return {'voxel_agreement': self._agreement()}

    def _agreement(self) -> float | None:
        if not self._votes:
            return None
        self._compact()
        voxels, ids, votes = self._votes[0]
        starts = np.flatnonzero(_starts(voxels))
        seen = np.add.reduceat(votes, starts)
        best = np.maximum.reduceat(np.where(ids == UNLABELLED, 0, votes), starts)
        scored = seen >= MIN_FRAMES
        return float(best[scored].sum() / seen[scored].sum()) if scored.any() else None

    def _compact(self) -> None:
        """Sum the votes of each (voxel, id) pair, sorted by voxel and id."""
        voxels, ids, votes = (np.concatenate(parts) for parts in zip(*self._votes))
        order = np.lexsort((ids, voxels))
        voxels, ids = voxels[order], ids[order]
        starts = np.flatnonzero(_starts(voxels) | _starts(ids))
        self._votes = [(voxels[starts], ids[starts], np.add.reduceat(votes[order], starts))]
        self._stored, self._new = len(starts), 0


def _starts(values: npt.NDArray[np.int64]) -> Mask:
    """Mark the first of each run of equal values."""
    return np.concatenate([[True], values[1:] != values[:-1]])
