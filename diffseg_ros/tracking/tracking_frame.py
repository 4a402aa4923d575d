"""What tracking keeps of a frame: brightness, depth and pose at its working size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
from diffseg_ros.geometry.camera import unproject_pixels
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.types import DepthImage, Frame, Intrinsics, Matrix
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_FLOW_WIDTH = 320


@dataclass(frozen=True)
class TrackingFrame:
    """
    One frame at the (H, W) `shape` that labels are tracked at.

    `grey` is the uint8 brightness for image motion, smaller by a whole factor; depth and
    intrinsics are of an H by W image, the pose is camera-to-world, the stamp in nanoseconds.
    `fixed_frame` names that world where it is the same after a restart, and is '' elsewhere.
    """

    shape: tuple[int, int]
    grey: npt.NDArray[np.uint8]
    depth: DepthImage | None = None
    intrinsics: Intrinsics | None = None
    pose: Matrix | None = None
    stamp: int = 0
    fixed_frame: str = ''

    @classmethod
    def from_frame(cls, frame: Frame, width: int, *, depth: bool = True,
                   pose: bool = True) -> TrackingFrame:
        """Reduce a frame to at most `width` columns; use its depth and pose only where asked."""
        rows, columns = frame.rgb.shape[:2]
        if columns > width:
            rows, columns = max(2, round(rows * width / columns)), width
        grey = cv2.resize(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), _flow_size(rows, columns),
                          interpolation=cv2.INTER_AREA)
        metres = None
        if depth and frame.depth is not None and frame.intrinsics is not None:
            metres = resize_labels(frame.depth, rows, columns)
        posed = pose and frame.pose is not None and bool(np.isfinite(frame.pose).all())
        return cls((rows, columns), grey, metres,
                   frame.intrinsics and frame.intrinsics.resized(columns, rows),
                   frame.pose if posed else None, frame.stamp,
                   frame.fixed_frame if posed and lasts(frame.fixed_frame) else '')

    @property
    def has_points(self) -> bool:
        """Whether pixels have places in space: depth and intrinsics are known."""
        return self.depth is not None and self.intrinsics is not None

    def resized(self, shape: tuple[int, int]) -> TrackingFrame:
        if shape == self.shape:
            return self
        return replace(
            self, shape=shape,
            grey=cv2.resize(self.grey, _flow_size(*shape), interpolation=cv2.INTER_AREA),
            depth=None if self.depth is None else resize_labels(self.depth, *shape),
            intrinsics=self.intrinsics and self.intrinsics.resized(*shape[::-1]))

    def grid(self, step: int, weight: npt.NDArray[Any] | None = None) -> tuple[Indices, Indices]:
        """Return rows and columns of every `step`th pixel that has depth and a weight above 0."""
        assert self.depth is not None
        mask = self.depth[::step, ::step] > 0
        if weight is not None:
            mask &= weight[::step, ::step] > 0
        places, width = np.flatnonzero(mask), mask.shape[1]
        rows = places // width  # faster than the places along both axes
        return rows * step, (places - rows * width) * step

    def points(self, rows: Indices, columns: Indices,
               transform: Matrix | None = None) -> FloatArray:
        """Return the (N, 3) points of pixels in metres, in the camera or moved by `transform`."""
        assert self.depth is not None and self.intrinsics is not None
        return unproject_pixels(self.depth, self.intrinsics, rows, columns, transform)


def lasts(fixed_frame: str) -> bool:
    """Return whether a world is the same after a restart; odometry begins where it starts."""
    return 'odom' not in fixed_frame.rpartition('/')[2]


def _flow_size(rows: int, columns: int) -> tuple[int, int]:
    """Return (width, height) of the brightness image; whole factors are the fastest."""
    factor = max(1, -(-columns // _FLOW_WIDTH))
    return max(1, columns // factor), max(1, rows // factor)
