"""Known depth from points that another sensor measured, such as a lidar."""

from __future__ import annotations

from diffseg_ros.depth.base import KnownDepth
from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt


def known_from_ranges(points: npt.NDArray[np.float32], intrinsics: Intrinsics,
                      shape: tuple[int, int]) -> KnownDepth:
    """
    Return the pixels of an (H, W) image that points fall on, and how far away these are.

    Of (N, 3) float32 points in the camera's optical frame, in metres, those that are not finite,
    behind the camera or out of view are left out; of several on one pixel the nearest counts.
    What the other sensor sees past an object that hides it from the camera stays: wrong points are
    left to the alignment. `intrinsics` are of the same view, at any size.

    Raises DiffsegError where the distortion model is not supported.
    """
    height, width = shape
    points = points[np.isfinite(points).all(axis=1)]
    rows, columns, seen = visible_pixels(points, intrinsics.resized(width, height))
    metres = points[seen, 2]
    order = np.argsort(metres, kind='stable')
    places, first = np.unique(rows[order].astype(np.intp) * width + columns[order],
                              return_index=True)
    return KnownDepth(*np.divmod(places, width), metres[order][first])
