"""Viewing rays of a camera's pixels, lens distortion removed."""

from __future__ import annotations

from functools import lru_cache

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

_FISHEYE = 'equidistant'
_COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), _FISHEYE: (4,)}
_NO_MODEL = ('', 'none')
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
_MAX_PIXEL_ERROR = 1e-3


@lru_cache(maxsize=8)
def ray_table(intrinsics: Intrinsics) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """
    Return x/z and y/z of the ray through every pixel centre; cached, read-only.

    Parameters
    ----------
    intrinsics
        Of the image the rays are for, at that image's size.

    Returns
    -------
    tuple of numpy.ndarray
        Two float32 tables that broadcast to (height, width): (1, width) and (height, 1) for
        a camera without distortion, (height, width) otherwise. NaN where the distortion
        model has no inverse, which is the case in corners beyond its calibrated range.

    Raises
    ------
    DiffsegError
        The distortion model is not supported.

    """
    columns = (np.arange(intrinsics.width, dtype=np.float64) - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(intrinsics.height, dtype=np.float64) - intrinsics.cy) / intrinsics.fy
    if is_pinhole(intrinsics):
        tables = columns[None, :], rows[:, None]
    else:
        tables = _undistorted(intrinsics, columns, rows)
    ray_x, ray_y = (np.ascontiguousarray(table, np.float32) for table in tables)
    ray_x.flags.writeable = ray_y.flags.writeable = False
    return ray_x, ray_y


def is_pinhole(intrinsics: Intrinsics) -> bool:
    """
    Return whether the camera has no distortion; a fisheye lens always has.

    Raises
    ------
    DiffsegError
        The distortion model, or its number of coefficients, is not supported.

    """
    if not intrinsics.distortion:
        return True
    model, count = intrinsics.distortion_model, len(intrinsics.distortion)
    if model in _NO_MODEL and not any(intrinsics.distortion):
        return True
    if model not in _COEFFICIENTS:
        raise DiffsegError(f'camera intrinsics: distortion model {model!r}; supported are '
                           f'{", ".join(_COEFFICIENTS)}; rectify the images or recalibrate')
    if count not in _COEFFICIENTS[model]:
        numbers = ' or '.join(map(str, _COEFFICIENTS[model]))
        raise DiffsegError(f'camera intrinsics: {count} distortion coefficients; {model} has '
                           f'{numbers}; correct the camera_info')
    return model != _FISHEYE and not any(intrinsics.distortion)


def distorted(rays: npt.NDArray[np.float64], intrinsics: Intrinsics) -> npt.NDArray[np.float64]:
    """
    Return where the lens shows rays, in units of the focal lengths from the principal point.

    Parameters
    ----------
    rays
        (N, 2) x/z and y/z.
    intrinsics
        With distortion.

    """
    coefficients = np.array(intrinsics.distortion)
    if intrinsics.distortion_model == _FISHEYE:
        return cv2.fisheye.distortPoints(rays[:, None], np.eye(3), coefficients)[:, 0]
    ahead = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    return cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), np.eye(3), coefficients)[0][:, 0]


def _undistorted(intrinsics: Intrinsics, columns: npt.NDArray[np.float64],
                 rows: npt.NDArray[np.float64]
                 ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    seen = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    coefficients = np.array(intrinsics.distortion)
    if intrinsics.distortion_model == _FISHEYE:
        rays = cv2.fisheye.undistortPoints(seen[:, None], np.eye(3), coefficients,
                                           criteria=_CRITERIA)[:, 0]
    else:
        rays = cv2.undistortPointsIter(seen[:, None], np.eye(3), coefficients, None, None,
                                       _CRITERIA)[:, 0]
    with np.errstate(invalid='ignore', over='ignore'):
        error = np.abs(distorted(rays, intrinsics) - seen) * (intrinsics.fx, intrinsics.fy)
    rays[~(error < _MAX_PIXEL_ERROR).all(axis=1)] = np.nan
    shape = intrinsics.height, intrinsics.width
    return rays[:, 0].reshape(shape), rays[:, 1].reshape(shape)
