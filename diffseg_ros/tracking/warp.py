"""Where a surface seen now was seen before: depth and camera motion, with an occlusion test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
from diffseg_ros.geometry.camera import is_pinhole, ray_table
from diffseg_ros.tracking.tracking_frame import FloatArray, View
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

DEPTH_TOLERANCE = 0.05
"""Metres by which the depth met may differ; farther away RELATIVE_TOLERANCE of the depth."""
RELATIVE_TOLERANCE = 0.02

_LENS_STEP = 0.5
_LENS_MARGIN = 1.15


@dataclass(frozen=True)
class Source:
    """
    Where each pixel comes from.

    Attributes
    ----------
    index
        (H, W) int32 place in the flattened image before; meaningless where not known.
    known
        (H, W) bool.

    """

    index: npt.NDArray[np.int32]
    known: npt.NDArray[np.bool_]


def rigid_source(now: View, before: View, motion: npt.NDArray[np.float64]
                 ) -> tuple[Source, float]:
    """
    Look up where every pixel was in the view before, if nothing but the camera moved.

    Parameters
    ----------
    now, before
        Both with depth and intrinsics.
    motion
        (4, 4) from the camera now to the camera before.

    Returns
    -------
    tuple
        The source of each pixel, known where the depth met agrees with the pixel's own, and
        the share of the pixels in view before that agree: how well the motion explains them.

    """
    assert now.depth is not None and before.depth is not None
    assert now.intrinsics is not None and before.intrinsics is not None
    x, y, z = moved_points(now.depth, now.intrinsics, motion)
    columns, rows = project(before.intrinsics, x, y, z)
    height, width = before.shape
    inside = (z > 1e-3) & (columns > -0.5) & (columns < width - 0.5)
    inside &= (rows > -0.5) & (rows < height - 0.5)
    index = _flat_index(columns, rows, inside, width)
    met = before.depth.take(index)
    measured = inside & (met == met)
    met -= z
    np.abs(met, out=met)
    z *= RELATIVE_TOLERANCE
    np.maximum(z, np.float32(DEPTH_TOLERANCE), out=z)
    known = inside & (met <= z)
    total = np.count_nonzero(measured)
    return Source(index, known), np.count_nonzero(known) / total if total else 0.0


def moved_points(depth: FloatArray, intrinsics: Intrinsics, motion: npt.NDArray[np.float64]
                 ) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return x, y, z in metres, (H, W) float32 each, of every pixel after `motion`."""
    ray_x, ray_y = ray_table(intrinsics)
    transform = motion.astype(np.float32)
    parts = []
    for row in transform[:3]:
        part = (row[0] * ray_x + row[2]) + row[1] * ray_y
        part *= depth
        part += row[3]
        parts.append(part)
    return parts[0], parts[1], parts[2]


def world_points(view: View, world: npt.NDArray[np.float64], rows: npt.NDArray[np.integer],
                 columns: npt.NDArray[np.integer]) -> FloatArray:
    """Return the (N, 3) world points of pixels."""
    assert view.depth is not None and view.intrinsics is not None
    depth = view.depth[rows, columns]
    ray_x, ray_y = (np.broadcast_to(table, view.shape)[rows, columns]
                    for table in ray_table(view.intrinsics))
    points = np.stack([ray_x * depth, ray_y * depth, depth], axis=1)
    transform = world.astype(np.float32)
    moved: FloatArray = points @ transform[:3, :3].T + transform[:3, 3]
    return moved


def grid(mask: npt.NDArray[np.bool_], step: int
         ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows and columns of every `step`th pixel of a thinned mask that is set."""
    rows, columns = np.nonzero(mask)
    return rows * step, columns * step


def project(intrinsics: Intrinsics, x: FloatArray, y: FloatArray, z: FloatArray
            ) -> tuple[FloatArray, FloatArray]:
    """Return the columns and rows, float32, at which a camera sees points in front of it."""
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        columns, rows = x / z, y / z
    if not is_pinhole(intrinsics):
        return _through_lens(intrinsics, columns, rows)
    columns *= np.float32(intrinsics.fx)
    columns += np.float32(intrinsics.cx)
    rows *= np.float32(intrinsics.fy)
    rows += np.float32(intrinsics.cy)
    return columns, rows


def _flat_index(columns: FloatArray, rows: FloatArray, inside: npt.NDArray[np.bool_],
                width: int) -> npt.NDArray[np.int32]:
    with np.errstate(invalid='ignore'):
        index = np.rint(rows).astype(np.int32)
        index *= width
        index += np.rint(columns).astype(np.int32)
    index *= inside
    return index


def _through_lens(intrinsics: Intrinsics, x: FloatArray, y: FloatArray
                  ) -> tuple[FloatArray, FloatArray]:
    table, (left, top, scale) = _lens_table(intrinsics)
    x -= np.float32(left)
    x *= np.float32(scale)
    y -= np.float32(top)
    y *= np.float32(scale)
    pixels = cv2.remap(table, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                       borderValue=(-1e6, -1e6))
    return pixels[..., 0], pixels[..., 1]


@lru_cache(maxsize=8)
def _lens_table(intrinsics: Intrinsics) -> tuple[FloatArray, tuple[float, float, float]]:
    """Return distorted pixels over a grid of x/z, y/z, with the grid's corner and density."""
    ray_x, ray_y = ray_table(intrinsics)
    reach = [float(bound) * _LENS_MARGIN for bound in
             (np.nanmin(ray_x), np.nanmax(ray_x), np.nanmin(ray_y), np.nanmax(ray_y))]
    scale = intrinsics.fx * _LENS_STEP
    x = np.arange(reach[0], reach[1] + 1 / scale, 1 / scale)
    y = np.arange(reach[2], reach[3] + 1 / scale, 1 / scale)
    grid = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1).reshape(-1, 3)
    matrix = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy],
                       [0, 0, 1]])
    pixels = cv2.projectPoints(grid, np.zeros(3), np.zeros(3), matrix,
                               np.array(intrinsics.distortion))[0]
    table = pixels.reshape(len(y), len(x), 2).astype(np.float32)
    return table, (reach[0], reach[2], scale)
