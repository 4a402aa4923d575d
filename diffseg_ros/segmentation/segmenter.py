"""One frame's segments: token affinity, normalised cut, pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.cues import token_affinity
from diffseg_ros.segmentation.normalized_cut import normalized_cut
from diffseg_ros.segmentation.refinement import assignment_scores, pamr, segment_means
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

    def segment(self, frame: Frame, features: torch.Tensor) -> Segments:
        """
        Segment one frame.

        Parameters
        ----------
        frame
            The photo, and its depth where the geometry cue has a weight.
        features
            (C, h, w) float32 of the frame's photo.

        Raises
        ------
        DiffsegError
            The features hold NaN or infinity, or no cue has a weight.

        """
        if self._config.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        tokens = features.detach().cpu().numpy()
        affinity = token_affinity(frame, tokens, self._config)
        cut = torch.from_numpy(normalized_cut(
            affinity, self._config.tau, self._config.max_segments)).long().to(features.device)
        means = segment_means(features, cut)
        probability = self._refine(frame.rgb, features, cut, means)
        height, width = frame.rgb.shape[:2]
        labels, confidence = _to_pixels(probability.cpu().numpy(), (height, width))
        return _compact(labels, confidence, means.cpu().numpy())

    def _refine(self, rgb: npt.NDArray[np.uint8], features: torch.Tensor, cut: torch.Tensor,
                means: torch.Tensor) -> torch.Tensor:
        """Return (K, h', w') probabilities on the refinement grid, on the features' device."""
        scores = assignment_scores(features, means)
        scores += _TOKEN_VOTE * functional.one_hot(cut).T.reshape(scores.shape)
        height, width = rgb.shape[:2]
        grid_w = min(self._config.refinement_width, width)
        grid_h = max(1, round(height * grid_w / width))
        scores = functional.interpolate(scores[None], (grid_h, grid_w), mode='bilinear',
                                        align_corners=False)[0]
        probability = torch.softmax(scores / _TEMPERATURE, dim=0)
        small = cv2.resize(rgb, (grid_w, grid_h), interpolation=cv2.INTER_AREA)
        image = torch.from_numpy(small).to(features.device).permute(2, 0, 1).float() / 255
        return pamr(image, probability, self._config.refinement_iterations,
                    self._config.refinement_dilations)


def _to_pixels(probability: npt.NDArray[np.float32],
               shape: tuple[int, int]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """
    Return the best segment of every pixel, median-filtered, and its margin to the second.

    One map after the other stays in the cache; that is ten times faster on a CPU than
    upsampling all (K, H, W) and sorting.
    """
    best, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    for segment, small in enumerate(probability):
        current = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.maximum(second, np.minimum(current, best), out=second)
        labels[current > best] = segment
        np.maximum(best, current, out=best)
    margin = np.rint((best - second).clip(0, 1) * 255).astype(np.uint8)
    return cv2.medianBlur(labels, 3).astype(np.int32), margin


def _compact(labels: npt.NDArray[np.int32], confidence: npt.NDArray[np.uint8],
             embeddings: npt.NDArray[np.float32]) -> Segments:
    """Leave out segments that won no pixel."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(embeddings)))
    renumber = np.zeros(len(embeddings), np.int32)
    renumber[present] = np.arange(len(present))
    return Segments(renumber[labels], confidence, embeddings[present])
