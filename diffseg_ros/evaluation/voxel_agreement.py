"""Whether a place in the world keeps its id through the sequence: voxel_agreement."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.geometry.voxels import voxel_codes, voxel_keys
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Matrix, UNLABELLED
import numpy as np
import numpy.typing as npt

VOXEL_SIZE = 0.05
"""Metres."""
MIN_FRAMES = 3
"""Frames that must have seen a voxel for it to be scored."""

_MAX_DISTANCE = 5e4
_COMPACT_ABOVE = 1 << 21

Numbers = npt.NDArray[np.int64]


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
        self._votes: list[tuple[Numbers, Numbers, Numbers]] = []
        self._stored = self._new = 0

    def update(self, observation: Observation) -> None:
        cloud, frame = observation.cloud, observation.frame
        if cloud is not None and frame is not None and frame.pose is not None:
            self.add(cloud, frame.pose)

    def add(self, cloud: LabelledCloud, pose: Matrix) -> None:
        """Vote with points in the optical frame; `pose` is camera to world."""
        listed = cloud.compact()
        world = pose[:3, :3] @ listed.points.T + pose[:3, 3:]
        near = (np.abs(world) < _MAX_DISTANCE).all(axis=0)
        codes = voxel_codes(voxel_keys(world[:, near].T, VOXEL_SIZE))
        ids = listed.labels[near].astype(np.int64)
        voxels, ids, points = _summed(codes, ids, np.ones(len(ids), np.int64))
        # By voxel, then most points, then lowest id: the first of each voxel is its vote.
        order = np.lexsort((ids, -points, voxels))
        winners = order[_starts(voxels[order])]
        self._votes.append((voxels[winners], ids[winners], np.ones(len(winners), np.int64)))
        self._new += len(winners)
        if self._new > max(_COMPACT_ABOVE, self._stored):
            self._compact()

    def compute(self) -> dict[str, Any]:
        """Return the share of votes for the voxel's majority id as voxel_agreement, or None."""
        self._compact()
        voxels, ids, votes = self._votes[0]
        starts = _starts(voxels)
        seen = np.add.reduceat(votes, starts)
        best = np.maximum.reduceat(np.where(ids == UNLABELLED, 0, votes), starts)
        scored = seen >= MIN_FRAMES
        share = float(best[scored].sum() / seen[scored].sum()) if scored.any() else None
        return {'voxel_agreement': share}

    def _compact(self) -> None:
        """Join the votes of all frames."""
        none = np.empty((3, 0), np.int64)
        voxels, ids, votes = (np.concatenate(parts) for parts in zip(none, *self._votes))
        self._votes = [_summed(voxels, ids, votes)]
        self._stored, self._new = len(self._votes[0][0]), 0


def _summed(voxels: Numbers, ids: Numbers, votes: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return the different (voxel, id) pairs, sorted, and the sum of each one's votes."""
    order = np.lexsort((ids, voxels))
    voxels, ids, votes = voxels[order], ids[order], votes[order]
    starts = _starts(voxels, ids)
    return voxels[starts], ids[starts], np.add.reduceat(votes, starts)


def _starts(*keys: Numbers) -> npt.NDArray[np.intp]:
    """Return where in sorted arrays a run of equal values begins."""
    changed = np.ones(len(keys[0]), bool)
    changed[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(changed)
