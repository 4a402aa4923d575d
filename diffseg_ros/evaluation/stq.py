"""Segmentation and tracking quality (STQ): masks of each frame, and tracks as tubes of pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
import math
from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.evaluation.miou import table_miou
from diffseg_ros.registry import register_measure
import numpy as np


@register_measure('stq', commands=('tracks',))
class SegmentationTrackingQuality(Measure):
    """
    Mean IoU of each frame, and the pixels that each track shares with each object.

    A tube is all pixels of one id in all frames. Ignored pixels belong to no tube; background
    pixels belong to the tracks that claim them, which lowers their IoU, but are no object.
    Memory grows with the number of pairs of tracks and objects that ever met.
    Source: Weber et al., "STEP: Segmenting and Tracking Every Pixel", 2021; here without
    classes.
    """

    def reset(self) -> None:
        self._frame_scores: list[float] = []
        self._shared: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._object_pixels: Counter[int] = Counter()
        self._track_pixels: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        self._frame_scores.append(table_miou(table))
        tracks, regions = table.segments.tolist(), table.regions.tolist()
        for track, pixels in zip(tracks, table.segment_pixels.tolist()):
            self._track_pixels[track] += pixels
        for region, pixels in zip(regions, table.region_pixels.tolist()):
            if region != table.background:
                self._object_pixels[region] += pixels
        for row, column in np.argwhere(table.overlap):
            self._shared[regions[column]][tracks[row]] += int(table.overlap[row, column])

    def compute(self) -> dict[str, Any]:
        """
        Return stq, sq, aq, miou and best_track_iou, each None where there is no object.

        - `sq`, also called `miou`: mean over the frames of the mean IoU of the true regions.
        - `aq`: mean over the objects g of sum over tracks p of |p & g| IoU(p, g) / |g|.
        - `stq`: the geometric mean of both.
        - `best_track_iou`: IoU of the best track with the only object; None where there are more.
        """
        known = [score for score in self._frame_scores if not math.isnan(score)]
        quality = float(np.mean(known)) if known else None
        association = self._association_quality()
        return {'stq': (None if quality is None or association is None
                        else math.sqrt(quality * association)),
                'sq': quality, 'aq': association, 'miou': quality,
                'best_track_iou': self._best_track_iou()}

    def _association_quality(self) -> float | None:
        if not self._object_pixels:
            return None
        return float(np.mean([
            sum(shared * self._iou(item, track, shared)
                for track, shared in self._shared[item].items()) / size
            for item, size in self._object_pixels.items()]))

    def _best_track_iou(self) -> float | None:
        if len(self._object_pixels) != 1:
            return None
        item = next(iter(self._object_pixels))
        return max((self._iou(item, track, shared)
                    for track, shared in self._shared[item].items()), default=0.0)

    def _iou(self, item: int, track: int, shared: int) -> float:
        return shared / (self._object_pixels[item] + self._track_pixels[track] - shared)
