"""What a structured-light depth camera makes of exact depth."""

from __future__ import annotations

import cv2
from diffseg_ros.types import DepthImage, Mask
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

BASELINE = 0.075
"""Metres from the camera to the projector on its right."""
DISPARITY_STEP = 0.125
"""Pixels between two disparities that the matching tells apart."""
DISPARITY_NOISE = 0.09
"""Standard deviation of the disparity in pixels; depth noise grows with depth squared."""

_LATERAL_NOISE = 0.5  # pixels by which the measured place is off, which frays outlines
_NEAREST, _FARTHEST = 0.4, 6.0
_GRAZING = 0.14  # cosine of incidence below which the pattern is mostly lost
_DARK = 0.012  # reflectance below which the pattern is mostly lost
_EDGE_STEP, _EDGE_LOSS = 0.04, 0.45  # relative step of depth at which this share is lost


def measure_depth(depth: DepthImage, incidence: FloatArray, reflectance: FloatArray,
                  focal: float, seed: int) -> DepthImage:
    """
    Return measured depth with noise, steps and holes: (H, W) float32 metres, NaN in holes.

    Parameters
    ----------
    depth
        (H, W) float32 exact metres along the optical axis, NaN where there is nothing.
    incidence
        (H, W) float32 cosine between surface normal and line of sight.
    reflectance
        (H, W) float32 diffuse reflectance, 0 to 1.
    focal
        Focal length in pixels.
    seed
        Of all that is random.

    """
    rng = np.random.default_rng([seed, 3])
    scale = np.float32(focal * BASELINE)
    disparity = scale / _displaced(depth, rng)
    # A matching window sees several pixels, so neighbours share most of the error.
    error = cv2.GaussianBlur(rng.standard_normal(depth.shape, np.float32), (0, 0), 1.2)
    error *= np.float32(DISPARITY_NOISE) / error.std()
    disparity = np.rint((disparity + error) / DISPARITY_STEP) * DISPARITY_STEP
    with np.errstate(divide='ignore', invalid='ignore'):
        measured = (scale / disparity).astype(np.float32)
        lost = ~((measured >= _NEAREST) & (measured <= _FARTHEST))
    lost |= _shadow(depth, scale)
    lost |= _weak(incidence, reflectance, rng)
    lost |= _torn(depth, rng)
    measured[lost] = np.nan
    return measured


def _displaced(depth: DepthImage, rng: np.random.Generator) -> DepthImage:
    """Return depth at places that are off by a fraction of a pixel."""
    rows, columns = np.indices(depth.shape, dtype=np.float32)
    shift = rng.standard_normal((2, *depth.shape), np.float32) * _LATERAL_NOISE
    return cv2.remap(depth, columns + shift[0], rows + shift[1], cv2.INTER_NEAREST,
                     borderMode=cv2.BORDER_REPLICATE)


def _shadow(depth: DepthImage, scale: np.float32) -> Mask:
    """Return what the projector cannot reach: columns overtaken by nearer ones."""
    columns = np.arange(depth.shape[1], dtype=np.float32)
    lit = np.where(np.isfinite(depth), columns - scale / depth, np.inf)
    nearest = np.minimum.accumulate(lit[:, ::-1], axis=1)[:, ::-1]
    return lit > nearest + 1.0


def _weak(incidence: FloatArray, reflectance: FloatArray, rng: np.random.Generator) -> Mask:
    """Return where too little of the pattern comes back."""
    patchy = cv2.GaussianBlur(rng.standard_normal(incidence.shape, np.float32), (0, 0), 2.0)
    patchy /= patchy.std()
    return ((incidence < _GRAZING * (1 + 0.3 * patchy))
            | (reflectance < _DARK * (1 + 0.5 * patchy)))


def _torn(depth: DepthImage, rng: np.random.Generator) -> Mask:
    """Return a random part of the pixels at depth steps."""
    filled = np.nan_to_num(depth, nan=100.0)
    kernel = np.ones((3, 3), np.uint8)
    step = cv2.dilate(filled, kernel) - cv2.erode(filled, kernel)
    return (step > _EDGE_STEP * filled) & (rng.random(depth.shape, np.float32) < _EDGE_LOSS)
