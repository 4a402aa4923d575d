"""Persistent ids: labels are carried from frame to frame, fresh segments correct them."""

from __future__ import annotations

import cv2
from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.association import tabulate
from diffseg_ros.tracking.correspondence import Correspondence
from diffseg_ros.tracking.fusion import KNOWN_STRENGTH, nearest, SegmentMap
from diffseg_ros.tracking.label_map import empty_field, LabelField
from diffseg_ros.tracking.propagation import Propagator
from diffseg_ros.tracking.track import CAPACITY
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.tracking.track_updater import Corrector
from diffseg_ros.tracking.tracking_frame import View, view_of
from diffseg_ros.types import Frame, Segments, Track
import numpy as np
import numpy.typing as npt
import torch

_SMOOTH_FIELD, _SMOOTH_OUTPUT = 3, 5

Labelled = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]

_NOVEL_SHIFT = 0.05
_NOVEL_WAIT = 0.5
_MATCH_FROM = 0.1
_MATCH_RADIUS = 0.25
_MATCH_STRENGTH = np.float32(0.4)
_MATCH_SHARE = 0.5


class Tracker:
    """
    Follows everything in view through one camera's frames.

    For every frame call `expect`. If it asks for segments, call `match` with the frame's
    features (optional), `prior` for what the segmentation may be told to expect, and `update`
    with the segments; otherwise `hold`.
    """

    def __init__(self, config: TrackingConfig, first_id: int = 1) -> None:
        """Start without tracks, in epoch 0; ids rise from `first_id`."""
        self._config = config
        self._book = TrackBook(first_id)
        self._propagator = Propagator(config)
        self._correspondence = Correspondence()
        self._corrector = Corrector(config, self._book, self._propagator.memory)
        self._field: LabelField | None = None
        self._begins = True
        self._features: torch.Tensor | None = None
        self._view = View((2, 2), np.zeros((2, 2), np.uint8))
        self._shape = (2, 2)
        self._expected: npt.NDArray[np.int64] = np.zeros(CAPACITY, np.int64)
        self._frame = self._keyframe = self._epoch = 0
        self._change = 0.0

    @property
    def epoch(self) -> int:
        """Number of resets so far."""
        return self._epoch

    @property
    def started(self) -> int:
        """How many tracks were ever started."""
        return self._book.next_id - self._book.first_id

    @property
    def next_id(self) -> int:
        """Id that the next track will get."""
        return self._book.next_id

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks that are alive, by id."""
        return self._book.summaries(self._frame)

    def configure(self, config: TrackingConfig) -> None:
        """Apply changed settings from the next frame on."""
        self._config = self._propagator.config = config
        self._corrector.configure(config)

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._book.clear()
        for part in (self._propagator, self._correspondence, self._corrector):
            part.clear()
        self._field = None
        self._epoch += 1

    def expect(self, frame: Frame) -> bool:
        """Carry the labels into a frame; return whether it is worth segmenting."""
        config = self._config
        view = view_of(frame, config.width, depth=config.depth, pose=config.pose)
        self._shape = frame.rgb.shape[0], frame.rgb.shape[1]
        self._view, self._features = view, None
        self._frame += 1
        self._begins = self._field is None or not len(self._book)
        if self._begins or self._field is None:
            self._propagator.begin(view)
            self._field = empty_field(view.shape)
            self._expected = np.zeros(CAPACITY, np.int64)
            return True
        self._field, shift = self._propagator.propagate(view, self._field, self._book)
        self._corrector.unifier.observe(self._propagator.own_motion, self._field)
        self._expected = self._field.count(CAPACITY)
        self._change += shift
        self._book.travel(shift)
        return (self._frame - self._keyframe >= config.keyframe_interval
                or self._unknown() > config.keyframe_change)

    def match(self, features: torch.Tensor) -> None:
        """Look for the tracks by (C, h, w) float32 features where motion says nothing."""
        self._features = features
        if self._begins or not self._config.correspondence or self._unknown() < _MATCH_FROM:
            return
        found = self._correspondence.match(features, _MATCH_RADIUS)
        if found is None:
            return
        assert self._field is not None
        shape = self._view.shape
        slots = self._book.slots_of(found.ids)
        # Tokens are too small to know again what is out of view; that is for whole segments.
        slots = nearest(np.where(self._expected[slots] > 0, slots, -1).astype(np.int16), shape)
        share = nearest(found.share, shape)
        take = (self._field.strength < KNOWN_STRENGTH) & (slots >= 0) & (share >= _MATCH_SHARE)
        self._field.slots[take] = slots[take]
        self._field.strength[take] = share[take] * _MATCH_STRENGTH

    def prior(self, height: int, width: int) -> npt.NDArray[np.float32] | None:
        """
        Return what segmentation may expect, None on a first frame.

        It is the (K, height, width) float32 share of each of the K expected tracks in each
        token.
        """
        if self._begins or self._field is None:
            return None
        slots, strength = self._field.thinned()
        rows = np.arange(slots.shape[0]) * height // slots.shape[0]
        columns = np.arange(slots.shape[1]) * width // slots.shape[1]
        tokens = (rows[:, None] * width + columns).astype(np.uint16)
        cells = tabulate(slots, strength >= KNOWN_STRENGTH, tokens, height * width)
        shares = cells.table[:-1] / np.maximum(cells.table.sum(axis=0), 1)
        return shares.reshape(-1, height, width).astype(np.float32)

    def hold(self) -> Labelled:
        """Return the expected labels and their confidence as they are."""
        return self._finish()

    def update(self, segments: Segments) -> Labelled:
        """
        Correct the expected labels by fresh segments.

        Returns
        -------
        tuple
            (H, W) int32 persistent ids and (H, W) uint8 confidence, at the size of the frame.

        """
        assert self._field is not None
        weight = self._news()
        self._keyframe, self._change = self._frame, 0.0
        fresh = SegmentMap(segments, self._view.shape)
        places = self._propagator.places()
        self._corrector.correct(self._field, fresh, weight, places, self._frame)
        labelled = self._finish()
        self._book.age()
        if self._features is not None and self._config.correspondence:
            self._remember(self._features)
        return labelled

    def _unknown(self) -> float:
        """Return the share of the image whose track is no more than a guess."""
        assert self._field is not None
        known = np.count_nonzero(self._field.strength >= KNOWN_STRENGTH)
        return 1 - known / self._field.strength.size

    def _news(self) -> float:
        """
        Return how much the segments of this frame add to those of the last that was segmented.

        Two frames of a still camera show the same and err alike, so they count little.
        """
        if self._begins:
            return 1.0
        waited = (self._frame - self._keyframe) / self._config.keyframe_interval
        return min(1.0, self._change / _NOVEL_SHIFT + waited * _NOVEL_WAIT)

    def _finish(self) -> Labelled:
        """Note who is in view, let places remember, and return the labels at the frame's size."""
        assert self._field is not None
        self._field.slots = cv2.medianBlur(self._field.slots, _SMOOTH_FIELD)
        least = self._config.min_share * self._field.slots.size
        self._book.count_pixels(self._field.count(CAPACITY), self._expected >= least, self._frame)
        self._book.let_go(self._config)
        identities = self._book.identities()
        alive = (identities >= 0).take(self._field.slots)
        if not alive.all():
            self._field.fill(alive)
        self._propagator.remember(self._field, identities)
        # Pixels carried one by one scatter along borders; a median of slots invents none.
        labels = identities.take(cv2.medianBlur(self._field.slots, _SMOOTH_OUTPUT))
        confidence = (self._field.strength * 255).astype(np.uint8)
        return nearest(labels, self._shape), nearest(confidence, self._shape)

    def _remember(self, features: torch.Tensor) -> None:
        """Keep a segmented frame for correspondence."""
        assert self._field is not None
        height, width = features.shape[1:]
        fine = self._correspondence.FINE
        small = nearest(self._field.slots, (height * fine, width * fine))
        self._correspondence.remember(features, self._book.identities()[small])
