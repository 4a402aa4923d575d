"""DiffCut and its K-way form: normalised cuts of the affinity between tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

from diffseg_ros.registry import register_segmentation
from diffseg_ros.segmentation.base import (
    compact_segments,
    SegmentationMethod,
    SegmentationSettings,
)
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, Segments
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

_TEMPERATURE = 0.1
# Where other cues than the features shaped the cut, it has a say beside the features' likeness.
_TOKEN_VOTE = 0.3


class CutSettings(Settings):
    """Normalised cut of an affinity between tokens: features and other cues."""

    tau: float = setting(
        0.25, 'a segment is split while its best normalised cut costs less; higher gives more '
        'segments', 0.0, 2.0)
    alpha: float = setting(5.0, 'exponent of the feature affinity', 0.0, 100.0)
    colour: float = setting(50.0, 'weight of the colour cue in the affinity; 0 is off',
                            0.0, 1000.0)
    position: float = setting(20.0, 'weight of the image position cue; 0 is off', 0.0, 1000.0)
    geometry: float = setting(
        200.0, "weight of the geometry cue, the distance from each other's tangent plane, for "
        'RGB-D input; 0 is off', 0.0, 1e6)
    depth: float = setting(
        0.0, "weight of the depth cue, the squared difference of the depths' logarithms, for "
        'RGB-D input; 0 is off', 0.0, 1e6)
    normals: float = setting(
        0.0, 'weight of the normals cue, 1 minus the cosine between the surface normals, for '
        'RGB-D input; 0 is off', 0.0, 1e6)
    distance: float = setting(
        0.0, 'weight of the distance cue, the squared distance in space over the product of the '
        'depths, for RGB-D input; 0 is off', 0.0, 1e6)
    attention: float = setting(
        0.0, "weight of the attention cue, the divergence of tokens' self-attention; 0 is off",
        0.0, 100.0, live=False)

    @property
    def uses_depth(self) -> bool:
        """Whether a cue needs depth."""
        return bool(self.geometry or self.depth or self.normals or self.distance)


@register_segmentation('diffcut', CutSettings, section='cut')
class DiffCut(SegmentationMethod):
    """
    Recursive normalised cut of the tokens' affinity.

    Source: DiffCut (Couairon et al., NeurIPS 2024), with further cues.
    """

    def __init__(self, settings: CutSettings, common: SegmentationSettings) -> None:
        super().__init__(settings, common)
        self.reset()

    def reset(self) -> None:
        """Forget where the last frame's cut ended."""
        from diffseg_ros.segmentation.normalized_cut import CutState

        self._state: Any = CutState()

    @property
    def needs_attention(self) -> bool:  # type: ignore[override]
        """Whether the attention cue has a weight."""
        return self.settings.attention > 0

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """Segment one frame."""
        from diffseg_ros.segmentation.attention_segments import attention_divergence
        from diffseg_ros.segmentation.cues import token_affinity
        from diffseg_ros.segmentation.graph_utils import membership_matrix
        from diffseg_ros.segmentation.refinement import assignment_scores, segment_means
        from diffseg_ros.segmentation.upsampling import to_pixels, TokenScores

        features = features.detach()
        if self.common.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        divergence = (attention_divergence(attention, *features.shape[1:])
                      if self.settings.attention else None)
        affinity = token_affinity(frame, features, self.settings, self.common.prior, prior,
                                  divergence)
        cut = self._cut(affinity, self.settings.tau / self.common.threshold_scale)
        cut = cut.to(features.device)
        count = int(cut.max()) + 1
        means = segment_means(features, cut, count)
        scores = assignment_scores(features, means)
        if _has_cues(self.settings, frame) or prior is not None and self.common.prior:
            scores += _TOKEN_VOTE * membership_matrix(cut, count, scores.dtype).view_as(scores)
        labels, margin = to_pixels(frame.rgb, TokenScores(scores, _TEMPERATURE), self.common)
        return compact_segments(labels, margin, means.cpu().numpy())

    def _cut(self, affinity: torch.Tensor, tau: float) -> torch.Tensor:
        from diffseg_ros.segmentation.normalized_cut import normalized_cut
        import torch

        return torch.from_numpy(normalized_cut(affinity.cpu().numpy(), tau,
                                               self.common.max_segments,
                                               state=self._state)).long()


@register_segmentation('kway', CutSettings, section='cut')
class KwayCut(DiffCut):
    """K-way normalised cut of the same affinity: faster where other cues than features act."""

    def reset(self) -> None:
        """Forget where the last frame's cut ended."""
        from diffseg_ros.segmentation.kway_cut import KwayState

        self._state = KwayState()

    def _cut(self, affinity: torch.Tensor, tau: float) -> torch.Tensor:
        from diffseg_ros.segmentation.kway_cut import kway_cut
        import torch

        return torch.from_numpy(kway_cut(affinity, tau, self.common.max_segments,
                                         self._state)).long()


def _has_cues(settings: CutSettings, frame: Frame) -> bool:
    """Return whether anything but the features shapes the affinity of the frame."""
    return bool(settings.colour or settings.position or settings.attention
                or settings.uses_depth and frame.depth is not None)
