"""Persistent ids: labels are carried from frame to frame, keyframes' segments correct them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
from diffseg_ros.config import TrackingConfig
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.tracking.association import count_overlap
from diffseg_ros.tracking.correspondence import Correspondence
from diffseg_ros.tracking.label_map import LabelMap, resize_nearest, SlotImage, subsample
from diffseg_ros.tracking.memory_file import Memory
from diffseg_ros.tracking.propagation import Propagator
from diffseg_ros.tracking.saved_places import PlaceState
from diffseg_ros.tracking.split_merge import TrackMerger
from diffseg_ros.tracking.target import TargetFollower
from diffseg_ros.tracking.track_manager import slots_of, Table, TrackManager
from diffseg_ros.tracking.track_motion import TrackMotion
from diffseg_ros.tracking.track_updater import SegmentMap, TrackUpdater
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.types import Frame, LabelImage, Segments, Target, Track
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
    ids
        The (CAPACITY,) ids of the slots, -1 where one is free.
    features
        (C, h, w) of the frame, once they are known.

    """

    keyframe: bool
    labels: LabelMap
    pixels: npt.NDArray[np.int64]
    novelty: float
    size: tuple[int, ...]
    ids: Table
    features: torch.Tensor | None = None

    @property
    def has_tracks(self) -> bool:
        return bool(self.pixels.any())


class _Given(NamedTuple):
    """Segments as they lie in the present frame, and the keyframe that they are of."""

    keyframe: Prediction
    segments: SegmentMap


@dataclass
class _Awaited:
    """A keyframe whose segments are not there yet, and where pixels were in it."""

    prediction: Prediction
    source: Source


