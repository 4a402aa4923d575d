"""The ways of tracking that are compared with each other, each as a pipeline."""

from __future__ import annotations

import time
from typing import Protocol

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.config import PipelineConfig, updated
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.overlap_tracker import OverlapTracker
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame, Result

_PROPAGATION_ALONE = {'tracking.keyframe_interval': 10_000, 'tracking.keyframe_change': 1.0}


class Tracking(Protocol):
    """What gives a frame's pixels persistent ids."""

    def process(self, frame: Frame) -> Result:
        """Return the labels of the next frame."""

    def reset(self) -> None:
        """Forget all tracks."""


class OverlapPipeline:
    """Segments every frame by itself and joins the segments by OverlapTracker."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Take the segments of `pipeline`; its tracks are not used."""
        self._pipeline = pipeline
        self._tracker = OverlapTracker()
        self._epoch = 0

    def process(self, frame: Frame) -> Result:
        """Return the labels of the next frame."""
        start = time.perf_counter()
        segments = self._pipeline.segment(frame)
        middle = time.perf_counter()
        labels = self._tracker.update(segments.labels)
        end = time.perf_counter()
        latency = {'features and segmentation': (middle - start) * 1e3,
                   'tracking': (end - middle) * 1e3, 'total': (end - start) * 1e3}
        return Result(frame, labels, segments.confidence, self._epoch, latency)

    def reset(self) -> None:
        """Forget the last frame."""
        self._tracker.reset()
        self._epoch += 1


def create_tracking(name: str, config: PipelineConfig, backbone: Backbone) -> Tracking:
    """
    Return a fresh pipeline that tracks in the way called `name`.

    'full' is the pipeline as it is configured; 'propagation' segments the first frame and
    carries its labels from then on; 'overlap' is the yardstick.

    Raises
    ------
    DiffsegError
        There is no such way of tracking.

    """
    if name == 'overlap':
        return OverlapPipeline(Pipeline(config, backbone=backbone))
    if name == 'propagation':
        config = updated(config, _PROPAGATION_ALONE)
    elif name != 'full':
        raise DiffsegError(f'tracker {name!r}: unknown; choose full, propagation or overlap')
    return Pipeline(config, backbone=backbone)
