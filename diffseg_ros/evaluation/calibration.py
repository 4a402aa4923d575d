"""Measure of how well confidence tells right pixels from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.measure import Measure, Observation
from diffseg_ros.registry import register_measure
import numpy as np
import numpy.typing as npt

BINS = 10
"""Steps of equal width in the reliability curve."""

_LEVELS = 256


@register_measure('calibration', commands=('masks',))
class Calibration(Measure):
    """
    Whether confidence tells right pixels from wrong ones: reliability curve and AUROC.

    A pixel is right where its true class or region is the one that most of its segment shows.
    So it is measured whether pixels belong together that the segmentation put together, and
    splitting too finely is never wrong. Unlabelled pixels, and those whose truth is ignored or
    whose segment lies on ignored truth as a whole, are left out.
    """

    def reset(self) -> None:
        self._counts: npt.NDArray[np.float64] = np.zeros((2, _LEVELS))

    @classmethod
    def pooled(cls, parts: Sequence[Calibration]) -> Calibration:
        """Return the pixels of all parts, with equal weight for each part that has any."""
        joined = cls()
        for part in parts:
            joined._counts += part._counts / max(part._counts.sum(), 1)
        return joined

    def update(self, observation: Observation) -> None:
        labels, confidence = observation.labels, observation.confidence
        table, truth = observation.contingency, observation.truth
        if confidence is None or table is None or truth is None:
            return
        if confidence.shape != labels.shape or confidence.dtype != np.uint8:
            raise DiffsegError(f'confidence: got {confidence.dtype} {confidence.shape}; uint8 '
                               f'{labels.shape} is needed, the size of the labels')
        scored = truth != observation.ignored
        scored &= np.isin(labels, table.segments[table.overlap.any(axis=1)])
        if not scored.any():
            return
        order = np.argsort(table.segments)
        segment = order[np.searchsorted(table.segments, labels[scored], sorter=order)]
        right = truth[scored] == table.regions[table.overlap.argmax(axis=1)][segment]
        level = right.astype(np.int64) * _LEVELS + confidence[scored]
        self._counts += np.bincount(level, minlength=2 * _LEVELS).reshape(2, _LEVELS)

    def compute(self) -> dict[str, Any]:
        """
        Return the reliability curve and how well confidence ranks pixels, as `calibration`.

        - `bins`: for each tenth of the range, from low to high, the mean `confidence` (0 to 1) of
          its pixels, their `share` of all, and their `accuracy`; None in bins without a pixel.
        - `accuracy`: share of all pixels that are right.
        - `auroc`: probability that a right pixel has more confidence than a wrong one, ties
          counting half; 0.5 is chance. None where all are right or all wrong.
        - `ece`: expected calibration error, the mean over the pixels' bins of the difference
          between `accuracy` and what a margin m between the best and all other segments
          promises, (1 + m) / 2.

        Without a pixel there is no value.
        """
        counts, total = self._counts, self._counts.sum()
        if not total:
            return {}
        wrong, right = counts
        place = np.arange(_LEVELS) * BINS // _LEVELS
        confidence = np.arange(_LEVELS) / (_LEVELS - 1)
        pixels = np.bincount(place, wrong + right, BINS)
        sums = np.bincount(place, (wrong + right) * confidence, BINS)
        hits = np.bincount(place, right, BINS)
        wrong_below = np.cumsum(wrong) - wrong / 2
        return {'calibration': {
            'bins': [{'confidence': _ratio(sums[step], pixels[step]),
                      'share': _ratio(pixels[step], total),
                      'accuracy': _ratio(hits[step], pixels[step])} for step in range(BINS)],
            'accuracy': _ratio(right.sum(), total),
            'auroc': _ratio(float(right @ wrong_below), float(right.sum() * wrong.sum())),
            'ece': _ratio(np.abs(hits - (pixels + sums) / 2).sum(), total)}}


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None
