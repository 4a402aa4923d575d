"""Pairwise affinities of image tokens: the product of the affinities of all cues with a weight."""

from __future__ import annotations

from typing import NamedTuple

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.cues import CutSettings
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.types import Frame, RgbImage
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

FloatArray = npt.NDArray[np.float32]

# exp(-40) is nothing beside what tokens share with their neighbours; what is much less becomes
# denormal, which makes every later product slow.
_FARTHEST = 40.0


def token_affinity(frame: Frame, features: torch.Tensor, settings: CutSettings,
                   prior_weight: float = 0.0, prior: FloatArray | None = None,
                   attention: torch.Tensor | None = None) -> torch.Tensor:
    """
    Return the (n, n) float32 affinity in [0, 1] of the n = h * w tokens, on the features' device.

    `features` are (C, h, w) float32, `prior` the (K, h, w) share of each of K tracks expected in
    each token, `attention` the (n, n) divergences from `attention_divergence`. DiffsegError is
    raised where every cue has weight 0, or one is still left open.
    """
    left_open = [name for name in ('alpha', 'colour', 'position', 'geometry')
                 if getattr(settings, name) < 0]
    if left_open:
        raise DiffsegError(f'segmentation.cut.{left_open[0]}: left open; fill the settings by '
                           'diffseg_ros.model_defaults.with_model_defaults')
    height, width = features.shape[1:]
    distance = _squared_distances(frame, height, width, settings, features.device)
    if not (settings.alpha or distance is not None
            or settings.attention and attention is not None):
        raise DiffsegError('segmentation: alpha, colour, position, attention, geometry, depth, '
                           'normals and distance are all 0 (or only of the last four one is '
                           'set, and the frame has no depth); set one above 0')
    affinity = (feature_affinity(features.flatten(1), settings.alpha)
                if settings.alpha else features.new_ones((height * width,) * 2))
    if distance is not None:
        affinity *= distance.clamp_max_(_FARTHEST).neg_().exp_()
    if prior is not None and prior_weight:
        shares = torch.from_numpy(prior).to(features.device)
        affinity *= prior_affinity(shares.flatten(1), prior_weight)
    if attention is not None and settings.attention:
        affinity *= torch.exp(-settings.attention * attention)
    return affinity


def prior_affinity(shares: torch.Tensor, weight: float) -> torch.Tensor:
    """Return the (n, n) exp(-weight * (1 - cosine)) of (K, n) shares; where one is 0 it is 1."""
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


def _squared_distances(frame: Frame, height: int, width: int, settings: CutSettings,
                       device: torch.device) -> torch.Tensor | None:
    parts = []
    if settings.colour:
        parts.append(np.sqrt(settings.colour) * token_colours(frame.rgb, height, width))
    if settings.position:
        parts.append(np.sqrt(settings.position) * token_positions(height, width))
    distance = None
    if parts:
        points = np.concatenate(parts, axis=1).astype(np.float32)
        distance = _pairwise(torch.from_numpy(points).to(device))
    if settings.uses_depth and frame.depth is not None:
        apart = geometry_distances(frame, height, width, settings, device)
        distance = apart if distance is None else distance.add_(apart)
    return distance


def _pairwise(points: torch.Tensor) -> torch.Tensor:
    """Return the (n, n) squared Euclidean distances of (n, d) points."""
    points = points - points.mean(dim=0)
    squares = points.square().sum(dim=1, keepdim=True)
    ones = torch.ones_like(squares)
    return (torch.cat([-2 * points, squares, ones], dim=1)
            @ torch.cat([points, ones, squares], dim=1).T).clamp_min_(0)


def token_colours(rgb: RgbImage, height: int, width: int) -> FloatArray:
    """Return the (h * w, 3) mean CIE Lab colour of each token, divided by 100."""
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab.reshape(-1, 3) / 100


def token_positions(height: int, width: int) -> FloatArray:
    """Return the (h * w, 2) token centres in units of the longer image side."""
    y, x = (np.mgrid[:height, :width] + 0.5) / max(height, width)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


class _Surface(NamedTuple):
    """Tokens' (n, 3) points in metres and unit normals, 0 where unknown, and (n, 1) of each."""

    points: torch.Tensor
    normals: torch.Tensor
    has_point: torch.Tensor
    has_normal: torch.Tensor


