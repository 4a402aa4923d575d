"""Depth images of planes."""

from diffseg_ros.types import Frame, Intrinsics
import numpy as np

CAMERA = Intrinsics(80, 60, 70.0, 70.0, 39.5, 29.5)


def frame_of(depth):
    """Return a black frame with this (60, 80) depth."""
    return Frame(np.zeros((60, 80, 3), np.uint8), depth=depth.astype(np.float32),
                 intrinsics=CAMERA)


def plane_depth(normal, offset):
    """Return the depth image of the plane normal . x = offset."""
    y, x = np.mgrid[:60, :80]
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy,
                     np.ones((60, 80))], axis=-1)
    return offset / (rays @ np.asarray(normal))
