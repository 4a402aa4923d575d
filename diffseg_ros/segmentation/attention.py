"""
Self-attention maps: brought to one grid, compared, and merged into segments (DiffSeg).

Source: Tian et al., "Diffuse, Attend, and Segment", CVPR 2024. Maps of a grid of anchors absorb
those that attend alike, and what is left is merged twice more. The published distance broadcasts
every anchor against every map. Here it is two matrix products: the symmetric Kullback-Leibler
divergence of p and q is (h(p) + h(q) - p.log q - q.log p) / 2 with h(p) = p.log p.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_ITERATIONS = 3
_FLOOR = 1e-12


def aggregate_attention(maps: Sequence[torch.Tensor] | None) -> torch.Tensor:
    """
    Return the mean of (h, w, h, w) maps on the finest grid; each weighs as its resolution.

    Query axes come first. Keys are upsampled bilinearly and made to sum to 1 again, queries are
    repeated. DiffsegError is raised without maps, or where sides do not divide the finest's.
    """
    if not maps:
        raise DiffsegError('segmentation: method diffseg and the attention cue need attention '
                           'maps; give those of Backbone.features_and_attention')
    finest = max(maps, key=lambda item: item.shape[0] * item.shape[1])
    height, width = finest.shape[:2]
    total = sum(_resolution(item) for item in maps)
    merged = finest.new_zeros(finest.shape)
    for item in maps:
        rows, columns = item.shape[:2]
        if height % rows or width % columns or height // rows != width // columns:
            raise DiffsegError(f'attention: maps of {rows}x{columns} and {height}x{width} '
                               'tokens; the finer must be a multiple of the coarser')
        weight, repeat = _resolution(item) / total, height // rows
        if repeat > 1:
            item = _upsample_keys(item, height, width)
        blocks = merged.view(rows, repeat, columns, repeat, height, width)
        blocks.add_(item[:, None, :, None], alpha=weight)
    return merged


def _resolution(item: torch.Tensor) -> float:
    return float(np.sqrt(item.shape[0] * item.shape[1]))


def _upsample_keys(item: torch.Tensor, height: int, width: int) -> torch.Tensor:
    larger = functional.interpolate(item.flatten(0, 1)[:, None], (height, width),
                                    mode='bilinear', align_corners=False)[:, 0]
    larger /= larger.sum(dim=(1, 2), keepdim=True)
    return larger.unflatten(0, item.shape[:2])


def pool_attention(attention: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """
    Return (h, w, h, w) attention on another grid: queries averaged, keys summed.

    Where the sides do not divide, tokens of the new grid share border tokens of the old one.
    """
    if tuple(attention.shape[:2]) == (height, width):
        return attention
    queries = attention.flatten(2).permute(2, 0, 1)[None]
    queries = functional.adaptive_avg_pool2d(queries, (height, width))[0]
    keys = queries.unflatten(0, attention.shape[2:]).permute(2, 3, 0, 1).flatten(0, 1)[None]
    pooled = functional.adaptive_avg_pool2d(keys, (height, width))[0]
    pooled = pooled / pooled.sum(dim=(1, 2), keepdim=True)
    return pooled.unflatten(0, (height, width))


def attention_divergence(attention: Sequence[torch.Tensor] | None, height: int,
                         width: int) -> torch.Tensor:
    """Return the (n, n) symmetric divergences, in nats, of the attention of h * w = n tokens."""
    pooled = pool_attention(aggregate_attention(attention), height, width)
    rows = pooled.reshape(height * width, -1)
    return symmetric_divergence(rows, rows).clamp_(min=0)


def symmetric_divergence(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """
    Return the (a, b) symmetric divergences of (a, n) and (b, n) distributions, in nats.

    Lower probabilities count as 1e-12; the published code silently drops maps that hold a zero.
    """
    row_logs, row_entropy = _logs_and_entropies(rows)
    logs, entropy = (row_logs, row_entropy) if rows is others else _logs_and_entropies(others)
    crossed = torch.addmm(row_entropy[:, None] + entropy, rows, logs.T, alpha=-1)
    return crossed.addmm_(row_logs, others.T, alpha=-1).mul_(0.5)


def _logs_and_entropies(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p and p.log p of each row."""
    logs = maps.clamp_min(_FLOOR).log_()
    return logs, torch.linalg.vecdot(maps, logs)


