"""Things as convex surfaces: apart at creases and at steps in depth, whatever their colours."""

from __future__ import annotations

from typing import Any

import cv2
from diffseg_ros.geometry.label_images import compact
from diffseg_ros.segmentation.support_surfaces import DISPARITY_NOISE, mean_inverse_depth
from diffseg_ros.types import LabelImage, Mask
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

_REACHES = 1, 2, 3
"""Pixels to both sides over which the surface may bend; of a grid 320 wide."""
_WIDTH = 320
_CREASE = 3.0
"""Multiples of the noise from which on a bend is a crease."""
_LEAST_SHARE = 5e-4
_RELIEF = 0.03


def convex_objects(points: FloatImage, clear: Mask) -> LabelImage:
    """
    Return (h, w) int32 convex pieces of the surface from 0, -1 outside `clear`.

    `points` are (h, w, 3) float32 in metres in the optical frame, NaN where there is none, on a
    grid about 640 wide; `clear` (h, w) marks those that belong to things. What is connected
    without a crease is a piece; a watershed brings their borders to the middle of the creases.
    The criterion is that of Stein et al., "Object Partitioning Using Local Convexity", CVPR 2014,
    on pixels: an edge that bulges towards the camera joins, a concave one separates.
    """
    bend = concavity(points[..., 2])
    inner = (clear & (bend < _CREASE * DISPARITY_NOISE)).astype(np.uint8)
    inner = cv2.erode(inner, np.ones((2 * _scale(clear) + 1,) * 2))
    _, core, stats, _ = cv2.connectedComponentsWithStats(inner, connectivity=4, ltype=cv2.CV_32S)
    core[(stats[:, cv2.CC_STAT_AREA] < _LEAST_SHARE * clear.size)[core]] = 0
    relief = np.where(clear, np.minimum(bend / _RELIEF, 1) * 254, 255).astype(np.uint8)
    pieces = cv2.watershed(cv2.merge([relief] * 3), core.copy())
    # The watershed leaves lines of one pixel; they join a neighbour.
    around = cv2.dilate(np.maximum(pieces, 0).astype(np.float32), np.ones((3, 3)))
    pieces = np.where(pieces > 0, pieces, around.astype(np.int32))
    count, islands = cv2.connectedComponents(clear.astype(np.uint8), connectivity=4)
    held = np.zeros(count, bool)
    held[islands[core > 0]] = True
    pieces = np.where(clear & held[islands], pieces, 0)
    return compact(pieces) - np.int32(pieces.min() == 0)


def concavity(depth: FloatImage) -> FloatImage:
    """
    Return how much nearer than each pixel the surface beside it is, in 1/m, at least 0.

    Of (h, w) depth in metres, NaN where unknown. On a plane the inverse depth is linear in the
    pixel, and its noise is the same everywhere; what is returned is the mean, over several
    distances, of the largest second difference of four directions. It is largest along concave
    creases and on the far side of steps.
    """
    scale = _scale(depth)
    near = mean_inverse_depth(depth, 2 * scale + 1)
    near[~np.isfinite(depth)] = np.nan
    pad = max(_REACHES) * scale
    padded = cv2.copyMakeBorder(near, *(pad,) * 4, cv2.BORDER_CONSTANT, value=np.nan)
    height, width = depth.shape

    def beside(down: int, right: int) -> FloatImage:
        return padded[pad + down:pad + down + height, pad + right:pad + right + width]

    mean, bend = np.zeros((2, height, width), np.float32)
    for reach in (scale * reach for reach in _REACHES):
        most = np.zeros(depth.shape, np.float32)
        slant = round(reach / np.sqrt(2))
        for down, right in ((0, reach), (reach, 0), (slant, slant), (slant, -slant)):
            np.add(beside(down, right), beside(-down, -right), out=bend)
            bend /= 2
            bend -= near
            np.fmax(most, bend, out=most)
        mean += most / len(_REACHES)
    return mean


def _scale(image: npt.NDArray[Any]) -> int:
    """Return how many pixels of an image stand for one of a grid 320 wide."""
    return max(1, round(image.shape[1] / _WIDTH))
