"""The order of the stages: a frame goes in, labelled pixels with persistent ids come out."""

from __future__ import annotations

from dataclasses import dataclass, field
import time

from diffseg_ros.config import PipelineConfig
from diffseg_ros.diffusion.backbone import Backbone
from diffseg_ros.diffusion.loader import load_backbone
from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.segmenter import Segmenter, Segments
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.tracking.tracker import Tracker
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Result:
    """
    What the pipeline found in one frame.

    Attributes
    ----------
    labels
        (H, W) int32 persistent segment ids, UNLABELLED (-1) where there is none.
    confidence
        (H, W) uint8: how much the best segment beats the second, 0 to 255.
    epoch
        Rises by one with every reset; ids are never reused within a process.
    latency_ms
        Milliseconds of each stage, in order, and 'total'.

    """

    frame: Frame
    labels: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.uint8]
    epoch: int
    latency_ms: dict[str, float] = field(default_factory=dict)


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
        self._backbone = backbone or load_backbone(self._config.backbone)
        self._segmenter = Segmenter(self._config.segmentation)
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
        self._tracker.reset()

    def segment(self, frame: Frame) -> Segments:
        """Segment one frame by itself; tracks are neither used nor changed."""
        features = self._backbone.features(frame.rgb)
        with one_blas_thread():
            return self._segmenter.segment(frame, features)

    def process(self, frame: Frame) -> Result:
        """Segment one frame and join its segments to the tracks."""
        watch = _StopWatch()
        features = self._backbone.features(frame.rgb)
        watch.lap('features')
        with one_blas_thread():
            segments = self._segmenter.segment(frame, features)
            watch.lap('segmentation')
            labels = self._tracker.update(segments)
            watch.lap('tracking')
        return Result(frame, labels, segments.confidence, self._tracker.epoch, watch.finish())


class _StopWatch:
    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = (now - self._mark) * 1e3
        self._mark = now

    def finish(self) -> dict[str, float]:
        return {**self._laps, 'total': (self._mark - self._start) * 1e3}