def merge_attention(attention: torch.Tensor, threshold: float = 1.0, *,
                    anchors_per_side: int = 16, kmeans_iterations: int = 0) -> torch.Tensor:
    """
    Merge attention maps into (K, h, w) float32 maps, each the mean of those that it absorbed.

    Parameters
    ----------
    attention
        (h, w, h, w) float32, query axes first, sums over the keys 1, on any device.
    threshold
        Maps nearer than this symmetric divergence (nats) are merged.
    anchors_per_side
        The first iteration starts from this many tokens along each side.
    kmeans_iterations
        Rounds of k-means over all maps that start from the merged ones; published is 0.

    Raises
    ------
    DiffsegError
        The maps are of another shape, or hold NaN, infinity or negative values.

    """
    height, width = attention.shape[:2]
    if attention.ndim != 4 or attention.shape[2:] != attention.shape[:2]:
        raise DiffsegError(f'attention: got shape {tuple(attention.shape)}; (h, w, h, w) is '
                           'needed')
    maps = attention.reshape(height * width, height * width)
    lowest, highest = torch.stack(torch.aminmax(maps)).tolist()
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise DiffsegError('attention: holds NaN, infinity or negative values; run the model in '
                           'float32 (backbone.precision) or check its weights')
    anchors = torch.from_numpy(anchor_tokens(height, width, anchors_per_side)).to(maps.device)
    near = symmetric_divergence(maps[anchors], maps) < threshold
    merged = _means(near[near.any(dim=1)], maps)
    for _ in range(_ITERATIONS - 1):
        merged = _merge_greedily(merged, threshold)
    for _ in range(kmeans_iterations):
        merged = _kmeans_round(maps, merged)
    return merged.unflatten(1, (height, width))


def anchor_tokens(height: int, width: int, per_side: int) -> npt.NDArray[np.intp]:
    """Return the tokens of an even grid; 16 a side of 64x64 are the published 1, 5, ..., 61."""
    rows, columns = (((np.arange(count) + 0.5) * size / count - 0.5).astype(np.intp)
                     for size, count in ((height, min(height, per_side)),
                                         (width, min(width, per_side))))
    return (rows[:, None] * width + columns).ravel()


def _means(members: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return the (K, n) means of the maps in which (K, m) members are set."""
    members = members.to(maps.dtype)
    return members @ maps / members.sum(dim=1, keepdim=True)


def _merge_greedily(maps: torch.Tensor, threshold: float) -> torch.Tensor:
    """Merge maps with those near them, row by row; one may count in several means."""
    near = (symmetric_divergence(maps, maps) < threshold).cpu().numpy()
    free = np.ones(len(maps), bool)
    groups = []
    for row, neighbours in enumerate(near):
        if free[row] and neighbours[row]:
            groups.append(neighbours)
            free &= ~neighbours
    return _means(torch.from_numpy(np.array(groups)).to(maps.device), maps)


def _kmeans_round(maps: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the means of the maps nearest (Euclidean) each centre; empty ones stay."""
    score = torch.addmm(centres.square().sum(dim=1), maps, centres.T, alpha=-2)
    members = functional.one_hot(score.argmin(dim=1), len(centres)).T.to(maps.dtype)
    count = members.sum(dim=1, keepdim=True)
    return torch.where(count > 0, members @ maps / count.clamp_min(1), centres)


def largest_maps(maps: torch.Tensor, limit: int) -> torch.Tensor:
    """Return at most `limit` of (K, h, w) maps: those that win the most tokens."""
    if len(maps) <= limit:
        return maps
    won = torch.bincount(maps.flatten(1).argmax(dim=0), minlength=len(maps))
    kept = torch.sort(won, descending=True, stable=True).indices[:limit].sort().values
    return maps[kept]


def mean_features(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return the (K, C) mean directions of (C, h, w) features where each of K maps wins."""
    shares = functional.adaptive_avg_pool2d(maps, features.shape[1:]).flatten(1)
    shares = shares / shares.sum(dim=0).clamp_min(1e-30)
    members = functional.one_hot(shares.argmax(dim=0), len(shares)).T.to(shares.dtype)
    # A map that wins no token has its share of all of them.
    members = torch.where(members.any(dim=1, keepdim=True), members, shares)
    unit = functional.normalize(features.flatten(1), dim=0)
    return functional.normalize(members @ unit.T, dim=1)
