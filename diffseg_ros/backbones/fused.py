"""
Two models that look at the same image, their features side by side.

Source: Zhang et al., "A tale of two features: Stable Diffusion complements DINO for zero-shot
semantic correspondence", NeurIPS 2023.
"""

from __future__ import annotations

from diffseg_ros.backbones.base import Backbone, observe
from diffseg_ros.model_defaults import OTHER
from diffseg_ros.types import RgbImage
import torch
from torch.nn import functional


class FusedBackbone:
    """
    A backbone whose features are those of a first one and, on its grid, those of a second.

    Its kind and its attention maps are those of the first. The name tells both and the weight.
    """

    def __init__(self, first: Backbone, second: Backbone, weight: float) -> None:
        """Combine two loaded models; `weight`, 0 to 1, is that of the second."""
        self.name = f'{first.name} + {second.name} ({weight:g})'
        self.device = first.device
        self.kind = str(getattr(first, 'kind', OTHER))
        self._first, self._second, self._weight = first, second, weight

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return the (C1 + C2, h, w) float32 features on the first model's grid."""
        return fuse(self._first.features(rgb), self._second.features(rgb), self._weight)

    def features_and_attention(self, rgb: RgbImage
                               ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return these features and the first's attention maps; DiffsegError if it has none."""
        features, attention = observe(self._first, rgb, attention=True)
        assert attention is not None
        return fuse(features, self._second.features(rgb), self._weight), attention


def fuse(first: torch.Tensor, second: torch.Tensor, weight: float) -> torch.Tensor:
    """
    Return (C1 + C2, h, w) float32: both features of length 1, times 1 - `weight` and `weight`.

    `first` is (C1, h, w), `second` (C2, h2, w2) on any device; it is brought to the first's grid,
    bilinearly. The image's mean is subtracted from both first: a part that all tokens share says
    nothing about them, and the encoder with the larger one would count for less.
    """
    second = functional.interpolate(second[None].to(first), first.shape[1:], mode='bilinear',
                                    align_corners=False)[0]
    return torch.cat([(1 - weight) * _directions(first), weight * _directions(second)])


def _directions(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)
