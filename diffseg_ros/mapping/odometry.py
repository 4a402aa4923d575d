"""Camera motion from RGB-D images by Open3D's odometry."""

from __future__ import annotations

from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import camera_matrix, rectify
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.types import Frame, Matrix
import numpy as np
import open3d
from open3d.t.pipelines import odometry

_ITERATIONS = (10, 5, 3)
_DEPTH_OUTLIER = 0.07
_SAME_VIEW = 0.8
_LOST = 0.3


class RgbdOdometry:
    """
    Estimates where the camera is relative to its first frame.

    Each frame is aligned with a key frame by Open3D's multi-scale point-to-plane method, using
    depth up to `max_depth` metres. When less than 80 % of a frame agrees, the frame before
    becomes the key frame. Errors add up from key frame to key frame: there is no loop closure.
    """

    def __init__(self, max_depth: float = 4.0) -> None:
        self._max_depth = max_depth
        self._key: Any = None
        self._key_pose: Matrix = np.eye(4)
        self._last: Any = None
        self._motion: Matrix = np.eye(4)

    def pose(self, frame: Frame) -> Matrix | None:
        """
        Return the (4, 4) pose of a frame in the first camera's frame, or None if lost.

        Raises DiffsegError when the frame lacks depth or intrinsics, or the distortion model is
        not supported.
        """
        image, matrix = _rectified(frame)
        if self._key is None:
            self._key = self._last = image
            return np.eye(4)
        motion, fitness = self._aligned(image, self._key, matrix, self._motion)
        if fitness < _SAME_VIEW and self._last is not self._key:
            step, again = self._aligned(image, self._last, matrix, np.eye(4))
            if again >= _LOST:
                self._key, self._key_pose = self._last, self._key_pose @ self._motion
                motion, fitness = step, again
        if fitness < _LOST:
            return None
        self._last, self._motion = image, motion
        return self._key_pose @ motion

    def _aligned(self, image: Any, key: Any, matrix: Matrix,
                 start: Matrix) -> tuple[Matrix, float]:
        """Return the (4, 4) motion from `image` to `key`, and the share that agrees with it."""
        tensor = open3d.core.Tensor.from_numpy
        try:
            found = odometry.rgbd_odometry_multi_scale(
                image, key, tensor(matrix), tensor(start), 1.0, self._max_depth,
                [odometry.OdometryConvergenceCriteria(count) for count in _ITERATIONS],
                odometry.Method.PointToPlane, odometry.OdometryLossParams(_DEPTH_OUTLIER))
        except RuntimeError:
            # Open3D's least squares has no solution: too little depth in common.
            return np.eye(4), 0.0
        motion = found.transformation.numpy()
        return motion, float(found.fitness) if np.isfinite(motion).all() else 0.0


def _rectified(frame: Frame) -> tuple[Any, Matrix]:
    """Return the frame as a pinhole camera would see it, at the size of its depth, and K."""
    if frame.depth is None or frame.intrinsics is None:
        raise DiffsegError('odometry: the frame has no depth or no intrinsics; both are needed')
    height, width = frame.depth.shape
    camera = frame.intrinsics.resized(width, height)
    rgb = rectify(resize_labels(frame.rgb, height, width), camera)
    depth = rectify(np.nan_to_num(frame.depth, posinf=0), camera, cv2.INTER_NEAREST)
    images = [open3d.t.geometry.Image(np.ascontiguousarray(image)) for image in (rgb, depth)]
    return open3d.t.geometry.RGBDImage(*images), camera_matrix(camera)
