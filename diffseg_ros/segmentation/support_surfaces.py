"""What things stand on and before: the largest plane, and walls with nothing behind them."""

from __future__ import annotations

from diffseg_ros.segmentation.region_planes import planes, point_moments
from diffseg_ros.types import LabelImage, Mask
import numpy as np
import numpy.typing as npt

DISPARITY_NOISE = 1.425e-3
"""
Random error of the inverse depth in 1/m, the same at all depths; half the step between two values.

Of the depth itself it is 1.425e-3 * depth^2. Source: Khoshelham and Elberink, "Accuracy and
Resolution of Kinect Depth Data for Indoor Mapping Applications", Sensors 2012.
"""

_CLEAR = 5.0
"""Multiples of the noise from which on a point is off a plane."""
_REFITS = 3
_SAMPLE = 7
_WALL_SHARE, _SHARE_BEHIND = 0.1, 0.02


def clear_of_surfaces(points: npt.NDArray[np.float32], regions: LabelImage) -> Mask:
    """
    Mark the pixels (h, w) whose points lie in front of all support surfaces, beyond the noise.

    `points` are (h, w, 3) float32 in metres in the optical frame, NaN where there is none, and
    `regions` (h, w) int32 from 0, whose planes are the candidates. The surfaces are the plane with
    most points, and then those with a tenth of them that have next to nothing behind: walls.
    """
    depth = points[..., 2]
    clear = np.isfinite(depth)
    total = max(int(clear.sum()), 1)
    centres, normals, known = planes(point_moments(points, regions, int(regions.max()) + 1))
    offsets = (normals * centres).sum(axis=0)
    tolerance = _CLEAR * DISPARITY_NOISE * np.square(depth)
    candidates = np.flatnonzero(known)
    first = True
    while len(candidates):
        sample = np.flatnonzero(clear)[::_SAMPLE]
        heights = points.reshape(-1, 3)[sample] @ normals[:, candidates] - offsets[candidates]
        on = (np.abs(heights) < tolerance.ravel()[sample, None]).sum(axis=0)
        best = candidates[on.argmax()]
        candidates = candidates[candidates != best]
        if not first and on.max() * _SAMPLE < _WALL_SHARE * total:
            break
        height = _refitted_height(points, normals[:, best], offsets[best], tolerance)
        if first or (height < -tolerance).sum() <= _SHARE_BEHIND * total:
            clear &= height > tolerance
        first = False
    return clear


def _refitted_height(points: npt.NDArray[np.float32], normal: npt.NDArray[np.float64],
                     offset: float, tolerance: npt.NDArray[np.float32],
                     ) -> npt.NDArray[np.float64]:
    """Return the (h, w) heights in metres above a plane, fitted anew to the points on it."""
    height: npt.NDArray[np.float64] = points @ normal - offset
    for _ in range(_REFITS):
        off = (~(np.abs(height) < 2 / 3 * tolerance)).astype(np.int32)
        centres, normals, _ = planes(point_moments(points, off, 2))
        height = points @ normals[:, 0] - normals[:, 0] @ centres[:, 0]
    return height
