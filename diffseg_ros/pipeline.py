"""
The order of the stages: a frame goes in, labelled pixels with persistent ids come out.

Tracks are carried into every frame. Only where too much of it is new, or the last segments are
too old, do features and segments follow, which correct the tracks.
"""

from __future__ import annotations

import time

from diffseg_ros.backbones.base import Backbone, observe
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import PipelineConfig
from diffseg_ros.segmentation.segmenter import Segmenter, SegmenterState
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import Frame, Result, Segments
import torch


class Pipeline:
    """Diffusion features, segments, tracks; one instance sees one camera's frames in order."""

    def __init__(self, config: PipelineConfig | None = None, *,
                 backbone: Backbone | None = None, first_id: int = 1) -> None:
        """
        Load the backbone that `config` names, unless one is given.

        Ids rise from `first_id`; a process that loads one pipeline after another gives the
        `next_id` of the last, so that no id is used twice.

        Raises
        ------
        DiffsegError
            The model cannot be loaded.

        """
        self._config = config or PipelineConfig()
        self._backbone = backbone or load_backbone(
            self._config.backbone, attention=self._config.segmentation.needs_attention)
        self._segmenter = Segmenter(self._config.segmentation)
        self._segmenter_state = SegmenterState()
        self._tracker = Tracker(self._config.tracking, first_id)

    @property
    def backbone(self) -> Backbone:
        """The model that looks at the frames; its `name` and `device` go into reports."""
        return self._backbone

    @property
    def track_count(self) -> int:
        """How many tracks were ever started."""
        return self._tracker.started

    @property
    def next_id(self) -> int:
        """Id that the next track will get."""
        return self._tracker.next_id

    def configure(self, config: PipelineConfig) -> None:
        """Apply changed settings from the next frame on; the backbone stays as loaded."""
        self._config = config
        self._segmenter = Segmenter(config.segmentation)
        self._tracker.configure(config.tracking)

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._segmenter_state = SegmenterState()
        self._tracker.reset()

    def segment(self, frame: Frame) -> Segments:
        """Segment one frame by itself; tracks are neither used nor changed."""
        features, attention = self._observe(frame)
        with one_blas_thread():
            return self._segmenter.segment(frame, features, attention=attention)

    def _observe(self, frame: Frame) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
        return observe(self._backbone, frame.rgb,
                       attention=self._config.segmentation.needs_attention)

    def process(self, frame: Frame) -> Result:
        """
        Carry the tracks into a frame, and correct them by segments where it is worth it.

        Raises
        ------
        DiffsegError
            The frame cannot be segmented. The tracks are as they were expected in it.

        """
        watch = _StopWatch()
        with one_blas_thread():
            keyframe = self._tracker.expect(frame)
            watch.lap('tracking')
        segments = self._segment_expected(frame, watch) if keyframe else None
        with one_blas_thread():
            if segments is None:
                labels, confidence = self._tracker.hold()
            else:
                labels, confidence = self._tracker.update(segments)
            watch.lap('tracking')
        return Result(frame, labels, confidence, self._tracker.epoch, watch.finish(), keyframe,
                      self._tracker.tracks)

    def _segment_expected(self, frame: Frame, watch: _StopWatch) -> Segments:
        """Segment a frame that tracks are expected in."""
        features, attention = self._observe(frame)
        watch.lap('features')
        with one_blas_thread():
            self._tracker.match(features)
            prior = self._tracker.prior(*features.shape[1:])
            watch.lap('tracking')
            segments = self._segmenter.segment(frame, features, prior, attention,
                                               state=self._segmenter_state)
            watch.lap('segmentation')
        return segments


_STAGES = 'features', 'segmentation', 'tracking'


class _StopWatch:
    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = self._laps.get(stage, 0.0) + (now - self._mark) * 1e3
        self._mark = now

    def finish(self) -> dict[str, float]:
        stages = {stage: self._laps[stage] for stage in _STAGES if stage in self._laps}
        return {**stages, 'total': (self._mark - self._start) * 1e3}
