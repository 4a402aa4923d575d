"""A camera's projection: viewing rays, lens distortion, unprojection and rectification."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
import re
from typing import Any, TypeVar

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import DepthImage, Intrinsics, Matrix
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.integer]
_Image = TypeVar('_Image', bound=npt.NDArray[Any])

_FISHEYE = 'equidistant'
_COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), _FISHEYE: (4,)}
_OTHER_NAMES = {'brown_conrady': 'plumb_bob', 'radtan': 'plumb_bob',
                'radial_tangential': 'plumb_bob', 'rational': 'rational_polynomial',
                'fisheye': _FISHEYE, 'kannala_brandt': _FISHEYE, 'kannala_brandt4': _FISHEYE}
_ASPECT_TOLERANCE = 0.01
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-9)
_MAX_INVERSION_ERROR = 1e-3
_MAX_FOLDING_ERROR = 1.0
_LENS_STEP = 0.5
_LENS_MARGIN = 1.15
_OUTSIDE = -1e6


def is_pinhole(intrinsics: Intrinsics) -> bool:
    """
    Return whether the camera has no distortion: no coefficient but 0, and no fisheye lens.

    Like all functions that need the camera's rays, raises DiffsegError when the distortion model
    or its number of coefficients is not supported.
    """
    return _lens(intrinsics) is None


def _lens(intrinsics: Intrinsics) -> tuple[str, npt.NDArray[np.float64]] | None:
    """Return the model by its name in ROS, and its coefficients; None for a pinhole."""
    distortion = intrinsics.distortion
    name = re.sub(r'[\s-]+', '_', intrinsics.distortion_model.strip().lower())
    model = _OTHER_NAMES.get(name, name)
    # An equidistant lens whose coefficients are 0 bends rays all the same.
    if not any(distortion) and not (distortion and model == _FISHEYE):
        return None
    if model not in _COEFFICIENTS:
        raise DiffsegError(f'camera intrinsics: distortion model {intrinsics.distortion_model!r}; '
                           f'supported are {", ".join(_COEFFICIENTS)}; rectify the images or '
                           'recalibrate')
    counts = _COEFFICIENTS[model]
    if len(distortion) > counts[-1] and not any(distortion[counts[-1]:]):
        distortion = distortion[:counts[-1]]
    if len(distortion) not in counts:
        raise DiffsegError(f'camera intrinsics: {len(distortion)} distortion coefficients; '
                           f'{model} has {" or ".join(map(str, counts))}; correct the '
                           'camera_info')
    return model, np.array(distortion)


def camera_matrix(intrinsics: Intrinsics) -> npt.NDArray[np.float64]:
    """Return the (3, 3) matrix K."""
    return np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy],
                     [0, 0, 1]], np.float64)


def same_view(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether scaling leads from one (width, height) to the other, up to rounding."""
    (width, height), (other_width, other_height) = size, other
    return abs(width * other_height - other_width * height) <= max(
        *size, *other, _ASPECT_TOLERANCE * width * other_height)


@lru_cache(maxsize=8)
def ray_table(intrinsics: Intrinsics) -> tuple[FloatArray, FloatArray]:
    """
    Return x/z and y/z of the ray through every pixel centre; cached, read-only.

    The two float32 tables broadcast to (height, width): they are (1, width) and (height, 1) for a
    camera without distortion. They are NaN where the distortion model has no inverse, as in
    corners beyond its calibrated range.
    """
    columns = (np.arange(intrinsics.width, dtype=np.float64) - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(intrinsics.height, dtype=np.float64) - intrinsics.cy) / intrinsics.fy
    x, y = columns[None, :], rows[:, None]
    if not is_pinhole(intrinsics):
        seen = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        x, y = _undistorted(seen, intrinsics).T.reshape(2, len(rows), len(columns))
    ray_x, ray_y = (np.ascontiguousarray(table, np.float32) for table in (x, y))
    ray_x.flags.writeable = ray_y.flags.writeable = False
    return ray_x, ray_y


def pixel_rays(columns: npt.NDArray[np.floating], rows: npt.NDArray[np.floating],
               intrinsics: Intrinsics) -> npt.NDArray[np.float64]:
    """
    Return (N, 2) x/z and y/z of the rays through places between pixels.

    NaN where the distortion model has no inverse.
    """
    seen = np.stack([(columns - intrinsics.cx) / intrinsics.fx,
                     (rows - intrinsics.cy) / intrinsics.fy], axis=1, dtype=np.float64)
    return seen if is_pinhole(intrinsics) or not len(seen) else _undistorted(seen, intrinsics)


