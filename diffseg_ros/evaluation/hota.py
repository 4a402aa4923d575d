"""Detection and association of masks in one measure: HOTA."""

from __future__ import annotations

from collections import Counter
from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array

ALPHAS = np.arange(1, 20) * 0.05
"""IoU thresholds that HOTA averages over."""

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9


@register_measure('hota', commands=('tracks',))
class Hota(Measure):
    """
    Keeps the IoUs of overlapping masks, frame by frame, and matches at the end.

    In every frame segments and objects are matched one to one so that the sum of IoU times the
    alignment of the two ids over the whole sequence is largest; a match counts at a threshold
    alpha where its IoU reaches it. HOTA is the mean over alpha of sqrt(DetA AssA). About 1 kB
    per frame is kept, no image.
    Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
    2021.
    """

    def reset(self) -> None:
        # Of each frame the (segments, objects) IoUs, and the number of each overlapping pair.
        self._frames: list[tuple[coo_array, npt.NDArray[np.int64]]] = []
        self._pairs: dict[tuple[int, int], int] = {}
        self._segments: Counter[int] = Counter()
        self._objects: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        iou = coo_array(table.iou[table.scored_segments][:, table.objects])
        segments = table.segments[table.scored_segments].tolist()
        objects = table.regions[table.objects].tolist()
        self._segments.update(segments)
        self._objects.update(objects)
        pairs = [self._pairs.setdefault((segments[row], objects[column]), len(self._pairs))
                 for row, column in zip(iou.row, iou.col)]
        self._frames.append((iou, np.array(pairs, np.int64)))

    def compute(self) -> dict[str, Any]:
        """Return hota, 0 to 1, or None where there is neither an object nor a segment."""
        return {'hota': self._hota()}

    def _hota(self) -> float | None:
        segments, objects = self._segments.total(), self._objects.total()
        if not segments + objects:
            return None
        # Of each pair, the frames with its segment plus those with its object.
        appearances = np.array([self._segments[segment] + self._objects[item]
                                for segment, item in self._pairs], float)
        matched = self._matched(self._alignment(appearances))
        hits = matched.sum(axis=0)
        association = matched / np.maximum(appearances[:, None] - matched, 1)
        ass_a = (matched * association).sum(axis=0) / np.maximum(hits, 1)
        det_a = hits / (segments + objects - hits)
        return float(np.sqrt(det_a * ass_a).mean())

    def _alignment(self, appearances: Floats) -> Floats:
        """Return of each pair how well the two ids agree over the sequence, 0 to 1."""
        potential = np.zeros(len(self._pairs))
        for iou, pairs in self._frames:
            total = iou.sum(axis=1)[iou.row] + iou.sum(axis=0)[iou.col] - iou.data
            potential[pairs] += iou.data / total
        return potential / (appearances - potential)

    def _matched(self, alignment: Floats) -> Floats:
        """Return (pairs, alphas): in how many frames a pair was matched at each threshold."""
        matched = np.zeros((len(self._pairs), len(ALPHAS)))
        for iou, pairs in self._frames:
            score = np.zeros(iou.shape)
            score[iou.row, iou.col] = alignment[pairs] * iou.data
            chosen = np.zeros(iou.shape, bool)
            chosen[linear_sum_assignment(score, maximize=True)] = True
            kept = chosen[iou.row, iou.col]
            matched[pairs[kept]] += iou.data[kept, None] >= ALPHAS - _ROUNDING
        return matched
