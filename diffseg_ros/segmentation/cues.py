"""
Pairwise affinities of image tokens: features, attention, colour, position, geometry, tracks.

The affinity of two tokens is the product of the cues' affinities. A cue of weight 0 is left out;
with features alone it is DiffCut's.
"""

from __future__ import annotations

import cv2
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.geometry import plane_distances
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def token_affinity(frame: Frame, features: FloatArray, config: SegmentationConfig,
                   prior: FloatArray | None = None,
                   attention: FloatArray | None = None) -> FloatArray:
    """
    Return the (n, n) float32 affinity in [0, 1] of the n = h * w tokens.

    Parameters
    ----------
    frame
        Its colours, and its depth where the geometry cue has a weight.
    features
        (C, h, w) float32.
    config
        The cues' weights.
    prior
        (K, h, w) float32 expected share of each of K tracks in each token, or None.
    attention
        (n, n) float32 divergences of the tokens' attention from `attention_divergence`, or
        None.

    Raises
    ------
    DiffsegError
        The features hold NaN or infinity, or every cue has weight 0.

    """
    channels, height, width = features.shape
    distance = _squared_distances(frame, height, width, config)
    if config.alpha == 0 and distance is None and not (config.attention and attention is not None):
        raise DiffsegError('segmentation: alpha, colour, position, attention and geometry are '
                           'all 0 (or geometry alone is set and the frame has no depth); set one '
                           'above 0')
    affinity = (feature_affinity(features.reshape(channels, -1), config.alpha)
                if config.alpha else np.ones((height * width,) * 2, np.float32))
    if distance is not None:
        affinity *= np.exp(np.negative(distance, out=distance), out=distance)
    if prior is not None and config.prior:
        affinity *= prior_affinity(prior.reshape(len(prior), -1), config.prior)
    if attention is not None and config.attention:
        affinity *= np.exp(-config.attention * attention)
    return affinity


def prior_affinity(shares: FloatArray, weight: float) -> FloatArray:
    """
    Return the (n, n) affinity exp(-weight * (1 - agreement)) of (K, n) expected shares.

    The agreement is the cosine of two tokens' shares; it is 1 where either expects nothing.
    """
    norms = np.linalg.norm(shares, axis=0)
    unit = shares / np.maximum(norms, 1e-12)
    agreement = unit.T @ unit
    unknown = norms < 1e-6
    agreement[unknown] = 1
    agreement[:, unknown] = 1
    agreement -= 1
    agreement *= weight
    return np.exp(agreement, out=agreement)


def require_finite(features: FloatArray) -> None:
    """
    Refuse features that no likeness can be computed of.

    Raises
    ------
    DiffsegError
        The features hold NaN or infinity.

    """
    if not np.isfinite(features).all():
        raise DiffsegError('segmentation: the features hold NaN or infinity; run the model in '
                           'float32 (backbone.precision) or check its weights')


def feature_affinity(features: FloatArray, alpha: float) -> FloatArray:
    """
    Return the cosine affinity of (C, n) features, stretched to [0, 1], to the power alpha.

    Source: DiffCut (Couairon et al., NeurIPS 2024).
    """
    require_finite(features)
    norms = np.linalg.norm(features, axis=0)
    unit = features / np.maximum(norms, 1e-12)
    cosine = unit.T @ unit
    low, high = cosine.min(), cosine.max()
    if high - low < 1e-6:
        return np.ones_like(cosine)
    cosine -= low
    cosine /= high - low
    return np.power(cosine, alpha, out=cosine)


def _squared_distances(frame: Frame, height: int, width: int,
                       config: SegmentationConfig) -> FloatArray | None:
    parts = []
    if config.colour:
        parts.append(np.sqrt(config.colour) * token_colours(frame.rgb, height, width))
    if config.position:
        parts.append(np.sqrt(config.position) * token_positions(height, width))
    distance = None
    if parts:
        distance = _pairwise(np.concatenate(parts, axis=1))
    if config.geometry and frame.depth is not None:
        apart = plane_distances(frame, height, width)
        apart *= np.float32(config.geometry)
        if distance is not None:
            apart += distance
        distance = apart
    return distance


def _pairwise(points: FloatArray) -> FloatArray:
    """Return the (n, n) squared Euclidean distances of (n, d) points."""
    points = points - points.mean(axis=0)
    squares = np.einsum('nd,nd->n', points, points)
    distance: FloatArray = (-2 * points) @ points.T
    distance += squares[:, None]
    distance += squares
    return np.maximum(distance, 0, out=distance)


def token_colours(rgb: npt.NDArray[np.uint8], height: int, width: int) -> FloatArray:
    """Return the (h * w, 3) mean CIE Lab colour of each token, divided by 100."""
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab.reshape(-1, 3) / 100


def token_positions(height: int, width: int) -> FloatArray:
    """Return the (h * w, 2) token centres in units of the longer image side."""
    y, x = (np.mgrid[:height, :width] + 0.5) / max(height, width)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
