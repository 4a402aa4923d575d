"""
DiffSeg: segments from self-attention maps alone.

Source: Tian et al., "Diffuse, Attend, and Segment", CVPR 2024. The maps of all resolutions become
one, maps of a grid of anchors absorb those that attend alike, what is left is merged twice more,
and every token goes to the proposal that holds most of it.

The published distance broadcasts every anchor against every map. Here it is two matrix products:
the symmetric Kullback-Leibler divergence of p and q is (h(p) + h(q) - p.log q - q.log p) / 2 with
h(p) = p.log p. `reference_merging` has the published form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional


@dataclass(frozen=True)
class MergeRule:
    """
    How maps are merged; as published, but for `floor`, which is 0 there.

    Attributes
    ----------
    threshold
        Maps nearer than this symmetric divergence (nats) are merged.
    iterations
        The first averages all maps near each anchor, the others merge what came out.
    order
        Who merges first in the later iterations: 'index', row by row as published, so that the
        result depends on the direction in which the image is read, or 'density', those with
        the most neighbours.
    reuse
        Whether a map that one proposal has absorbed counts again in the mean of the next. The
        published code lets it.
    floor
        Probabilities below this count as this much. With 0, as published, a map that holds a
        zero has no distance, not even to itself, and is dropped without notice.

    """

    threshold: float = 1.0
    iterations: int = 3
    order: Literal['index', 'density'] = 'index'
    reuse: bool = True
    floor: float = 1e-12


def anchor_tokens(height: int, width: int, per_side: int) -> npt.NDArray[np.intp]:
    """
    Return the tokens of an even grid of anchors, at most `per_side` along each side.

    On 64x64 tokens 16 a side are the published 1, 5, ..., 61.
    """
    rows, columns = (((np.arange(count) + 0.5) * size / count - 0.5).astype(np.intp)
                     for size, count in ((height, min(height, per_side)),
                                         (width, min(width, per_side))))
    return (rows[:, None] * width + columns).ravel()


def symmetric_divergence(rows: torch.Tensor, others: torch.Tensor,
                         floor: float = MergeRule.floor) -> torch.Tensor:
    """Return the (a, b) symmetric divergences of (a, n) and (b, n) distributions, in nats."""
    logs, entropy = _logs_and_entropies(others, floor)
    if rows is others:
        own_logs, own_entropy = logs, entropy
    else:
        own_logs, own_entropy = _logs_and_entropies(rows, floor)
    return _divergence(rows, own_logs, own_entropy, others, logs, entropy)


def _divergence(rows: torch.Tensor, row_logs: torch.Tensor, row_entropy: torch.Tensor,
                others: torch.Tensor, logs: torch.Tensor,
                entropy: torch.Tensor) -> torch.Tensor:
    crossed = torch.addmm(row_entropy[:, None] + entropy, rows, logs.T, alpha=-1)
    return crossed.addmm_(row_logs, others.T, alpha=-1).mul_(0.5)


def _logs_and_entropies(maps: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p and p.log p of each row."""
    if maps.device.type != 'cpu':
        logs = maps.clamp_min(floor).log_()
        return logs, torch.linalg.vecdot(maps, logs)
    # NumPy's logarithm takes a third of PyTorch's time.
    values = maps.numpy()
    with np.errstate(divide='ignore', invalid='ignore'):
        logarithms = np.maximum(values, np.float32(floor))
        np.log(logarithms, out=logarithms)
        entropy = np.einsum('ij,ij->i', values, logarithms)
    return torch.from_numpy(logarithms), torch.from_numpy(entropy)


def merge_attention(attention: torch.Tensor, rule: MergeRule | None = None, *,
                    anchors_per_side: int = 16, kmeans_iterations: int = 0) -> torch.Tensor:
    """
    Merge attention maps into one map a segment.

    Parameters
    ----------
    attention
        (h, w, h, w) float32, query axes first, sums over the keys 1, on any device.
    rule
        Threshold and order of the merging.
    anchors_per_side
        The first iteration starts from this many tokens along each side.
    kmeans_iterations
        Rounds of k-means over all maps that start from the proposals; 0 leaves it out, as the
        published default.

    Returns
    -------
    torch.Tensor
        (K, h, w) float32 proposals, at least one, each the mean of the maps it absorbed.

    Raises
    ------
    DiffsegError
        The maps are of another shape, hold NaN, infinity or negative values, or every one was
        dropped for its zeros (only with floor 0).

    """
    rule = rule or MergeRule()
    height, width = attention.shape[:2]
    if attention.ndim != 4 or attention.shape[2:] != attention.shape[:2]:
        raise DiffsegError(f'attention: got shape {tuple(attention.shape)}; (h, w, h, w) is '
                           'needed')
    maps = attention.reshape(height * width, height * width)
    lowest, highest = torch.stack(torch.aminmax(maps)).tolist()
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise DiffsegError('attention: holds NaN, infinity or negative values; run the model in '
                           'float32 (backbone.precision) or check its weights')
    proposals = _absorb(maps, anchor_tokens(height, width, anchors_per_side), rule)
    for _ in range(rule.iterations - 1):
        proposals = _merge_greedily(proposals, rule)
    if not len(proposals):
        raise DiffsegError('attention: every map holds a zero and was dropped; use a floor '
                           'above 0')
    for _ in range(kmeans_iterations):
        proposals = _kmeans_round(maps, proposals)
    return proposals.unflatten(1, (height, width))


def _absorb(maps: torch.Tensor, anchors: npt.NDArray[np.intp], rule: MergeRule) -> torch.Tensor:
    """Return the mean of all maps near each anchor, without anchors that are near none."""
    logs, entropy = _logs_and_entropies(maps, rule.floor)
    chosen = torch.from_numpy(anchors).to(maps.device)
    distance = _divergence(maps[chosen], logs[chosen], entropy[chosen], maps, logs, entropy)
    near = (distance < rule.threshold).to(maps.dtype)
    count = near.sum(dim=1)
    means = near @ maps
    means /= count[:, None]
    return means if bool((count > 0).all()) else means[count > 0]


def _merge_greedily(rows: torch.Tensor, rule: MergeRule) -> torch.Tensor:
    near = (symmetric_divergence(rows, rows, rule.floor) < rule.threshold).cpu().numpy()
    crowd = near.sum(axis=1) if rule.order == 'density' else np.zeros(len(rows), int)
    free = np.ones(len(rows), bool)
    groups = []
    for row in np.argsort(-crowd, kind='stable'):
        if free[row] and near[row, row]:
            groups.append(near[row] if rule.reuse else near[row] & free)
            free &= ~near[row]
    if not groups:
        return rows[:0]
    members = torch.from_numpy(np.array(groups)).to(rows.device, rows.dtype)
    return members @ rows / members.sum(dim=1, keepdim=True)


def _kmeans_round(maps: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the means of the maps nearest (Euclidean) each centre; empty ones stay."""
    score = torch.addmm(centres.square().sum(dim=1), maps, centres.T, alpha=-2)
    members = functional.one_hot(score.argmin(dim=1), len(centres)).T.to(maps.dtype)
    count = members.sum(dim=1, keepdim=True)
    return torch.where(count > 0, members @ maps / count.clamp_min(1), centres)


def proposal_labels(proposals: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """
    Return which of (K, h, w) proposals holds most of each pixel, after bilinear upsampling.

    Returns
    -------
    torch.Tensor
        (height, width) int64 from 0 to K - 1; numbers that win no pixel do not occur.

    """
    return functional.interpolate(proposals[None], (height, width), mode='bilinear',
                                  align_corners=False)[0].argmax(dim=0)
