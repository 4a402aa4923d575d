"""Where image tokens lie in space."""

from __future__ import annotations

from dataclasses import replace

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.types import DepthImage, Frame, Intrinsics
import numpy as np
import numpy.typing as npt

_ASSUMED_VIEW = np.radians(60)
_NEAREST, _FARTHEST = 1e-6, 1e6


def token_points(frame: Frame, height: int, width: int) -> npt.NDArray[np.float32]:
    """
    Return the (h, w, 3) positions of the tokens in metres, NaN where there is no depth.

    Without intrinsics a horizontal field of view of 60 degrees is assumed. A frame without depth
    raises DiffsegError.
    """
    if frame.depth is None:
        raise DiffsegError('segmentation: the cues of geometry need a depth image')
    if frame.intrinsics is not None:
        camera = replace(frame.intrinsics.resized(width, height), distortion=())
    else:
        focal = width / (2 * np.tan(_ASSUMED_VIEW / 2))
        camera = Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    depth = token_depth(frame.depth, height, width)
    ray_x, ray_y = ray_table(camera)
    return cv2.merge([ray_x * depth, ray_y * depth, depth])


def token_depth(depth: DepthImage, height: int, width: int) -> DepthImage:
    """
    Return the (h, w) mean valid depth of each token in metres, NaN where there is none.

    Numbers that no camera measures, as the largest float for no echo, are not valid.
    """
    valid = (depth > _NEAREST) & (depth < _FARTHEST)
    known = np.where(valid, depth, np.float32(0))
    total = cv2.resize(known, (width, height), interpolation=cv2.INTER_AREA)
    share = cv2.resize(valid.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    with np.errstate(invalid='ignore', divide='ignore'):
        return np.where(share > 0.1, total / share, np.float32(np.nan))
