"""DiffSeg: segments from self-attention maps alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffseg_ros.registry import register_segmentation
from diffseg_ros.segmentation.base import compact_segments, SegmentationMethod
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, Segments
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

# Fitted to images with the embedded model: the shares' logarithms differ by little where the
# attention is even, which the threshold of merging has to follow too.
_NATS_PER_THRESHOLD = 2.0
_LARGEST_POWER = 64.0


class DiffSegSettings(Settings):
    """Merging of self-attention maps."""

    threshold: float = setting(
        -1.0, 'attention maps nearer than this (symmetric divergence, nats) are merged; higher '
        'gives fewer segments; -1 is what suits the model', -1.0, 100.0)
    anchors: int = setting(16, 'merging starts from a grid of so many anchors along each side',
                           1, 128)
    kmeans_iterations: int = setting(
        0, 'iterations of k-means that refine the merged maps; 0 is off', 0, 100)

    @property
    def power(self) -> float:
        """Exponent that makes a confidence of the maps' shares; no winner changes."""
        return 1 / min(max(_NATS_PER_THRESHOLD * self.threshold, 1 / _LARGEST_POWER), 1)


@register_segmentation('diffseg', DiffSegSettings)
class DiffSeg(SegmentationMethod):
    """
    Merges the self-attention maps: the only method that groups nothing by the features.

    As published up to the merged maps, except that beyond `max_segments` those that win the
    fewest tokens are left out. By default superpixels of the image vote for the maps instead of
    each pixel; with `refinement` pamr of 0 iterations at the image's width the pixels do, as
    published, smoothed by a 3x3 median.
    Source: DiffSeg (Tian et al., "Diffuse, Attend, and Segment", CVPR 2024).
    """

    needs_attention = True

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """Segment one frame; the prior is not used, the features only describe the segments."""
        from diffseg_ros.segmentation.attention import (
            aggregate_attention,
            largest_maps,
            mean_features,
            merge_attention,
        )
        from diffseg_ros.segmentation.upsampling import TokenScores, upsample_scores

        settings, common = self.settings, self.common
        features = self.prepare(features)
        maps = merge_attention(aggregate_attention(attention),
                               settings.threshold * common.threshold_scale,
                               anchors_per_side=settings.anchors,
                               kmeans_iterations=settings.kmeans_iterations)
        maps = largest_maps(maps, common.max_segments)
        labels, margin = upsample_scores(frame.rgb, TokenScores(maps, power=settings.power),
                                         common)
        return compact_segments(labels, margin, mean_features(features, maps).cpu().numpy())
