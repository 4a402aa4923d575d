"""Where image tokens lie in space, and how the surface there is turned."""

from __future__ import annotations

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_ASSUMED_VIEW = np.radians(60)


def token_points(frame: Frame, height: int, width: int) -> FloatArray:
    """
    Return the (h, w, 3) positions of the tokens in metres, NaN where there is no depth.

    Raises
    ------
    DiffsegError
        The frame has no depth.

    """
    if frame.depth is None:
        raise DiffsegError('segmentation: the cues of geometry need a depth image')
    if frame.intrinsics is not None:
        camera = frame.intrinsics.resized(width, height)
        fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    else:
        fx = fy = width / (2 * np.tan(_ASSUMED_VIEW / 2))
        cx, cy = (width - 1) / 2, (height - 1) / 2
    depth = token_depth(frame.depth, height, width)
    points = np.empty((height, width, 3), np.float32)
    points[..., 0] = (np.arange(width) - cx) / fx * depth
    points[..., 1] = ((np.arange(height) - cy) / fy)[:, None] * depth
    points[..., 2] = depth
    return points


def token_depth(depth: FloatArray, height: int, width: int) -> FloatArray:
    """Return the (h, w) mean valid depth of each token in metres, NaN where there is none."""
    valid = np.isfinite(depth) & (depth > 0)
    known = np.where(valid, depth, np.float32(0))
    total = cv2.resize(known, (width, height), interpolation=cv2.INTER_AREA)
    share = cv2.resize(valid.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(share > 0.1, total / share, np.nan).astype(np.float32)


def token_normals(points: FloatArray) -> FloatArray:
    """Return the (h, w, 3) unit normals of a grid of points, NaN where a neighbour is missing."""
    if min(points.shape[:2]) < 2:
        return np.full_like(points, np.nan)
    normals = np.cross(_tangents(points, 1), _tangents(points, 0))
    with np.errstate(invalid='ignore', divide='ignore'):
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _tangents(points: FloatArray, axis: int) -> FloatArray:
    """Return the shorter of the steps to both neighbours: it stays on the same surface."""
    steps = np.diff(points, axis=axis)
    missing = np.full_like(np.take(points, [0], axis=axis), np.nan)
    forward = np.concatenate([steps, missing], axis=axis)
    backward = np.concatenate([missing, steps], axis=axis)
    ahead, behind = (np.linalg.norm(step, axis=-1) for step in (forward, backward))
    choose_back = np.isnan(ahead) | (behind < ahead)
    return np.where(choose_back[..., None], backward, forward)
