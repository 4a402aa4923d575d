"""Over-segmentation of a photo into basins: the nodes that region merging starts from."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_BLUR = 1.0
_STEPS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


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
    return cv2.GaussianBlur(lab, (0, 0), _BLUR) / 100


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
    height, width = image.shape[:2]
    slope = np.square(cv2.Sobel(image, -1, 1, 0)) + np.square(cv2.Sobel(image, -1, 0, 1))
    padded = np.pad(slope.sum(axis=2), 1, constant_values=np.inf)
    lowest = np.full((height, width), np.inf, np.float32)
    target = np.zeros((height, width), np.int32)
    here = np.arange(height * width, dtype=np.int32).reshape(height, width)
    # On a plateau the first step, up and left, wins: it drains into one corner.
    for dy, dx in _STEPS:
        level = padded[1 + dy:1 + dy + height, 1 + dx:1 + dx + width]
        lower = level < lowest
        np.copyto(lowest, level, where=lower)
        np.copyto(target, here + (dy * width + dx), where=lower)
    return compact(roots(target.ravel())).reshape(height, width)


def roots(target: Labels) -> Labels:
    """Return where each of (n,) int32 pointers ends, following them until they stay."""
    while True:
        further = target[target]
        if np.array_equal(further, target):
            return target
        target = further


def compact(labels: npt.NDArray[np.integer]) -> Labels:
    """Return (n,) int32 labels with the same groups, numbered from 0 without gaps."""
    present = np.zeros(int(labels.max()) + 1, bool)
    present[labels] = True
    return (np.cumsum(present, dtype=np.int32) - 1)[labels]
