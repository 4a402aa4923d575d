"""How often a point of the world changes its id from one frame to the next: flip_rate."""

from __future__ import annotations

import cv2
from diffseg_ros.geometry.camera import is_pinhole, ray_table
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.types import Intrinsics, UNLABELLED
import numpy as np
import numpy.typing as npt

MAX_DEPTH_ERROR = 0.05
"""Metres by which a warped pixel may miss the depth it lands on."""

_MAX_RAY_ERROR = 1.0

Floats = npt.NDArray[np.float32]


class FlipAccumulator:
    """
    Warps the label image of each frame by depth and pose into the next, and compares.

    Every pixel with depth is moved. What leaves the view, lands where there is no depth or misses
    it by more than 5 cm (hidden, or measured wrong) is not compared; a compared pixel is a flip
    where the two ids differ or either is unlabelled. Only the last frame is kept.
    """

    def __init__(self) -> None:
        """Begin an empty sequence."""
        self._last: tuple[Floats, npt.NDArray[np.int32], npt.NDArray[np.float64]] | None = None
        self._pixels = self._compared = self._flips = 0

    def add(self, cloud: LabelledCloud, intrinsics: Intrinsics,
            pose: npt.NDArray[np.float64]) -> None:
        """
        Compare one frame with the one before.

        Parameters
        ----------
        cloud
            Organised (H, W) cloud in the optical frame, with the labels of the frame.
        intrinsics
            Of the same view, at any size.
        pose
            (4, 4) camera-to-world transform.

        Raises
        ------
        DiffsegError
            The distortion model is not supported.

        """
        if self._last is not None:
            points, labels, last_pose = self._last
            motion = (np.linalg.inv(pose) @ last_pose).astype(np.float32)
            moved = points @ motion[:3, :3].T + motion[:3, 3]
            self._compare(moved, labels, cloud, intrinsics)
            self._pixels += cloud.labels.size
        valid = cloud.valid
        self._last = cloud.points[valid], cloud.labels[valid], pose

    def skip(self) -> None:
        """Take note of a frame that cannot be warped: its neighbours are not compared."""
        self._last = None

    def flip_rate(self) -> float | None:
        """Return the share of compared pixels that flip, or None where none was compared."""
        return self._flips / self._compared if self._compared else None

    def compared_share(self) -> float | None:
        """Return the share of pixels that were compared, or None without two frames to warp."""
        return self._compared / self._pixels if self._pixels else None

    def _compare(self, moved: Floats, labels: npt.NDArray[np.int32], cloud: LabelledCloud,
                 intrinsics: Intrinsics) -> None:
        height, width = cloud.labels.shape
        row, column, ahead = landing_pixels(moved, intrinsics.resized(width, height))
        # NaN depth compares false: without depth there is nothing to compare with.
        near = np.abs(cloud.points[row, column, 2] - moved[ahead, 2]) <= MAX_DEPTH_ERROR
        before, after = labels[ahead][near], cloud.labels[row, column][near]
        self._compared += len(before)
        self._flips += int(((before != after) | (after == UNLABELLED)).sum())


def landing_pixels(points: Floats, intrinsics: Intrinsics
                   ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32],
                              npt.NDArray[np.intp]]:
    """
    Return row and column of the pixels that points fall on, and which points these are.

    Parameters
    ----------
    points
        (N, 3) float32 in the optical frame; those behind the camera or out of view are left out.
    intrinsics
        At the size of the image; lens distortion is respected.

    Raises
    ------
    DiffsegError
        The distortion model is not supported.

    """
    ahead = np.flatnonzero(points[:, 2] > 0)
    rays = points[ahead, :2] / points[ahead, 2:]
    pixels = np.rint(_projected(rays, intrinsics))
    inside = ((pixels >= 0) & (pixels < (intrinsics.width, intrinsics.height))).all(axis=1)
    ahead, rays, pixels = ahead[inside], rays[inside], pixels[inside]
    column, row = pixels.astype(np.int32).T
    if not is_pinhole(intrinsics):
        # A distortion polynomial folds rays from far outside back into the image.
        ray_x, ray_y = ray_table(intrinsics)
        error = np.hypot((ray_x[row, column] - rays[:, 0]) * intrinsics.fx,
                         (ray_y[row, column] - rays[:, 1]) * intrinsics.fy)
        true = error <= _MAX_RAY_ERROR
        return row[true], column[true], ahead[true]
    return row, column, ahead


def _projected(rays: Floats, intrinsics: Intrinsics) -> Floats:
    """Return (N, 2) pixel coordinates, x first, of (N, 2) rays x/z and y/z."""
    if is_pinhole(intrinsics):
        focal = np.array([intrinsics.fx, intrinsics.fy], np.float32)
        return rays * focal + np.array([intrinsics.cx, intrinsics.cy], np.float32)
    camera = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy],
                       [0, 0, 1]])
    ahead = np.concatenate([rays, np.ones((len(rays), 1), np.float32)], axis=1, dtype=np.float64)
    if not len(ahead):
        return rays
    pixels = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), camera,
                               np.array(intrinsics.distortion))[0]
    return np.asarray(pixels[:, 0], np.float32)
