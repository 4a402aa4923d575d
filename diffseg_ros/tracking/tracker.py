"""Persistent ids: labels are carried from frame to frame, keyframes' segments correct them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import count_overlap
from diffseg_ros.tracking.correspondence import Correspondence
from diffseg_ros.tracking.label_map import CAPACITY, LabelMap, resize_nearest, subsample
from diffseg_ros.tracking.propagation import Propagator
from diffseg_ros.tracking.split_merge import TrackMerger
from diffseg_ros.tracking.track_manager import TrackManager
from diffseg_ros.tracking.track_motion import TrackMotion
from diffseg_ros.tracking.track_updater import SegmentMap, TrackUpdater
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.types import Frame, LabelImage, Segments, Track
import numpy as np
import numpy.typing as npt
import torch

_SMOOTH_LABELS, _SMOOTH_OUTPUT = 3, 5
_NOVEL_SHIFT = 0.05
_NOVEL_WAIT = 0.5
_MATCH_FROM = 0.1
_MATCH_RADIUS = 0.25
_MATCH_CONFIDENCE = np.float32(0.4)
_MATCH_SHARE = 0.5


@dataclass
class Prediction:
    """
    What is expected of a frame, before its own segments correct it.

    Attributes
    ----------
    keyframe
        Whether the frame is worth segmenting.
    labels, pixels
        The labels carried into the frame, and the (CAPACITY,) pixels of each slot in them, all 0
        where there were no tracks.
    novelty
        0 to 1: how much segments of this frame add to those of the last keyframe.
    size
        (H, W) of the frame's image.
    features
        (C, h, w) of the frame, once they are known.

    """

    keyframe: bool
    labels: LabelMap
    pixels: npt.NDArray[np.int64]
    novelty: float
    size: tuple[int, ...]
    features: torch.Tensor | None = None


class Tracker:
    """
    Follows everything in view through one camera's frames.

    For every frame call `predict`, then `update`, with segments if the prediction is a keyframe.
    Between the two, `prior` tells the segmentation what to expect. A frame that cannot be
    segmented needs no `update`: the next one is predicted from its prediction. `epoch` counts the
    resets.
    """

    def __init__(self, config: TrackingConfig, first_id: int = 1) -> None:
        """Start without tracks, in epoch 0; ids rise from `first_id`."""
        self._config = config
        self._first_id = first_id
        self.epoch = 0
        self._start(first_id)

    def _start(self, next_id: int) -> None:
        self._tracks = TrackManager(next_id)
        self._propagator = Propagator(self._config)
        self._correspondence = Correspondence()
        self._merger = TrackMerger(self._config, self._tracks, self._propagator.voxels)
        self._updater = TrackUpdater(self._config, self._tracks, self._merger)
        self._motion = TrackMotion(self._tracks)
        self._labels: LabelMap | None = None
        self._last_keyframe = 0
        self._shift_since_keyframe = 0.0

    @property
    def started(self) -> int:
        """How many tracks were ever started."""
        return self.next_id - self._first_id

    @property
    def next_id(self) -> int:
        return self._tracks.next_id

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks that are alive, by id."""
        return self._tracks.summaries()

    def configure(self, config: TrackingConfig) -> None:
        """Apply changed settings from the next frame on."""
        self._config = config
        for part in (self._propagator, self._merger, self._updater):
            part.config = config

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._start(self.next_id)
        self.epoch += 1

    def predict(self, frame: Frame) -> Prediction:
        """Carry the labels into a frame."""
        config, size = self._config, frame.rgb.shape[:2]
        small = TrackingFrame.from_frame(frame, config.width, depth=config.depth,
                                         pose=config.pose)
        labels = self._labels if len(self._tracks) else None
        moved = self._propagator.propagate(small, labels, self._tracks)
        self._labels = moved.labels
        self._tracks.advance(moved.shift)
        if labels is None:
            return Prediction(True, moved.labels, np.zeros(CAPACITY, np.int64), 1.0, size)
        self._shift_since_keyframe += moved.shift
        self._merger.observe(moved.object_motion, moved.labels)
        seen = None if self._propagator.is_posed else self._merger.moving
        self._motion.update(moved.labels, frame.stamp, moved.moved_points, seen, config.min_share)
        waited = (self._tracks.frame - self._last_keyframe) / config.keyframe_interval
        keyframe = waited >= 1 or moved.labels.unknown_share > config.keyframe_change
        # Two frames of a still camera show the same and err alike, so they count little.
        novelty = self._shift_since_keyframe / _NOVEL_SHIFT + waited * _NOVEL_WAIT
        return Prediction(keyframe, moved.labels, moved.labels.pixel_counts(), min(1.0, novelty),
                          size)

    def prior(self, prediction: Prediction,
              features: torch.Tensor) -> npt.NDArray[np.float32] | None:
        """
        Return the (K, h, w) float32 share of each predicted track in each token.

        None where there are no tracks. Where motion says nothing the predicted labels are first
        completed by matching the (C, h, w) float32 features with those of earlier keyframes.
        """
        prediction.features = features
        if not prediction.pixels.any():
            return None
        labels = prediction.labels
        if self._config.correspondence and labels.unknown_share >= _MATCH_FROM:
            self._match(prediction, features)
        height, width = features.shape[1:]
        slots = subsample(labels.slots)
        rows, columns = (np.arange(size) * tokens // size
                         for size, tokens in zip(slots.shape, (height, width), strict=True))
        tokens = (rows[:, None] * width + columns).astype(np.uint16)
        overlap = count_overlap(slots, subsample(labels.known), tokens, height * width)
        shares = overlap.table[:-1] / np.maximum(overlap.table.sum(axis=0), 1)
        return shares.reshape(-1, height, width).astype(np.float32)

    def _match(self, prediction: Prediction, features: torch.Tensor) -> None:
        found = self._correspondence.match(features, _MATCH_RADIUS)
        if found is None:
            return
        labels = prediction.labels
        slots = self._tracks.slots_of(found.ids)
        # Tokens are too small to know again what is out of view; that is for whole segments.
        slots = np.where(prediction.pixels[slots] > 0, slots, -1).astype(np.int16)
        slots = resize_nearest(slots, labels.shape)
        share = resize_nearest(found.share, labels.shape)
        take = ~labels.known & (slots >= 0) & (share >= _MATCH_SHARE)
        labels.slots[take] = slots[take]
        labels.confidence[take] = share[take] * _MATCH_CONFIDENCE

    def update(self, prediction: Prediction, segments: Segments | None = None
               ) -> tuple[LabelImage, npt.NDArray[np.uint8]]:
        """
        Correct the predicted labels by a frame's segments, or keep them where there are none.

        Returns (H, W) int32 persistent ids and (H, W) uint8 confidence, at the image's size.
        """
        labels = prediction.labels
        if segments is not None:
            self._last_keyframe, self._shift_since_keyframe = self._tracks.frame, 0.0
            self._updater.update(labels, SegmentMap(segments, labels.shape), prediction.novelty,
                                 self._propagator.world_points())
        self._settle(prediction)
        ids = self._tracks.ids()
        self._propagator.remember(labels, ids)
        if segments is not None:
            self._tracks.count_misses()
            self._remember(prediction, ids)
        # Pixels carried one by one scatter along borders; a median of slots invents none.
        smooth = ids.take(cv2.medianBlur(labels.slots, _SMOOTH_OUTPUT))
        confidence = (labels.confidence * 255).astype(np.uint8)
        return resize_nearest(smooth, prediction.size), resize_nearest(confidence, prediction.size)

    def _settle(self, prediction: Prediction) -> None:
        """Note which tracks are in view, remove those that are gone, and their labels."""
        labels = prediction.labels
        labels.slots = cv2.medianBlur(labels.slots, _SMOOTH_LABELS)
        least = self._config.min_share * labels.slots.size
        self._tracks.observe(labels.pixel_counts(), prediction.pixels >= least)
        self._tracks.prune(self._config)
        labels.fill((self._tracks.ids() >= 0).take(labels.slots))

    def _remember(self, prediction: Prediction, ids: npt.NDArray[np.int32]) -> None:
        if prediction.features is None or not self._config.correspondence:
            return
        height, width = prediction.features.shape[1:]
        fine = Correspondence.FINE
        slots = resize_nearest(prediction.labels.slots, (height * fine, width * fine))
        self._correspondence.remember(prediction.features, ids[slots])