class Tracker:
    """
    Follows everything in view through one camera's frames.

    For every frame call `predict`, then `update`, with segments if the prediction is a keyframe.
    Between the two, `prior` tells the segmentation what to expect. A frame that cannot be
    segmented needs no `update`: the next one is predicted from its prediction.

    Where segmentation takes longer than a frame, `wait_for` the keyframe's segments and give them
    to a later frame's `update`: they are carried to it. Until then no frame is a keyframe, and
    `prior` may be called from another thread. `epoch` counts the resets; after `predict`, `source`
    says where the frame's pixels were in the frame before, None if nothing is known of that.
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
        self._follower = TargetFollower(self._tracks)
        self._labels: LabelMap | None = None
        self.source: Source | None = None
        self._awaited: _Awaited | None = None
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
        return self._tracks.summaries(placed=self._propagator.in_fixed_frame)

    def configure(self, config: TrackingConfig) -> None:
        """Apply changed settings from the next frame on."""
        self._config = config
        for part in (self._propagator, self._merger, self._updater):
            part.config = config

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._start(self.next_id)
        self.epoch += 1

    def memory(self, features: str) -> Memory:
        """Return what lasts: the tracks and their places; `features` says what they look by."""
        return Memory.of(self._tracks, features, *self._propagator.places(self._tracks))

    def load(self, memory: Memory) -> None:
        """
        Begin a new epoch with the tracks of a memory, all lost.

        They are found again by their places, once these are seen to be here, else by how they look
        alone. Ids go on rising above those of the memory.
        """
        started = self.started
        self.reset()
        self._propagator.saved = memory.restore(self._tracks)
        self._first_id = self.next_id - started

    @property
    def found_again(self) -> int:
        """How many loaded tracks were seen since."""
        return self._tracks.found_again

    @property
    def saved_places(self) -> PlaceState:
        """What is known of the places that were loaded."""
        return self._propagator.saved.state

    def follow(self, track_id: int, labels: LabelImage) -> Target | None:
        """
        Make an id of this epoch part of the target; return None where its tracks are gone.

        Else returns the target in the last frame, which has these (H, W) int32 ids.
        """
        if not self._tracks.follow(self._tracks.present_id(track_id)):
            return None
        return self.target(labels)

    def unfollow(self) -> None:
        """Follow nothing."""
        self._tracks.unfollow()

    def target(self, labels: LabelImage) -> Target | None:
        """Return where the target is in the last frame, which has these (H, W) int32 ids."""
        return self._follower.target(labels, *self._propagator.view)

    def predict(self, frame: Frame) -> Prediction:
        """Carry the labels into a frame."""
        config, size = self._config, frame.rgb.shape[:2]
        small = TrackingFrame.from_frame(frame, config.width, depth=config.depth,
                                         pose=config.pose)
        labels = self._labels if len(self._tracks) else None
        moved = self._propagator.propagate(small, labels, self._tracks)
        self._labels, self.source = moved.labels, moved.source
        self._tracks.advance(moved.shift)
        ids = self._tracks.ids()
        if labels is None:
            pixels = moved.labels.pixel_counts() * moved.labels.known.any()
            return Prediction(True, moved.labels, pixels, 1.0, size, ids)
        if self._awaited is not None:
            self._follow(self._awaited, moved.source)
        self._shift_since_keyframe += moved.shift
        self._merger.observe(moved.object_motion, moved.labels)
        seen = None if self._propagator.is_posed else self._merger.moving
        self._motion.update(moved.labels, frame.stamp, moved.moved_points, seen, config.min_share)
        waited = (self._tracks.frame - self._last_keyframe) / config.keyframe_interval
        keyframe = self._awaited is None and (
            waited >= 1 or moved.labels.unknown_share > config.keyframe_change)
        # Two frames of a still camera show the same and err alike, so they count little.
        novelty = self._shift_since_keyframe / _NOVEL_SHIFT + waited * _NOVEL_WAIT
        return Prediction(keyframe, moved.labels, moved.labels.pixel_counts(), min(1.0, novelty),
                          size, ids)

    def wait_for(self, prediction: Prediction) -> Prediction:
        """Return what `prior` needs of a keyframe whose segments will be given later."""
        labels = prediction.labels
        kept = replace(prediction, labels=LabelMap(labels.slots.copy(), labels.confidence.copy(),
                                                   labels.split_candidates))
        here = np.arange(labels.slots.size, dtype=np.intp).reshape(labels.shape)
        self._awaited = _Awaited(kept, Source(here, np.ones(labels.shape, bool)))
        self._last_keyframe, self._shift_since_keyframe = self._tracks.frame, 0.0
        return kept

    @property
    def waits(self) -> bool:
        """Whether the segments of an earlier keyframe are waited for."""
        return self._awaited is not None

    def give_up(self) -> None:
        """Wait no longer for segments."""
        self._awaited = None

    def _follow(self, awaited: _Awaited, source: Source | None) -> None:
        if source is None or source.index.shape != awaited.source.index.shape:
            self._awaited = None  # the images have another size now
        else:
            awaited.source = source.after(awaited.source)

    def prior(self, prediction: Prediction,
              features: torch.Tensor) -> npt.NDArray[np.float32] | None:
        """
        Return the (K, h, w) float32 share of each predicted track in each token.

        None where there are no tracks. Where motion says nothing the predicted labels are first
        completed by matching the (C, h, w) float32 features with those of earlier keyframes.
        """
        prediction.features = features
        if not prediction.has_tracks:
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
        slots = slots_of(found.ids, prediction.ids, prediction.pixels)
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
        Correct the predicted labels by segments, or keep them where there are none.

        The segments are those of the keyframe that is waited for, else of this frame. Returns
        (H, W) int32 persistent ids and (H, W) uint8 confidence, at the image's size.
        """
        labels = prediction.labels
        given = None if segments is None else self._in_present(prediction, segments)
        if given is not None:
            self._updater.update(labels, given.segments, given.keyframe.novelty,
                                 self._propagator.world_points())
        self._settle(prediction, corrected=given is not None)
        ids = self._tracks.ids()
        self._propagator.remember(labels, ids)
        if given is not None:
            self._tracks.count_misses()
            self._follower.search(self._config.min_share * labels.slots.size,
                                  self._config.reidentify_similarity)
            slots = labels.slots
            if given.keyframe is not prediction:
                slots = _slots_then(labels, given.segments)
            self._remember(given.keyframe.features, slots, ids)
        # Pixels carried one by one scatter along borders; a median of slots invents none.
        smooth = ids.take(cv2.medianBlur(labels.slots, _SMOOTH_OUTPUT))
        confidence = (labels.confidence * 255).astype(np.uint8)
        return resize_nearest(smooth, prediction.size), resize_nearest(confidence, prediction.size)

    def _in_present(self, prediction: Prediction, segments: Segments) -> _Given:
        """Return segments as they lie in the present frame, and the keyframe that they are of."""
        shown = SegmentMap(segments, prediction.labels.shape)
        awaited, self._awaited = self._awaited, None
        if awaited is None:
            self._last_keyframe, self._shift_since_keyframe = self._tracks.frame, 0.0
            return _Given(prediction, shown)
        then, labels = awaited.prediction, prediction.labels
        # What was known again by its features is so still, where the track goes on.
        goes_on = (then.ids >= 0) & (then.ids == prediction.ids)
        pixels = np.flatnonzero(~labels.known & awaited.source.known)
        places = awaited.source.index.take(pixels)
        take = then.labels.known.take(places) & goes_on.take(then.labels.slots.take(places))
        pixels, places = pixels[take], places[take]
        labels.slots.ravel()[pixels] = then.labels.slots.take(places)
        labels.confidence.ravel()[pixels] = then.labels.confidence.take(places)
        return _Given(then, shown.carried(awaited.source))

    def _settle(self, prediction: Prediction, *, corrected: bool) -> None:
        """Note which tracks are in view, remove those that are gone, and their labels."""
        labels = prediction.labels
        labels.slots = cv2.medianBlur(labels.slots, _SMOOTH_LABELS)
        least = self._config.min_share * labels.slots.size
        self._tracks.observe(labels.pixel_counts(), prediction.pixels >= least)
        tracks = len(self._tracks)
        self._tracks.prune(self._config)
        if corrected or len(self._tracks) < tracks:
            labels.fill((self._tracks.ids() >= 0).take(labels.slots))

    def _remember(self, features: torch.Tensor | None, slots: SlotImage, ids: Table) -> None:
        """Keep a keyframe's features, and its ids, to match later ones with."""
        if features is None or not self._config.correspondence:
            return
        height, width = features.shape[1:]
        fine = Correspondence.FINE
        slots = resize_nearest(slots, (height * fine, width * fine))
        self._correspondence.remember(features, ids[slots])


def _slots_then(labels: LabelMap, shown: SegmentMap) -> SlotImage:
    """Return the slots that a keyframe's pixels have by now: those that its segments lie on."""
    overlap = count_overlap(subsample(labels.slots), None, shown.small, shown.count)
    slots = overlap.slots[overlap.table[:-1].argmax(axis=0)].astype(np.uint16)
    return slots.take(shown.original)
