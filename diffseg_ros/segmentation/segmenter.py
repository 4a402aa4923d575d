"""One frame's segments: token affinity, normalised cut, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffseg_ros.config import SegmentationConfig
from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.attention_segments import (
    attention_divergence,
    attention_segments,
)
from diffseg_ros.segmentation.cues import token_affinity
from diffseg_ros.segmentation.kway_cut import kway_cut
from diffseg_ros.segmentation.normalized_cut import normalized_cut
from diffseg_ros.segmentation.pixels import refinement_grid, to_pixels
from diffseg_ros.segmentation.refinement import assignment_scores, segment_means
from diffseg_ros.segmentation.region_segments import region_segments
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_TEMPERATURE = 0.1
# Other cues than the features shaped the cut, so it has a say beside the features' likeness.
_TOKEN_VOTE = 0.3


@dataclass(frozen=True)
class Segments:
    """
    The segments of one frame.

    Attributes
    ----------
    labels
        (H, W) int32 from 0 to K - 1, every pixel labelled and every number present.
    confidence
        (H, W) uint8: probability of the best segment minus that of the second, times 255.
    embeddings
        (K, C) float32 mean feature of each segment, of length 1.

    """

    labels: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.uint8]
    embeddings: npt.NDArray[np.float32]


class Segmenter:
    """Groups a frame's feature grid and brings the groups to the photo's resolution."""

    def __init__(self, config: SegmentationConfig) -> None:
        """Keep the settings; a segmenter has no other state."""
        self._config = config

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
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
            probability, centres = attention_segments(frame.rgb, features, attention, self._config)
        else:
            probability, centres = self._cut(frame, features, prior, attention)
        labels, margin = to_pixels(frame.rgb, probability, self._config)
        return _compact(labels, margin, centres.cpu().numpy())

    def _cut(self, frame: Frame, features: torch.Tensor,
             prior: npt.NDArray[np.float32] | None,
             attention: Sequence[torch.Tensor] | None) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = features.detach().cpu().numpy()
        divergence = (attention_divergence(attention, *tokens.shape[1:])
                      if self._config.attention else None)
        affinity = token_affinity(frame, tokens, self._config, prior, divergence)
        cut_into_parts = kway_cut if _by_groups(self._config) else normalized_cut
        parts = cut_into_parts(affinity, self._config.tau / self._config.coarseness,
                               self._config.max_segments)
        cut = torch.from_numpy(parts).long().to(features.device)
        means = segment_means(features, cut)
        scores = assignment_scores(features, means)
        scores += _TOKEN_VOTE * functional.one_hot(cut).T.reshape(scores.shape)
        shape = frame.rgb.shape[0], frame.rgb.shape[1]
        scores = refinement_grid(scores, shape, self._config)
        return torch.softmax(scores / _TEMPERATURE, dim=0), means


def _by_groups(config: SegmentationConfig) -> bool:
    """Return whether groups are cut in place of tokens: with few segments that saves no time."""
    many = config.colour or config.position or config.geometry or config.attention
    return config.method == 'kway' or config.method == 'ncut' and bool(many)


def _compact(labels: npt.NDArray[np.int32], margin: npt.NDArray[np.float32],
             embeddings: npt.NDArray[np.float32]) -> Segments:
    """Leave out segments that won no pixel."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(embeddings)))
    renumber = np.zeros(len(embeddings), np.int32)
    renumber[present] = np.arange(len(present), dtype=np.int32)
    return Segments(renumber[labels], np.rint(margin * 255).astype(np.uint8), embeddings[present])
