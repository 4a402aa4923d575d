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


class DiffSegSettings(Settings):
    """Merging of self-attention maps."""

    threshold: float = setting(
        0.03, 'attention maps nearer than this (symmetric divergence, nats) are merged; higher '
        'gives fewer segments; Stable Diffusion needs about 1', 0.0, 100.0)
    anchors: int = setting(16, 'merging starts from a grid of so many anchors along each side',
                           1, 128)
    kmeans_iterations: int = setting(
        0, 'iterations of k-means that refine the merged maps; 0 is off', 0, 100)


@register_segmentation('diffseg', DiffSegSettings)
class DiffSeg(SegmentationMethod):
    """
    Merges the self-attention maps alone.

    Source: DiffSeg (Tian et al., CVPR 2024).
    """

    needs_attention = True

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """Segment one frame; the prior is not used."""
        from diffseg_ros.segmentation.attention_segments import attention_segments
        from diffseg_ros.segmentation.upsampling import to_pixels

        if self.common.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        scores, centres = attention_segments(features, attention, self.settings, self.common)
        labels, margin = to_pixels(frame.rgb, scores, self.common)
        return compact_segments(labels, margin, centres.cpu().numpy())
