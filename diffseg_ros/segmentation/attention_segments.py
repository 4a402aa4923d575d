"""From a frame's attention maps to soft segments (DiffSeg), and to a cue of the affinity."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.attention_aggregation import aggregate_attention, pool_attention
from diffseg_ros.segmentation.attention_merging import (
    merge_attention,
    MergeRule,
    symmetric_divergence,
)
from diffseg_ros.segmentation.base import require_finite, SegmentationSettings
from diffseg_ros.segmentation.diffseg import DiffSegSettings
from diffseg_ros.segmentation.upsampling import TokenScores
import torch
from torch.nn import functional

# Fitted to photos with the embedded model: the shares' logarithms differ by little where the
# attention is even, which the threshold of merging has to follow too.
_NATS_PER_THRESHOLD = 2.0
_LARGEST_POWER = 64.0


def attention_segments(features: torch.Tensor, attention: Sequence[torch.Tensor] | None,
                       settings: DiffSegSettings,
                       common: SegmentationSettings) -> tuple[TokenScores, torch.Tensor]:
    """
    Segment one photo by its attention maps alone.

    As published up to the proposals, but for one thing: beyond `max_segments` those that win the
    fewest tokens are left out. What `to_pixels` makes of them differs from the published argmax:
    by default basins of the photo vote. With `refinement` pamr of 0 iterations at the photo's
    width it is the argmax, smoothed by a 3x3 median. `granularity` scales the threshold.

    Parameters
    ----------
    features
        (C, h, w) float32, for the segments' mean features.
    attention
        (h, w, h, w) float32 maps of several resolutions.
    settings, common
        Merging, and the limit of segments.

    Returns
    -------
    tuple
        The K proposals as scores of the finest map's tokens, and (K, C) float32 mean features
        of length 1.

    Raises
    ------
    DiffsegError
        The attention is missing, or it or the features hold NaN or infinity, or it negative
        values.

    """
    require_finite(features)
    merged = aggregate_attention(_required(attention))
    rule = MergeRule(threshold=settings.threshold * common.threshold_scale)
    proposals = merge_attention(merged, rule,
                                anchors_per_side=settings.anchors,
                                kmeans_iterations=settings.kmeans_iterations)
    proposals = _largest(proposals, common.max_segments)
    means = _mean_features(features, proposals)
    return TokenScores(proposals, power=_power(settings.threshold)), means


def attention_divergence(attention: Sequence[torch.Tensor] | None, height: int,
                         width: int) -> torch.Tensor:
    """
    Return the (n, n) float32 symmetric divergences, in nats, of the attention of h * w = n tokens.

    Raises
    ------
    DiffsegError
        The attention is missing.

    """
    pooled = pool_attention(aggregate_attention(_required(attention)), height, width)
    rows = pooled.reshape(height * width, -1)
    return symmetric_divergence(rows, rows).clamp_(min=0)


def _required(attention: Sequence[torch.Tensor] | None) -> Sequence[torch.Tensor]:
    if not attention:
        raise DiffsegError('segmentation: method diffseg and the attention cue need attention '
                           'maps; give those of Backbone.features_and_attention')
    return attention


def _power(threshold: float) -> float:
    """Return the exponent that makes a confidence of the proposals' shares; no winner changes."""
    nats = _NATS_PER_THRESHOLD * threshold
    return 1 / min(max(nats, 1 / _LARGEST_POWER), 1)


def _largest(proposals: torch.Tensor, limit: int) -> torch.Tensor:
    if len(proposals) <= limit:
        return proposals
    won = torch.bincount(proposals.flatten(1).argmax(dim=0), minlength=len(proposals))
    kept = torch.sort(won, descending=True, stable=True).indices[:limit].sort().values
    return proposals[kept]


def _mean_features(features: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
    """Return each proposal's mean direction of the features, weighted by its shares."""
    shares = functional.adaptive_avg_pool2d(proposals, features.shape[1:]).flatten(1)
    shares = shares / shares.sum(dim=0).clamp_min(1e-30)
    members = functional.one_hot(shares.argmax(dim=0), len(shares)).T.to(shares.dtype)
    # A proposal that wins no token has its share of all of them.
    members = torch.where(members.any(dim=1, keepdim=True), members, shares)
    unit = functional.normalize(features.flatten(1), dim=0)
    return functional.normalize(members @ unit.T, dim=1)
