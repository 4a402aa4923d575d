"""How well tracks and objects overlap as tubes, pixels summed over the sequence: AQ."""

from __future__ import annotations

from collections import Counter, defaultdict

from diffseg_ros.evaluation.accumulator import SequenceAccumulator
from diffseg_ros.evaluation.contingency import Contingency
import numpy as np


class TubeAccumulator(SequenceAccumulator):
    """
    Sums the pixels that each track shares with each object.

    A tube is all pixels of one id in all frames. Ignored pixels belong to no tube; background
    pixels belong to the tracks that claim them, which are the worse for it, but are no object.
    Memory grows with the number of pairs of tracks and objects that ever met.
    """

    def __init__(self, *, ignore: int = 65535, background: int | None = None) -> None:
        """Begin an empty sequence; the parameters are those of `SequenceAccumulator`."""
        super().__init__(ignore=ignore, background=background)
        self._shared: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._object_pixels: Counter[int] = Counter()
        self._track_pixels: Counter[int] = Counter()

    def add_table(self, table: Contingency) -> None:
        """Count one frame whose overlaps are counted already, with the same ignored value."""
        tracks, regions = table.segments.tolist(), table.regions.tolist()
        for track, pixels in zip(tracks, table.segment_pixels.tolist()):
            self._track_pixels[track] += pixels
        for region, pixels in zip(regions, table.region_pixels.tolist()):
            if region != self._background:
                self._object_pixels[region] += pixels
        for row, column in np.argwhere(table.overlap):
            self._shared[regions[column]][tracks[row]] += int(table.overlap[row, column])

    def association_quality(self) -> float | None:
        """
        Return AQ, 0 to 1, or None where there is no object.

        The mean over the objects g of sum over tracks p of |p & g| IoU(p, g) / |g|.
        Source: Weber et al., "STEP: Segmenting and Tracking Every Pixel", 2021; here without
        classes.
        """
        if not self._object_pixels:
            return None
        return float(np.mean([
            sum(shared * self._iou(item, track, shared)
                for track, shared in self._shared[item].items()) / size
            for item, size in self._object_pixels.items()]))

    def best_track_iou(self) -> float | None:
        """Return the IoU of the best track with the only object; None unless there is one."""
        if len(self._object_pixels) != 1:
            return None
        item = next(iter(self._object_pixels))
        return max((self._iou(item, track, shared)
                    for track, shared in self._shared[item].items()), default=0.0)

    def _iou(self, item: int, track: int, shared: int) -> float:
        return shared / (self._object_pixels[item] + self._track_pixels[track] - shared)
