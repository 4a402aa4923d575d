"""From a frame's attention maps to soft segments (DiffSeg), and to a cue of the affinity."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.config import SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.attention_aggregation import aggregate_attention, pool_attention
from diffseg_ros.segmentation.attention_merging import (
    merge_attention,
    MergeRule,
    symmetric_divergence,
)
from diffseg_ros.segmentation.pixels import TokenScores
import torch
from torch.nn import functional


def attention_segments(features: torch.Tensor, attention: Sequence[torch.Tensor] | None,
                       config: SegmentationConfig) -> tuple[TokenScores, torch.Tensor]:
    """
    Segment one photo by its attention maps alone.

    As published but for three things: every pixel's shares in the proposals are made to sum to
    1, which gives a confidence and leaves the winner as it is; PAMR refines them unless
    `refinement_iterations` is 0; and beyond `max_segments` the proposals that win the fewest
    tokens are left out. At a `refinement_width` of the photo's the winners are the published
    ones.

    Parameters
    ----------
    features
        (C, h, w) float32, for the segments' mean features.
    attention
        (h, w, h, w) float32 maps of several resolutions.
    config
        Merging and refinement.

    Returns
    -------
    tuple
        The K proposals as scores of the finest map's tokens, and (K, C) float32 mean features
        of length 1.

    Raises
    ------
    DiffsegError
        The attention is missing or holds NaN, infinity or negative values.

    """
    merged = aggregate_attention(_required(attention))
    proposals = merge_attention(merged, MergeRule(threshold=config.merge_threshold),
                                anchors_per_side=config.merge_anchors,
                                kmeans_iterations=config.merge_kmeans)
    proposals = _largest(proposals, config.max_segments)
    means = _mean_features(features, proposals)
    return TokenScores(proposals), means


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
