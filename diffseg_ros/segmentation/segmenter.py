"""One frame's segments: token affinity, normalised cut, pixels."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.attention_segments import (
    attention_divergence,
    attention_segments,
)
from diffseg_ros.segmentation.cues import token_affinity
from diffseg_ros.segmentation.graph_utils import membership_matrix
from diffseg_ros.segmentation.kway_cut import kway_cut, KwayState
from diffseg_ros.segmentation.normalized_cut import CutState, normalized_cut
from diffseg_ros.segmentation.refinement import assignment_scores, segment_means
from diffseg_ros.segmentation.region_segments import region_segments
from diffseg_ros.segmentation.upsampling import to_pixels, TokenScores
from diffseg_ros.types import Frame, Segments
import numpy as np
import numpy.typing as npt
import torch

_TEMPERATURE = 0.1
# Where other cues than the features shaped the cut, it has a say beside the features' likeness.
_TOKEN_VOTE = 0.3


class SegmenterState:
    """Where the cut of a video's next frame begins: with what that of the last one found."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.recursive = CutState()
        self.kway = KwayState()


class Segmenter:
    """Groups a frame's feature grid and brings the groups to the photo's resolution."""

    def __init__(self, config: SegmentationConfig) -> None:
        """Keep the settings; a segmenter has no state of its own."""
        self._config = config

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None, *,
                state: SegmenterState | None = None) -> Segments:
        """
        Segment one frame.

        Parameters
        ----------
        frame
            The photo, and its depth where the geometry cue has a weight.
        features
            (C, h, w) float32 of the frame's photo.
        prior
            (K, h, w) float32: what the frame before makes expect, the share of each of K tracks
            in each token; tokens that expect different tracks are less alike. None is no
            expectation, a token of only zeros too. Method diffseg does not use it.
        attention
            Maps of `Backbone.features_and_attention`, where `config.needs_attention`.
        state
            That of the frame before, which is brought up to date; None for a photo by itself.
            It saves time, and the segments of method kway depend on it.

        Raises
        ------
        DiffsegError
            The features or the attention hold NaN or infinity, attention is needed but not
            there, or no cue has a weight.

        """
        if self._config.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        if self._config.method == 'regions':
            return _compact(*region_segments(frame, features.cpu().numpy(), self._config, prior))
        if self._config.method == 'diffseg':
            scores, centres = attention_segments(features, attention, self._config)
        else:
            scores, centres = self._cut(frame, features, prior, attention,
                                        state or SegmenterState())
        labels, margin = to_pixels(frame.rgb, scores, self._config)
        return _compact(labels, margin, centres.cpu().numpy())

    def _cut(self, frame: Frame, features: torch.Tensor, prior: npt.NDArray[np.float32] | None,
             attention: Sequence[torch.Tensor] | None,
             state: SegmenterState) -> tuple[TokenScores, torch.Tensor]:
        features = features.detach()
        divergence = (attention_divergence(attention, *features.shape[1:])
                      if self._config.attention else None)
        affinity = token_affinity(frame, features, self._config, prior, divergence)
        tau, limit = self._config.tau / self._config.coarseness, self._config.max_segments
        cued = _has_cues(self._config, frame)
        if self._config.method == 'kway' or self._config.method == 'ncut' and cued:
            parts = kway_cut(affinity, tau, limit, state.kway)
        else:
            parts = normalized_cut(affinity.cpu().numpy(), tau, limit, state=state.recursive)
        cut = torch.from_numpy(parts).long().to(features.device)
        count = int(parts.max()) + 1
        means = segment_means(features, cut, count)
        scores = assignment_scores(features, means)
        if cued or prior is not None and self._config.prior:
            scores += _TOKEN_VOTE * membership_matrix(cut, count, scores.dtype).view_as(scores)
        return TokenScores(scores, _TEMPERATURE), means


def _has_cues(config: SegmentationConfig, frame: Frame) -> bool:
    """Return whether anything but the features shapes the affinity of the frame."""
    return bool(config.colour or config.position or config.attention
                or config.uses_depth and frame.depth is not None)


def _compact(labels: npt.NDArray[np.int32], margin: npt.NDArray[np.float32],
             embeddings: npt.NDArray[np.float32]) -> Segments:
    """Leave out segments that won no pixel."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(embeddings)))
    renumber = np.zeros(len(embeddings), np.int32)
    renumber[present] = np.arange(len(present), dtype=np.int32)
    return Segments(renumber[labels], np.rint(margin * 255).astype(np.uint8), embeddings[present])
