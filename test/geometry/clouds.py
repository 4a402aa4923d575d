"""Frames and cameras with known truth."""

import cv2
from diffseg_ros.types import Frame, Intrinsics
import numpy as np

KINECT = (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)
WIDE = (-0.35, 0.15, 0.001, -0.001, -0.03)
AZURE = (0.51, -2.63, 0.0007, -0.0003, 1.44, 0.39, -2.45, 1.37)
FISHEYE = (-0.0091, 0.0065, -0.0077, 0.0022)


def make_frame(width=64, height=48, depth_size=None, distortion=(), model='plumb_bob', seed=0):
    """Return a frame of random colours and depths, a tenth of them missing."""
    rng = np.random.default_rng(seed)
    depth_width, depth_height = depth_size or (width, height)
    depth = rng.uniform(0.4, 6.0, (depth_height, depth_width)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    intrinsics = Intrinsics(width, height, 0.85 * width, 0.83 * width, 0.52 * width,
                            0.47 * height, distortion, model)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(rgb, depth=depth, intrinsics=intrinsics)


def numbered_labels(height, width):
    """Give every pixel a label of its own, so that no wrong pixel goes unseen."""
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def projected(points, intrinsics):
    """Return the (N, 2) pixels that OpenCV's own camera model sees (N, 3) points at."""
    if not len(points):
        return np.empty((0, 2))
    matrix = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy],
                       [0, 0, 1]])
    points = points.astype(float)
    if intrinsics.distortion_model == 'equidistant':
        return cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), matrix,
                                         np.array(intrinsics.distortion))[0][:, 0]
    distortion = np.array(intrinsics.distortion or (0, 0, 0, 0), float)
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, distortion)[0][:, 0]
