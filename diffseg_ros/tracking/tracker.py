"""Persistent ids: each frame's segments are joined to the tracks they continue."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.config import TrackingConfig
from diffseg_ros.segmentation.segmenter import Segments
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

_EMBEDDING_MOMENTUM = 0.8
_MASK_WIDTH, _MASK_HEIGHT = 128, 96


@dataclass
class _Track:
    identity: int
    embedding: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    misses: int = 0


class Tracker:
    """
    Joins segments to tracks by overlap with their last masks and by feature similarity.

    A track keeps the mask it was last seen with for `max_misses` frames. Segments and tracks are
    paired one to one so that the summed score is largest; pairs below `min_score` stay apart.
    Ids rise and are never reused, across resets too.
    """

    def __init__(self, config: TrackingConfig, first_id: int = 1) -> None:
        """Start without tracks, in epoch 0; ids rise from `first_id`."""
        self._config = config
        self._tracks: list[_Track] = []
        self._first_id = self._next_id = first_id
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Number of resets so far."""
        return self._epoch

    @property
    def started(self) -> int:
        """How many tracks were ever started."""
        return self._next_id - self._first_id

    @property
    def next_id(self) -> int:
        """Id that the next track will get."""
        return self._next_id

    def configure(self, config: TrackingConfig) -> None:
        """Apply changed settings from the next frame on."""
        self._config = config

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._tracks = []
        self._epoch += 1

    def update(self, segments: Segments) -> npt.NDArray[np.int32]:
        """Return the (H, W) int32 labels of a frame with the tracks' ids for its segments."""
        masks = _small_masks(segments)
        identities = np.zeros(len(masks), np.int32)
        for track in self._tracks:
            track.misses += 1
        if self._tracks:
            self._join(segments.embeddings, masks, identities)
        for segment in np.flatnonzero(identities == 0):
            self._tracks.append(_Track(self._next_id, segments.embeddings[segment],
                                       masks[segment]))
            identities[segment] = self._next_id
            self._next_id += 1
        self._tracks = [track for track in self._tracks
                        if track.misses <= self._config.max_misses]
        return identities[segments.labels]

    def _join(self, embeddings: npt.NDArray[np.float32], masks: npt.NDArray[np.float32],
              identities: npt.NDArray[np.int32]) -> None:
        """Write the ids of the tracks that continue into `identities` and update them."""
        score = self._scores(embeddings, masks)
        rows, columns = linear_sum_assignment(score, maximize=True)
        for row, column in zip(rows, columns, strict=True):
            if score[row, column] < self._config.min_score:
                continue
            track = self._tracks[row]
            identities[column] = track.identity
            mixed = (_EMBEDDING_MOMENTUM * track.embedding
                     + (1 - _EMBEDDING_MOMENTUM) * embeddings[column])
            track.embedding = mixed / max(float(np.linalg.norm(mixed)), 1e-12)
            track.mask = masks[column]
            track.misses = 0

    def _scores(self, embeddings: npt.NDArray[np.float32],
                masks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (tracks, segments) scores in [0, 1]; without overlap the score is 0."""
        last = np.stack([track.mask for track in self._tracks])
        shared = last @ masks.T
        union = last.sum(axis=1, keepdims=True) + masks.sum(axis=1) - shared
        overlap = shared / np.maximum(union, 1)
        known = np.stack([track.embedding for track in self._tracks])
        likeness = np.clip(known @ embeddings.T, 0, 1)
        weight = self._config.overlap_weight
        return (weight * overlap + (1 - weight) * likeness) * (shared > 0)


def _small_masks(segments: Segments) -> npt.NDArray[np.float32]:
    """Return (K, n) float32 zero-one masks on a fixed grid, whatever the image's size."""
    small = cv2.resize(segments.labels, (_MASK_WIDTH, _MASK_HEIGHT),
                       interpolation=cv2.INTER_NEAREST).ravel()
    numbers = np.arange(len(segments.embeddings))
    return (small == numbers[:, None]).astype(np.float32)
