"""How well ids hold through a sequence: IDF1 on masks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array


@register_measure('idf1', commands=('tracks',))
class Idf1(Measure):
    """
    Counts, frame by frame, which predicted ids detect which true ids.

    After the last frame one predicted id is assigned to each true id (Hungarian method, most
    detections over the whole sequence); these detections are IDTP, and
    IDF1 = 2 IDTP / (objects + segments), both counted once per frame.
    Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
    Tracking", 2016.
    """

    def reset(self) -> None:
        self._detections: Counter[tuple[int, int]] = Counter()
        self._objects = self._segments = 0

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        self._objects += int(table.objects.sum())
        self._segments += int(table.scored_segments.sum())
        for row, column in np.argwhere(table.detections):
            self._detections[int(table.regions[column]), int(table.segments[row])] += 1

    def compute(self) -> dict[str, Any]:
        """Return idf1, 0 to 1, or None where there is neither an object nor a segment."""
        total = self._objects + self._segments
        return {'idf1': 2 * self._matched() / total if total else None}

    def _matched(self) -> int:
        if not self._detections:
            return 0
        objects, tracks = np.array(list(self._detections)).T
        places = (np.unique(ids, return_inverse=True)[1] for ids in (objects, tracks))
        counts = coo_array((list(self._detections.values()), tuple(places))).toarray()
        return int(counts[linear_sum_assignment(counts, maximize=True)].sum())