def _undistorted(seen: npt.NDArray[np.float64],
                 intrinsics: Intrinsics) -> npt.NDArray[np.float64]:
    """Return (N, 2) rays of distorted normalised image points, NaN where there is no inverse."""
    model, coefficients = _lens(intrinsics) or ('', np.zeros(4))
    if model == _FISHEYE:
        rays = cv2.fisheye.undistortPoints(seen[:, None], np.eye(3), coefficients,
                                           criteria=_CRITERIA)[:, 0]
    else:
        rays = cv2.undistortPointsIter(seen[:, None], np.eye(3), coefficients, None, None,
                                       _CRITERIA)[:, 0]
    pixels = seen * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
    with np.errstate(invalid='ignore', over='ignore'):
        error = np.abs(_distorted(rays, intrinsics) - pixels)
    rays[~(error < _MAX_INVERSION_ERROR).all(axis=1)] = np.nan
    return rays


def _distorted(rays: npt.NDArray[np.floating], intrinsics: Intrinsics) -> npt.NDArray[np.float64]:
    """
    Return (N, 2) column and row at which a camera with a lens sees (N, 2) rays, exactly.

    A distortion polynomial also maps rays from far outside the view into the image; see
    `visible_pixels`.
    """
    matrix = camera_matrix(intrinsics)
    model, coefficients = _lens(intrinsics) or ('', np.zeros(4))
    if not len(rays):
        return np.empty((0, 2))
    ahead = np.concatenate([rays, np.ones((len(rays), 1))], axis=1, dtype=np.float64)
    if model == _FISHEYE:
        return cv2.fisheye.distortPoints(ahead[:, None, :2], matrix, coefficients)[:, 0]
    return cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), matrix, coefficients)[0][:, 0]


def unproject(depth: DepthImage, intrinsics: Intrinsics,
              transform: Matrix) -> tuple[FloatArray, FloatArray, FloatArray]:
    """
    Return x, y and z of the point at every pixel, three (H, W) float32 arrays in metres.

    `intrinsics` are those at the size of `depth`. The (4, 4) `transform` is applied to the points,
    for example camera to world; invalid depth gives NaN.
    """
    ray_x, ray_y = ray_table(intrinsics)
    planes = []
    for row in transform.astype(np.float32)[:3]:
        plane = (row[0] * ray_x + row[2]) + row[1] * ray_y
        plane *= depth
        plane += row[3]
        planes.append(plane)
    return planes[0], planes[1], planes[2]


def unproject_pixels(depth: DepthImage, intrinsics: Intrinsics, rows: Indices, columns: Indices,
                     transform: Matrix | None = None) -> FloatArray:
    """Return the (N, 3) float32 points at chosen pixels; see `unproject`."""
    places = rows * depth.shape[1] + columns
    ray_x, ray_y = (table.take(places if table.size == depth.size else part)
                    for table, part in zip(ray_table(intrinsics), (columns, rows)))
    metres = depth.take(places)
    points: FloatArray = np.stack([ray_x * metres, ray_y * metres, metres], axis=1)
    if transform is None:
        return points
    matrix = transform.astype(np.float32)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def project(x: FloatArray, y: FloatArray, z: FloatArray, intrinsics: Intrinsics
            ) -> tuple[FloatArray, FloatArray]:
    """
    Return the columns and rows at which a camera sees points in front of it.

    `x`, `y` and `z` are of one shape, in metres in the optical frame; `intrinsics` are those at
    the size of the image. Lens distortion is interpolated in a table, to a small fraction of a
    pixel; rays outside of the lens's view land far outside of the image.
    """
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        columns, rows = x / z, y / z
    if is_pinhole(intrinsics):
        columns *= np.float32(intrinsics.fx)
        columns += np.float32(intrinsics.cx)
        rows *= np.float32(intrinsics.fy)
        rows += np.float32(intrinsics.cy)
        return columns, rows
    table, (left, top, scale) = _lens_table(intrinsics)
    columns -= np.float32(left)
    columns *= np.float32(scale)
    rows -= np.float32(top)
    rows *= np.float32(scale)
    pixels = cv2.remap(table, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                       borderValue=(_OUTSIDE, _OUTSIDE))
    return pixels[..., 0].reshape(x.shape), pixels[..., 1].reshape(x.shape)


