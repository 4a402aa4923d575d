"""Detection and association of masks in one measure: HOTA."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(1, 20) * 0.05
"""IoU thresholds that HOTA averages over."""

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Frame:
    """IoUs of the overlapping pairs of one frame: pair numbers, matrix indices, values."""

    pairs: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: Floats

    def matrix(self, values: Floats) -> Floats:
        """Return one value per pair as (segments, objects), 0 where there is no overlap."""
        full = np.zeros((self.rows.max(initial=-1) + 1, self.columns.max(initial=-1) + 1))
        full[self.rows, self.columns] = values
        return full


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
        self._frames: list[_Frame] = []
        self._pairs: dict[tuple[int, int], int] = {}
        self._segments: Counter[int] = Counter()
        self._objects: Counter[int] = Counter()

    def update(self, observation: Observation) -> None:
        table = observation.contingency
        if table is None:
            return
        iou = table.iou[table.scored_segments][:, table.objects]
        segments = table.segments[table.scored_segments].tolist()
        objects = table.regions[table.objects].tolist()
        self._segments.update(segments)
        self._objects.update(objects)
        rows, columns = np.nonzero(iou)
        pairs = [self._pairs.setdefault((segments[row], objects[column]), len(self._pairs))
                 for row, column in zip(rows, columns)]
        self._frames.append(_Frame(np.array(pairs, np.int64), rows, columns, iou[rows, columns]))

    def compute(self) -> dict[str, Any]:
        """Return hota, 0 to 1, or None where there is neither an object nor a segment."""
        return {'hota': self._hota()}

    def _hota(self) -> float | None:
        segments, objects = self._segments.total(), self._objects.total()
        if not segments + objects:
            return None
        appearances = self._appearances()
        matched = self._matched(self._alignment(appearances))
        hits = matched.sum(axis=0)
        association = matched / np.maximum(appearances[:, None] - matched, 1)
        ass_a = (matched * association).sum(axis=0) / np.maximum(hits, 1)
        det_a = hits / (segments + objects - hits)
        return float(np.sqrt(det_a * ass_a).mean())

    def _appearances(self) -> Floats:
        """Return, for each pair, the frames with its segment plus those with its object."""
        return np.array([self._segments[segment] + self._objects[item]
                         for segment, item in self._pairs], float)

    def _alignment(self, appearances: Floats) -> Floats:
        """Return, for each pair, how well the two ids agree over the sequence, 0 to 1."""
        potential = np.zeros(len(self._pairs))
        for frame in self._frames:
            iou = frame.matrix(frame.values)
            total = iou.sum(axis=1, keepdims=True) + iou.sum(axis=0) - iou
            potential[frame.pairs] += frame.values / total[frame.rows, frame.columns]
        return potential / (appearances - potential)

    def _matched(self, alignment: Floats) -> Floats:
        """Return (pairs, alphas): in how many frames a pair was matched at each threshold."""
        matched = np.zeros((len(self._pairs), len(ALPHAS)))
        for frame in self._frames:
            score = frame.matrix(alignment[frame.pairs] * frame.values)
            rows, columns = linear_sum_assignment(score, maximize=True)
            chosen = np.zeros(score.shape, bool)
            chosen[rows, columns] = True
            kept = chosen[frame.rows, frame.columns]
            matched[frame.pairs[kept]] += frame.values[kept, None] >= ALPHAS - _ROUNDING
        return matched
