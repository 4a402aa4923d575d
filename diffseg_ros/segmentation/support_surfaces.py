"""What things stand on and before: the largest plane, and walls with nothing behind them."""

from __future__ import annotations

from diffseg_ros.segmentation.region_planes import planes, point_moments
from diffseg_ros.types import LabelImage, Mask
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

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


def clear_of_surfaces(points: FloatImage, regions: LabelImage) -> Mask:
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
        sample, near = points[clear][::_SAMPLE], tolerance[clear][::_SAMPLE]
        heights = np.abs(sample @ normals[:, candidates] - offsets[candidates])
        near_planes = heights < near[:, None]
        best = near_planes.sum(axis=0).argmax()
        on = near_planes[:, best]
        if not first and on.sum() * _SAMPLE < _WALL_SHARE * total:
            break
        candidates = np.delete(candidates, best)
        for _ in range(_REFITS):
            on = np.abs(_heights(sample, sample, on)) < near
        height = _heights(points, sample, on)
        if first or (height < -tolerance).sum() <= _SHARE_BEHIND * total:
            clear &= height > tolerance
        first = False
    return clear


def _heights(points: FloatImage, sample: FloatImage, on: Mask) -> FloatImage:
    """Return the (...) heights of (..., 3) points above the plane through those of (n, 3) `on`."""
    centres, normals, _ = planes(point_moments(sample[:, None], 1 - on[:, None], 2))
    normal = normals[:, 0].astype(np.float32)
    return points @ normal - np.float32(normal @ centres[:, 0])