def project_depth(depth: DepthImage, intrinsics: Intrinsics, motion: Matrix, camera: Intrinsics
                  ) -> tuple[FloatArray, FloatArray, FloatArray]:
    """
    Return the columns and rows at which another camera sees the point at every pixel, and its z.

    Three (H, W) float32 arrays; the (4, 4) `motion` leads from the camera of `depth`, which has
    `intrinsics`, to the other one. As `unproject` and `project`, in fewer steps without a lens.
    """
    if not is_pinhole(camera):
        x, y, z = unproject(depth, intrinsics, motion)
        return *project(x, y, z, camera), z
    x, y, z = unproject(depth, intrinsics, camera_matrix(camera) @ motion[:3])
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        return np.divide(x, z, out=x), np.divide(y, z, out=y), z


@lru_cache(maxsize=8)
def _lens_table(intrinsics: Intrinsics) -> tuple[FloatArray, tuple[float, float, float]]:
    """Return distorted pixels over a grid of x/z, y/z, with the grid's corner and density."""
    ray_x, ray_y = ray_table(intrinsics)
    left, right, top, bottom = (float(bound) * _LENS_MARGIN for bound in (
        np.nanmin(ray_x), np.nanmax(ray_x), np.nanmin(ray_y), np.nanmax(ray_y)))
    scale = intrinsics.fx * _LENS_STEP
    x = np.arange(left, right + 1 / scale, 1 / scale)
    y = np.arange(top, bottom + 1 / scale, 1 / scale)
    pixels = _distorted(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), intrinsics)
    return pixels.reshape(len(y), len(x), 2).astype(np.float32), (left, top, scale)


def visible_pixels(points: FloatArray, intrinsics: Intrinsics
                   ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32],
                              npt.NDArray[np.intp]]:
    """
    Return row and column of the pixels that points fall on, and which points these are.

    Of the (N, 3) float32 points in the optical frame those behind the camera or out of view are
    left out. Lens distortion is computed exactly.
    """
    ahead = np.flatnonzero(points[:, 2] > 0)
    rays = points[ahead, :2] / points[ahead, 2:]
    pinhole = is_pinhole(intrinsics)
    if pinhole:
        focal = np.array([intrinsics.fx, intrinsics.fy], np.float32)
        pixels = rays * focal + np.array([intrinsics.cx, intrinsics.cy], np.float32)
    else:
        pixels = _distorted(rays, intrinsics).astype(np.float32)
    pixels = np.rint(pixels)
    inside = ((pixels >= 0) & (pixels < (intrinsics.width, intrinsics.height))).all(axis=1)
    ahead, rays = ahead[inside], rays[inside]
    column, row = pixels[inside].astype(np.int32).T
    if pinhole:
        return row, column, ahead
    # A distortion polynomial folds rays from far outside back into the image.
    ray_x, ray_y = ray_table(intrinsics)
    error = np.hypot((ray_x[row, column] - rays[:, 0]) * intrinsics.fx,
                     (ray_y[row, column] - rays[:, 1]) * intrinsics.fy)
    true = error <= _MAX_FOLDING_ERROR
    return row[true], column[true], ahead[true]


def rectify(image: _Image, intrinsics: Intrinsics,
            interpolation: int = cv2.INTER_LINEAR) -> _Image:
    """
    Return an (H, W) or (H, W, C) image as a pinhole camera with the same K sees it.

    `intrinsics` are those at the size of the image. Depth needs `cv2.INTER_NEAREST`.
    """
    if is_pinhole(intrinsics):
        return image
    return cv2.remap(image, *_rectification(intrinsics), interpolation)


@lru_cache(maxsize=2)
def _rectification(intrinsics: Intrinsics) -> tuple[FloatArray, FloatArray]:
    """Return column and row in the distorted image of every pixel of the pinhole image."""
    ray_x, ray_y = np.broadcast_arrays(*ray_table(replace(intrinsics, distortion=())))
    pixels = _distorted(np.stack([ray_x, ray_y], axis=-1).reshape(-1, 2), intrinsics)
    columns, rows = pixels.T.reshape(2, *ray_x.shape).astype(np.float32)
    return columns, rows