def geometry_distances(frame: Frame, height: int, width: int, settings: CutSettings,
                       device: torch.device | None = None) -> torch.Tensor:
    """
    Return the (n, n) float32 weighted sum of the squared distances of tokens in space.

    None of the cues depends on how far away the scene is. `geometry` is the squared distance from
    the other's tangent plane, the mean of both directions, and `distance` that in space, both over
    the product of the two depths; `depth` is the squared difference of the depths' logarithms,
    `normals` 1 minus the cosine. Pairs of which one has no depth (or normal) get 0.
    """
    surface = _surface(frame, height, width, device)
    sides = []
    for weight, columns in ((settings.depth, _depth_columns), (settings.normals, _normal_columns),
                            (settings.distance, _distance_columns)):
        if weight:
            left, right = columns(surface)
            sides.append((weight * left, right))
    if not sides:
        return _plane_distances(surface).mul_(settings.geometry)
    left, right = (torch.cat(side, dim=1) for side in zip(*sides, strict=True))
    total = (left @ right.T).clamp_min_(0)
    if settings.geometry:
        total += _plane_distances(surface).mul_(settings.geometry)
    return total


def _surface(frame: Frame, height: int, width: int, device: torch.device | None) -> _Surface:
    points = token_points(frame, height, width)
    both = torch.from_numpy(np.concatenate([points, token_normals(points)], axis=-1))
    parts = both.to(device).reshape(-1, 6).split(3, dim=1)
    known = [part.isfinite().all(dim=1, keepdim=True) for part in parts]
    known[1] &= known[0]
    points, normals = (torch.where(valid, part, 0)
                       for part, valid in zip(parts, known, strict=True))
    return _Surface(points, normals, *(valid.float() for valid in known))


# Each of these is a sum of products of what is known of two tokens: (left, right) columns whose
# matrix product it is.
_Sides = tuple[torch.Tensor, torch.Tensor]


def _depth_columns(surface: _Surface) -> _Sides:
    known = surface.has_point
    depth = torch.where(known > 0, surface.points[:, 2:], 1).log()
    # Near 0 the squares keep their digits.
    depth = (depth - (depth * known).sum() / known.sum().clamp_min(1)) * known
    squares = depth.square()
    return (torch.cat([squares, known, -2 * depth], dim=1),
            torch.cat([known, squares, depth], dim=1))


def _normal_columns(surface: _Surface) -> _Sides:
    return (torch.cat([surface.has_normal, -surface.normals], dim=1),
            torch.cat([surface.has_normal, surface.normals], dim=1))


def _distance_columns(surface: _Surface) -> _Sides:
    known, points = surface.has_point, surface.points
    depth = torch.where(known > 0, points[:, 2:], 1)
    squares = points.square().sum(dim=1, keepdim=True) / depth
    inverse = known / depth
    return (torch.cat([squares, inverse, -2 * points / depth], dim=1),
            torch.cat([inverse, squares, points / depth], dim=1))


def _plane_distances(surface: _Surface) -> torch.Tensor:
    points, normals, _, known = surface
    scale = torch.where(known > 0, points[:, 2:], 1).rsqrt() * known
    # The distance of point j from plane i, over the root of both depths, is one product.
    offsets = -(normals * points).sum(dim=1, keepdim=True)
    plane = torch.cat([normals, offsets], dim=1) * scale
    point = torch.cat([points, torch.ones_like(offsets)], dim=1) * scale * 0.5**0.5
    return (plane @ point.T).square_().add_((point @ plane.T).square_())


def token_normals(points: FloatArray) -> FloatArray:
    """Return the (h, w, 3) unit normals of a grid of points, NaN where a neighbour is missing."""
    if min(points.shape[:2]) < 2:
        return np.full_like(points, np.nan)
    normals = np.cross(_tangents(points, 1), _tangents(points, 0))
    with np.errstate(invalid='ignore', divide='ignore'):
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _tangents(points: FloatArray, axis: int) -> FloatArray:
    """Return the shorter of the steps to both neighbours: it stays on the same surface."""
    steps = np.diff(points, axis=axis)
    missing = np.full_like(np.take(points, [0], axis=axis), np.nan)
    forward = np.concatenate([steps, missing], axis=axis)
    backward = np.concatenate([missing, steps], axis=axis)
    ahead, behind = (np.linalg.norm(step, axis=-1) for step in (forward, backward))
    choose_back = np.isnan(ahead) | (behind < ahead)
    return np.where(choose_back[..., None], backward, forward)
