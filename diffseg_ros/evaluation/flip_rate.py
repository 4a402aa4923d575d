"""How often a point of the world changes its id from one frame to the next: flip_rate."""

from __future__ import annotations

from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.registry import register_measure
from diffseg_ros.types import Intrinsics, Matrix, UNLABELLED
import numpy as np
import numpy.typing as npt

MAX_DEPTH_ERROR = 0.05
"""Metres by which a warped pixel may miss the depth it lands on."""


@register_measure('flip_rate', commands=('tracks',))
class FlipRate(Measure):
    """
    Warps the label image of each frame by depth and pose into the next, and compares.

    Every pixel with depth is moved. What leaves the view, lands where there is no depth or misses
    it by more than 5 cm (hidden, or measured wrong) is not compared; a compared pixel is a flip
    where the two ids differ or either is unlabelled. Only the last frame is kept.
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
