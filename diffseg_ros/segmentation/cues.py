"""
Pairwise affinities of image tokens: features, attention, colour, position, geometry, tracks.

The affinity of two tokens is the product of the cues' affinities. A cue of weight 0 is left out;
with features alone it is DiffCut's.
"""

from __future__ import annotations

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.base import require_finite
from diffseg_ros.segmentation.diffcut import CutSettings
from diffseg_ros.segmentation.geometry_cues import geometry_distances
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

FloatArray = npt.NDArray[np.float32]

# exp(-40) is nothing beside what tokens share with their neighbours; what is much less becomes
# denormal, which makes every later product slow.
_FARTHEST = 40.0


def token_affinity(frame: Frame, features: torch.Tensor, config: CutSettings,
                   prior_weight: float = 0.0, prior: FloatArray | None = None,
                   attention: torch.Tensor | None = None) -> torch.Tensor:
    """
    Return the (n, n) float32 affinity in [0, 1] of the n = h * w tokens.

    It is computed on the features' device and stays there.

    Parameters
    ----------
    frame
        Its colours, and its depth where the geometry cue has a weight.
    features
        (C, h, w) float32.
    config
        The cues' weights.
    prior_weight
        Weight of the prior.
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
    require_finite(features)
    height, width = features.shape[1:]
    distance = _squared_distances(frame, height, width, config, features.device)
    if config.alpha == 0 and distance is None and not (config.attention and attention is not None):
        raise DiffsegError('segmentation: alpha, colour, position, attention, geometry, depth, '
                           'normals and distance are all 0 (or only of the last four one is '
                           'set, and the frame has no depth); set one above 0')
    affinity = (feature_affinity(features.flatten(1), config.alpha)
                if config.alpha else features.new_ones((height * width,) * 2))
    if distance is not None:
        affinity *= distance.clamp_max_(_FARTHEST).neg_().exp_()
    if prior is not None and prior_weight:
        shares = torch.from_numpy(prior).to(features.device)
        affinity *= prior_affinity(shares.flatten(1), prior_weight)
    if attention is not None and config.attention:
        affinity *= torch.exp(-config.attention * attention)
    return affinity


def prior_affinity(shares: torch.Tensor, weight: float) -> torch.Tensor:
    """
    Return the (n, n) affinity exp(-weight * (1 - agreement)) of (K, n) expected shares.

    The agreement is the cosine of two tokens' shares; it is 1 where either expects nothing.
    """
    norms = shares.norm(dim=0)
    unit = shares / norms.clamp_min(1e-12)
    agreement = unit.T @ unit
    unknown = norms < 1e-6
    agreement[unknown] = 1
    agreement[:, unknown] = 1
    return agreement.sub_(1).mul_(weight).exp_()


def feature_affinity(features: torch.Tensor, alpha: float) -> torch.Tensor:
    """
    Return the cosine affinity of (C, n) finite features, stretched to [0, 1], to the power alpha.

    Source: DiffCut (Couairon et al., NeurIPS 2024).
    """
    unit = functional.normalize(features, dim=0)
    cosine = unit.T @ unit
    low, high = torch.stack(cosine.aminmax()).tolist()
    if high - low < 1e-6:
        return torch.ones_like(cosine)
    return _to_power(cosine.sub_(low).div_(high - low), alpha)


def _to_power(base: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return base ** exponent; a whole exponent takes a few products, many times faster."""
    if exponent != int(exponent):
        return base.pow_(exponent)
    result, whole = None, int(exponent)
    while whole:
        if whole % 2:
            result = base.clone() if result is None else result.mul_(base)
        whole //= 2
        if whole:
            base.square_()
    return torch.ones_like(base) if result is None else result


def _squared_distances(frame: Frame, height: int, width: int, config: CutSettings,
                       device: torch.device) -> torch.Tensor | None:
    parts = []
    if config.colour:
        parts.append(np.sqrt(config.colour) * token_colours(frame.rgb, height, width))
    if config.position:
        parts.append(np.sqrt(config.position) * token_positions(height, width))
    distance = None
    if parts:
        points = np.concatenate(parts, axis=1).astype(np.float32)
        distance = _pairwise(torch.from_numpy(points).to(device))
    if config.uses_depth and frame.depth is not None:
        apart = geometry_distances(frame, height, width, config, device)
        distance = apart if distance is None else distance.add_(apart)
    return distance


def _pairwise(points: torch.Tensor) -> torch.Tensor:
    """Return the (n, n) squared Euclidean distances of (n, d) points."""
    points = points - points.mean(dim=0)
    squares = points.square().sum(dim=1, keepdim=True)
    ones = torch.ones_like(squares)
    return (torch.cat([-2 * points, squares, ones], dim=1)
            @ torch.cat([points, ones, squares], dim=1).T).clamp_min_(0)


def token_colours(rgb: npt.NDArray[np.uint8], height: int, width: int) -> FloatArray:
    """Return the (h * w, 3) mean CIE Lab colour of each token, divided by 100."""
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab.reshape(-1, 3) / 100


def token_positions(height: int, width: int) -> FloatArray:
    """Return the (h * w, 2) token centres in units of the longer image side."""
    y, x = (np.mgrid[:height, :width] + 0.5) / max(height, width)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
