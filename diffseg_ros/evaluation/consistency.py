"""Measures of how well the world keeps its ids; they need depth and poses, but no truth."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.geometry.voxels import voxel_codes, voxel_keys
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Intrinsics, Matrix, UNLABELLED
import numpy as np
import numpy.typing as npt

MAX_DEPTH_ERROR = 0.05
"""Metres by which a warped pixel may miss the depth it lands on."""
VOXEL_SIZE = 0.05
"""Metres."""
MIN_FRAMES = 3
"""Frames that must have seen a voxel for it to be scored."""

_MAX_DISTANCE = 5e4
_COMPACT_ABOVE = 1 << 21

Numbers = npt.NDArray[np.int64]


@register_measure('flip_rate', commands=('tracks',))
class FlipRate(Measure):
    """
    How often a point of the world changes its id from one frame to the next.

    The label image of each frame is warped by depth and pose into the next. Every pixel with depth
    is moved. What leaves the view, lands where there is no depth or misses it by more than 5 cm
    (hidden, or measured wrong) is not compared; a compared pixel is a flip where the two ids
    differ or either is unlabelled. Only the last frame is kept.
    """

    def reset(self) -> None:
        self._last: tuple[LabelledCloud, Matrix, int] | None = None
        self._pixels = self._compared = self._flips = 0

    def update(self, observation: Observation) -> None:
        # Neighbours of a frame without depth or pose, and two epochs, are not compared.
        last, self._last = self._last, None
        frame, cloud = observation.frame, observation.cloud
        if frame is None or cloud is None or frame.pose is None or frame.intrinsics is None:
            return
        self._last = cloud.compact(), frame.pose, observation.epoch
        if last is None or last[2] != observation.epoch:
            return
        before, last_pose, _ = last
        motion = (np.linalg.inv(frame.pose) @ last_pose).astype(np.float32)
        moved = before.points @ motion[:3, :3].T + motion[:3, 3]
        self._compare(moved, before.labels, cloud, frame.intrinsics)

    def compute(self) -> dict[str, Any]:
        """Return flip_rate and compared_share, or None where nothing could be compared."""
        return {'flip_rate': self._flips / self._compared if self._compared else None,
                'compared_share': self._compared / self._pixels if self._pixels else None}

    def _compare(self, moved: npt.NDArray[np.float32], labels: npt.NDArray[np.int32],
                 cloud: LabelledCloud, intrinsics: Intrinsics) -> None:
        height, width = cloud.labels.shape
        row, column, seen = visible_pixels(moved, intrinsics.resized(width, height))
        # NaN depth compares false: without depth there is nothing to compare with.
        near = np.abs(cloud.points[row, column, 2] - moved[seen, 2]) <= MAX_DEPTH_ERROR
        before, after = labels[seen][near], cloud.labels[row, column][near]
        self._pixels += cloud.labels.size
        self._compared += len(before)
        self._flips += int(((before != after) | (after == UNLABELLED)).sum())


@register_measure('voxel_agreement', commands=('tracks',))
class VoxelAgreement(Measure):
    """
    Whether a place in the world keeps its id through the sequence.

    In each frame a 5 cm world voxel gets one vote: the id that most of the frame's points in it
    carry, the lower one of two as frequent. A vote for no segment agrees with nothing. Points
    farther than 50 km from the origin are left out. Memory grows with the number of different
    (voxel, id) pairs.
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
