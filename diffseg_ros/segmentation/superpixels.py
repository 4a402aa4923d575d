"""Superpixels: the basins of an image's gradient, which region merging starts from."""

from __future__ import annotations

import cv2
from diffseg_ros.geometry.label_images import compact
from diffseg_ros.types import DepthImage, LabelImage, Mask, RgbImage
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

_BLUR = 1.0
# The 3 x 3 surroundings of a pixel, against the order of reading.
_AROUND = tuple((down, right) for down in (1, 0, -1) for right in (1, 0, -1))


def lab_image(rgb: RgbImage, width: int) -> FloatImage:
    """Return the (h, w, 3) blurred image in CIE Lab over 100, at most `width` pixels wide."""
    height, full = rgb.shape[:2]
    width = min(width, full)
    size = width, max(2, round(height * width / full))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small /= 255
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), _BLUR)
    lab /= 100
    return lab


def add_depth_channel(image: FloatImage, depth: DepthImage, weight: float) -> FloatImage:
    """
    Return an image with the weighted logarithm of the depth as a further channel.

    The gradient of that channel is the depth's gradient as a share of the depth. `image` is
    (h, w, C) float32, `depth` (h, w) in metres; unknown (NaN) pixels take the value of the
    nearest known one. Where no depth is known, the image is returned as it is.
    """
    known = np.isfinite(depth)
    if not known.any():
        return image
    logarithm = np.log(depth, where=known, out=np.zeros_like(depth))
    if not known.all():
        logarithm = _fill_unknown(logarithm, known)
    return cv2.merge([image, weight * cv2.GaussianBlur(logarithm, (0, 0), _BLUR)])


def _fill_unknown(values: FloatImage, known: Mask) -> FloatImage:
    """Return values of which the unknown ones are those of the nearest known pixel."""
    _, nearest = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 3,
                                                 labelType=cv2.DIST_LABEL_PIXEL)
    table = np.empty(int(nearest.max()) + 1, np.float32)
    table[nearest[known]] = values[known]
    return table.take(nearest)


def watershed(image: FloatImage) -> LabelImage:
    """
    Return the (h, w) int32 catchment basins of an image's gradient magnitude, from 0.

    Every pixel of the (h, w, C) float32 image runs down to the lowest of its 3 x 3 surroundings
    until a minimum is reached; what runs to the same one is one basin.
    """
    across, down = cv2.Sobel(image, -1, 1, 0), cv2.Sobel(image, -1, 0, 1)
    slope = (np.square(across) + np.square(down)) @ np.ones(image.shape[2], np.float32)
    return compact(follow(_lowest_neighbours(slope).ravel()).reshape(slope.shape))


def _lowest_neighbours(level: FloatImage) -> Indices:
    """Return flat indices of the lowest pixel of each 3 x 3; of equals the first to be read."""
    height, width = level.shape
    lowest = cv2.erode(level, np.ones((3, 3)), borderValue=np.inf)
    around = cv2.copyMakeBorder(level, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=np.inf)
    first = np.zeros(level.shape, np.uint8)
    for place, (down, right) in enumerate(_AROUND):
        neighbour = around[1 + down:1 + down + height, 1 + right:1 + right + width]
        np.maximum(first, (neighbour == lowest) * np.uint8(place), out=first)
    lowest_at = np.array([down * width + right for down, right in _AROUND]).take(first)
    lowest_at += np.arange(level.size).reshape(level.shape)
    return lowest_at


def follow(pointers: Indices) -> Indices:
    """Return where each of (n,) pointers ends; a pointer to itself is an end."""
    ends = pointers
    while True:
        further = ends.take(ends)
        if np.array_equal(further, ends):
            return ends
        ends = further
