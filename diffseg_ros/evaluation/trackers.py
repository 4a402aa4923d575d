"""The ways of tracking that are compared with each other, each as a pipeline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.contingency import contingency
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.settings import updated
from diffseg_ros.time_rules import clock_jumped_back
from diffseg_ros.types import Frame, LabelImage, Result, UNLABELLED
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone
    from diffseg_ros.pipeline import Pipeline

BASELINE = 'overlap'
TRACKERS = ('full', 'propagation', BASELINE)
MIN_IOU = 0.3
"""IoU from which on a segment can continue a track of the baseline."""

_PROPAGATION_ALONE = {'tracking.keyframe_interval': 10_000, 'tracking.keyframe_change': 1.0}


def create_tracking(name: str, config: PipelineConfig, backbone: Backbone
                    ) -> Pipeline | OverlapPipeline:
    """
    Return a pipeline without tracks that tracks in the way called `name`.

    'full' is the pipeline as it is configured; 'propagation' segments the first frame and
    carries its labels from then on; 'overlap' is the baseline. Other names raise DiffsegError.
    """
    from diffseg_ros.pipeline import Pipeline

    if name == BASELINE:
        return OverlapPipeline(Pipeline(config, backbone=backbone))
    if name == 'propagation':
        config = updated(config, _PROPAGATION_ALONE)
    elif name != 'full':
        raise DiffsegError(f'tracker {name!r}: unknown; choose one of {", ".join(TRACKERS)}')
    return Pipeline(config, backbone=backbone)


class OverlapPipeline:
    """Segments every frame by itself and joins the segments by OverlapTracker."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._tracker = OverlapTracker()
        self._epoch = 0
        self._last_stamp: int | None = None

    def process(self, frame: Frame) -> Result:
        """Return the labels of the next frame; where time jumps back a new epoch begins."""
        if clock_jumped_back(self._last_stamp, frame.stamp):
            self._tracker.reset()
            self._epoch += 1
        self._last_stamp = frame.stamp
        start = time.perf_counter()
        segments = self._pipeline.segment(frame)
        middle = time.perf_counter()
        labels = self._tracker.update(segments.labels)
        end = time.perf_counter()
        latency = {'features and segmentation': (middle - start) * 1e3,
                   'tracking': (end - middle) * 1e3, 'total': (end - start) * 1e3}
        return Result(frame, labels, segments.confidence, self._epoch, latency)


class OverlapTracker:
    """
    The baseline: ids follow the overlap of consecutive frames' masks.

    Pairs with an IoU of at least 0.3 are assigned one to one so that its sum is largest
    (Hungarian method); other segments get new ids. Nothing older is remembered. It must not
    change, so that figures measured against it can be compared.
    """

    def __init__(self) -> None:
        self._next_id = 1
        self._last: LabelImage | None = None

    def reset(self) -> None:
        """Forget the last frame; ids go on rising."""
        self._last = None

    def update(self, labels: LabelImage) -> LabelImage:
        """
        Return the (H, W) int32 segments of a frame, numbered by their ids.

        Negative segments are unlabelled and stay so. A frame of another size continues nothing.
        """
        segments = distinct_labels(labels)
        segments = segments[segments >= 0]
        ids = np.zeros(len(segments), np.int32)
        if self._last is not None and self._last.shape == labels.shape:
            continued, tracks = _overlapping(labels, self._last)
            ids[np.searchsorted(segments, continued)] = tracks
        new = np.flatnonzero(ids == 0)
        ids[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        known = labels >= 0
        self._last = np.full(labels.shape, UNLABELLED, np.int32)
        self._last[known] = ids[np.searchsorted(segments, labels[known])]
        return self._last


def _overlapping(labels: LabelImage, last: LabelImage
                 ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the segments that continue a track of the last frame, and these tracks."""
    table = contingency(labels, last, ignored=UNLABELLED)
    # The table's IoU leaves ignored pixels out; here unlabelled ones are part of a mask.
    size = table.segment_pixels + table.ignored
    iou = table.overlap / np.maximum(size[:, None] + table.region_pixels - table.overlap, 1)
    iou[iou < MIN_IOU] = 0
    rows, columns = linear_sum_assignment(iou, maximize=True)
    joined = iou[rows, columns] > 0
    return table.segments[rows[joined]], table.regions[columns[joined]]
