"""Over-segmentation of a photo into basins: the nodes that region merging starts from."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

_BLUR = 1.0


def lab_image(rgb: npt.NDArray[np.uint8], width: int) -> FloatArray:
    """
    Return the slightly blurred photo, at most `width` pixels wide, in CIE Lab.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    width
        In pixels; a smaller photo keeps its size.

    Returns
    -------
    numpy.ndarray
        (h, w, 3) float32, L a b divided by 100.

    """
    height, full = rgb.shape[:2]
    width = min(width, full)
    size = width, max(2, round(height * width / full))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), _BLUR)
    lab /= 100
    return lab


def with_depth(image: FloatArray, depth: FloatArray, weight: float) -> FloatArray:
    """
    Return an image with the logarithm of the depth as a further channel.

    Its gradient is that of the depth as a share of the depth.

    Parameters
    ----------
    image
        (h, w, C) float32.
    depth
        (h, w) float32 in metres; NaN is unknown and taken from the nearest pixel that is known.
    weight
        Of the depth beside the other channels.

    Returns
    -------
    numpy.ndarray
        (h, w, C + 1) float32; the image itself where no depth is known.

    """
    known = np.isfinite(depth)
    if not known.any():
        return image
    logarithm = np.log(depth, where=known, out=np.zeros_like(depth))
    if not known.all():
        logarithm = _nearest_known(logarithm, known)
    return np.dstack([image, weight * cv2.GaussianBlur(logarithm, (0, 0), _BLUR)])


def _nearest_known(values: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    _, number = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 3,
                                                labelType=cv2.DIST_LABEL_PIXEL)
    table = np.empty(int(number.max()) + 1, np.float32)
    table[number[known]] = values[known]
    return table.take(number)


def gradient_basins(image: FloatArray) -> Labels:
    """
    Return the catchment basins of an image's gradient magnitude.

    Every pixel runs down to its lowest neighbour until a minimum is reached; what runs to the
    same minimum is one basin. It is the watershed transform by steepest descent, in whole-array
    steps.

    Parameters
    ----------
    image
        (h, w, C) float32.

    Returns
    -------
    numpy.ndarray
        (h, w) int32 from 0, every number present.

    """
    across, down = cv2.Sobel(image, -1, 1, 0), cv2.Sobel(image, -1, 0, 1)
    slope = (np.square(across) + np.square(down)) @ np.ones(image.shape[2], np.float32)
    return compact(roots(_lowest_neighbours(slope).ravel())).reshape(slope.shape)


def _lowest_neighbours(level: FloatArray) -> Indices:
    """
    Return the flat index of the lowest pixel of each one's 3 x 3 surroundings.

    Shape (h, w), of levels of 0 and more. Of equally low pixels the first counts, up and left,
    so that a plateau drains into one corner.
    """
    # Floats of one sign are in the order of their bits; with the index below them, the least
    # key tells the lowest pixel, and the first of several.
    keys = level.view(np.int32).astype(np.int64) << 32
    keys += np.arange(level.size).reshape(level.shape)
    return _least_of_three(_least_of_three(keys).T).T & 0xFFFFFFFF


def _least_of_three(keys: Indices) -> Indices:
    """Return the least of each (h, w) number and those left and right of it."""
    least = keys.copy(order='K')
    np.minimum(least[:, 1:], keys[:, :-1], out=least[:, 1:])
    np.minimum(least[:, :-1], keys[:, 1:], out=least[:, :-1])
    return least


def roots(target: npt.NDArray[np.integer]) -> Indices:
    """Return where each of (n,) pointers ends, following them until they stay."""
    ends: Indices = target.astype(np.intp)
    while True:
        further = ends.take(ends)
        if np.array_equal(further, ends):
            return ends
        ends = further


def compact(labels: npt.NDArray[np.integer]) -> Labels:
    """Return (n,) int32 labels with the same groups, numbered from 0 without gaps."""
    present = np.zeros(int(labels.max()) + 1, bool)
    present[labels] = True
    return (np.cumsum(present, dtype=np.int32) - 1).take(labels)
