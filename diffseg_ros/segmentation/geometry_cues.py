"""How far two image tokens are apart in space: the affinity's cues of RGB-D input."""

from __future__ import annotations

from typing import NamedTuple

from diffseg_ros.segmentation.diffcut import CutSettings
from diffseg_ros.segmentation.geometry import token_normals, token_points
from diffseg_ros.types import Frame
import numpy as np
import torch


class _Surface(NamedTuple):
    """Tokens' (n, 3) points in metres and unit normals, 0 where unknown, and (n, 1) of each."""

    points: torch.Tensor
    normals: torch.Tensor
    has_point: torch.Tensor
    has_normal: torch.Tensor


def geometry_distances(frame: Frame, height: int, width: int, config: CutSettings,
                       device: torch.device | None = None) -> torch.Tensor:
    """
    Return the (n, n) float32 weighted sum of the squared distances of tokens in space.

    The cues, each with its weight in `config`, do not depend on how far away the scene is:

    - `geometry`: squared distance of each token from the other's tangent plane, the mean of both
      directions, over the product of the two depths. However far apart, tokens of one table top
      get 0, and what stands on it does not.
    - `depth`: squared difference of the logarithms of the depths, which jump where one thing
      ends before another.
    - `normals`: 1 minus the cosine between the surface normals.
    - `distance`: squared distance in space over the product of the two depths.

    Pairs of which one has no depth (no normal, for `geometry` and `normals`) get 0: for them the
    other cues decide. Without intrinsics a field of view of 60 degrees is assumed. The pairs are
    computed on `device`.

    Raises
    ------
    DiffsegError
        The frame has no depth.

    """
    surface = _surface(frame, height, width, device)
    sides = []
    for weight, columns in ((config.depth, _depth_columns), (config.normals, _normal_columns),
                            (config.distance, _distance_columns)):
        if weight:
            left, right = columns(surface)
            sides.append((weight * left, right))
    if not sides:
        return _plane_distances(surface).mul_(config.geometry)
    left, right = (torch.cat(side, dim=1) for side in zip(*sides, strict=True))
    total = (left @ right.T).clamp_min_(0)
    if config.geometry:
        total += _plane_distances(surface).mul_(config.geometry)
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
