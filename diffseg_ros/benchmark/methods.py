"""The whole segmentation stage, by method: from a feature grid to labelled pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.benchmark.timing import median, percentiles, take_turns
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.segmenter import Segmenter, SegmenterState
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame
import torch


def measure_methods(frames: Sequence[Frame], methods: Mapping[str, tuple[Backbone,
                                                                         SegmentationConfig]],
                    rounds: int) -> dict[str, Any]:
    """
    Time methods in turns, each on its backbone's features, which stay on its device.

    Parameters
    ----------
    frames
        Consecutive frames; a cut begins with what the frame before found, as in the pipeline.
    methods
        By name, where the features come from and the settings.
    rounds
        How often every frame is segmented by each.

    Returns
    -------
    dict
        By name, milliseconds 'p50' and 'p95' from features to labels on the host, and the median
        number of 'segments'.

    """
    runs = {name: _Run(backbone, config, frames) for name, (backbone, config) in methods.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    with one_blas_thread():
        for number in range(len(frames)):
            device = next(iter(runs.values())).device
            turns = {name: partial(run, number) for name, run in runs.items()}
            for name, spent in take_turns(turns, rounds, device=device).items():
                times[name].extend(spent)
    return {name: {**percentiles(times[name]), 'segments': median(run.segments)}
            for name, run in runs.items()}


class _Run:
    """Segments the frames of one method by number."""

    def __init__(self, backbone: Backbone, config: SegmentationConfig,
                 frames: Sequence[Frame]) -> None:
        self.device = backbone.device
        self.segments: list[int] = []
        self._frames = frames
        self._features: list[torch.Tensor] = [backbone.features(frame.rgb) for frame in frames]
        self._segmenter = Segmenter(config)
        self._state = SegmenterState()

    def __call__(self, number: int) -> None:
        found = self._segmenter.segment(self._frames[number], self._features[number],
                                        state=self._state)
        self.segments.append(len(found.embeddings))
