"""
Holes in measured depth, filled by a prediction that is bent to meet their rim.

What is bent is the logarithm of depth: a prediction is off by a factor more than by a distance.
Inside a hole the logarithm of the factor is the membrane that is spanned by the rim, and so the
prediction's own edges stay. Source: Pérez et al., "Poisson image editing", SIGGRAPH 2003.
"""

from __future__ import annotations

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import DepthImage, Mask
import numpy as np
import numpy.typing as npt

_WINDOW = 25
_FARTHEST = 4.0
"""Deviations, in the usual one of an image, from the mean factor of a window of that many pixels
a side. What is farther off lies beside an edge that image and depth do not see at the same place,
which would smear into the hole."""
_USUAL_DEVIATION = 1.4826
"""Standard deviation of normal numbers by their median absolute deviation."""
_LEAST_DEVIATION = 0.01
_LEAST_MEASURED, _LONE = 0.1, np.log(1.3)
"""Share of such a window that must be measured around a pixel whose factor is above 1.3: what
stands alone may be noise, and would bend all of a hole."""
_SWEEPS = 2


def complete(measured: DepthImage, predicted: DepthImage) -> DepthImage:
    """
    Return (H, W) float32 metres: what was measured, and bent predictions in the holes.

    Parameters
    ----------
    measured
        (H, W) float32 metres, NaN in holes.
    predicted
        (H, W) float32 metres, NaN where there is no prediction, and then none in the result.

    Raises
    ------
    DiffsegError
        The shapes differ.

    """
    if measured.shape != predicted.shape:
        raise DiffsegError(f'depth completion: got {measured.shape} measured and '
                           f'{predicted.shape} predicted pixels; the same shape is needed')
    holes = ~(measured > 0)
    predicted = np.where(predicted > 0, predicted, np.float32(np.nan))
    known = ~holes & np.isfinite(predicted)
    if not holes.any() or not known.any():
        return np.where(holes, predicted, measured)
    factor = np.log(np.divide(measured, predicted, where=known, out=np.ones_like(predicted)))
    filled = predicted * np.exp(_membrane(factor, known & _trusted(factor, known)))
    return np.where(holes, filled, measured)


def _trusted(factor: npt.NDArray[np.float32], known: Mask) -> Mask:
    """Return where a factor, 0 where it is not known, is one of many, or small, and like them."""
    size = _WINDOW, _WINDOW
    share = cv2.blur(known.astype(np.float32), size, borderType=cv2.BORDER_REPLICATE)
    total = cv2.blur(factor, size, borderType=cv2.BORDER_REPLICATE)
    deviation = np.abs(factor - total / np.maximum(share, np.float32(1e-6)))
    # A part of the pixels gives the same median.
    some = deviation[::5, ::5][known[::5, ::5]]
    usual = _USUAL_DEVIATION * float(np.median(some)) if len(some) else 0.0
    one_of_many = (share >= _LEAST_MEASURED) | (np.abs(factor) < _LONE)
    return one_of_many & (deviation < _FARTHEST * max(usual, _LEAST_DEVIATION))


def _membrane(values: npt.NDArray[np.float32], known: Mask) -> npt.NDArray[np.float32]:
    """
    Return (h, w) float32 values, with smooth ones between those that are known.

    From coarse to fine: what is not known comes from the image at half the size, and then moves
    to the mean of its neighbours, which solves Laplace's equation nearly.
    """
    height, width = values.shape
    if known.all() or max(height, width) == 1:
        return values
    size = (width + 1) // 2, (height + 1) // 2
    share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(known, values, np.float32(0)), size, interpolation=cv2.INTER_AREA)
    some = share > 0
    coarse = _membrane(np.divide(total, share, where=some, out=np.zeros_like(total)), some)
    found = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    np.copyto(found, values, where=known)
    for _ in range(_SWEEPS):
        found = cv2.blur(found, (3, 3), borderType=cv2.BORDER_REPLICATE)
        np.copyto(found, values, where=known)
    return found
