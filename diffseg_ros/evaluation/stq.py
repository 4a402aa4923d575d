"""Segmentation and tracking quality (STQ): masks of each frame, and tracks as tubes of pixels."""

from __future__ import annotations

from collections import Counter
import math
from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.evaluation.miou import table_miou
from diffseg_ros.registry import register_measure
import numpy as np


@register_measure('stq', commands=('tracks',))
class SegmentationTrackingQuality(Measure):
    """
    Takes the mean IoU of each frame, and the pixels that each track shares with each object.

    A tube is all pixels of one id in all frames. Ignored pixels belong to no tube; background
    pixels belong to the tracks that claim them, which lowers their IoU, but are no object.
    Memory grows with the number of pairs of tracks and objects that ever met.
    Source: Weber et al., "STEP: Segmenting and Tracking Every Pixel", 2021; here without
    classes.
    """

    def reset(self) -> None:
        self._frame_scores: list[float] = []
        self._shared: Counter[tuple[int, int]] = Counter()
        self._object_pixels: Counter[int] = Counter()
        self._track_pixels: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        self._frame_scores.append(table_miou(table))
        tracks, objects = table.segments.tolist(), table.regions[table.objects].tolist()
        shared = table.overlap[:, table.objects]
        self._track_pixels.update(dict(zip(tracks, table.segment_pixels.tolist())))
        self._object_pixels.update(dict(zip(objects, table.region_pixels[table.objects].tolist())))
        for row, column in np.argwhere(shared):
            self._shared[objects[column], tracks[row]] += int(shared[row, column])

    def compute(self) -> dict[str, Any]:
        """
        Return stq, sq, aq, miou and best_track_iou, each None where there is no object.

        - `sq`, also called `miou`: mean over the frames of the mean IoU of the true regions.
        - `aq`: mean over the objects g of sum over tracks p of |p & g| IoU(p, g) / |g|.
        - `stq`: the geometric mean of both.
        - `best_track_iou`: IoU of the best track with the only object; None where there are more.
        """
        sizes = self._object_pixels
        iou = {(item, track): shared / (sizes[item] + self._track_pixels[track] - shared)
               for (item, track), shared in self._shared.items()}
        known = [score for score in self._frame_scores if not math.isnan(score)]
        quality = float(np.mean(known)) if known else None
        association = stq = None
        if sizes:
            association = sum(shared * iou[pair] / sizes[pair[0]]
                              for pair, shared in self._shared.items()) / len(sizes)
        if quality is not None and association is not None:
            stq = math.sqrt(quality * association)
        return {'stq': stq, 'sq': quality, 'aq': association, 'miou': quality,
                'best_track_iou': max(iou.values(), default=0.0) if len(sizes) == 1 else None}
