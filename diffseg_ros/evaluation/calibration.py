"""Whether confidence tells right pixels from wrong ones: reliability curve and AUROC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.contingency import Contingency, contingency, LabelArray
from diffseg_ros.evaluation.masks import IGNORED_CLASS
import numpy as np
import numpy.typing as npt

LEVELS = 256
"""Values that a confidence can take."""

BINS = 10
"""Steps of equal width that a report sums them up in."""


class CalibrationAccumulator:
    """
    Counts right and wrong pixels at each confidence; nothing is kept per image.

    A pixel is right where its true class or region is the one that most of its segment shows. So
    splitting too finely is never wrong, and what is measured is whether pixels belong together
    that the segmentation put together. Unlabelled pixels, and those whose truth is ignored or
    whose segment lies on ignored truth as a whole, are left out.
    """

    def __init__(self) -> None:
        """Begin without a pixel."""
        self._counts: npt.NDArray[np.float64] = np.zeros((2, LEVELS))

    @classmethod
    def mean(cls, parts: Sequence[CalibrationAccumulator]) -> CalibrationAccumulator:
        """Return what the parts hold together, each of equal weight; empty ones are left out."""
        joined = cls()
        for part in parts:
            joined._counts += part._counts / max(part._counts.sum(), 1)
        return joined

    def add(self, prediction: LabelArray, confidence: npt.NDArray[np.uint8], truth: LabelArray,
            ignore: int = IGNORED_CLASS) -> None:
        """
        Count one image.

        Parameters
        ----------
        prediction
            (H, W) integers; negative ones are unlabelled.
        confidence
            (H, W) uint8 of each pixel.
        truth
            (H, W) integers.
        ignore
            Value of `truth` that is not scored.

        Raises
        ------
        DiffsegError
            The arrays cannot be compared.

        """
        if confidence.shape != prediction.shape or confidence.dtype != np.uint8:
            raise DiffsegError(f'confidence: got {confidence.dtype} {confidence.shape}; uint8 '
                               f'{prediction.shape} is needed, the size of the prediction')
        table = contingency(prediction, truth, ignore)
        scored = (truth != ignore) & np.isin(prediction, table.segments[table.overlap.any(axis=1)])
        right = truth[scored] == _majority(table, prediction[scored])
        kind = right.astype(np.int64) * LEVELS + confidence[scored]
        self._counts += np.bincount(kind, minlength=2 * LEVELS).reshape(2, LEVELS)

    def report(self) -> dict[str, Any]:
        """
        Return the reliability curve and how well confidence ranks pixels.

        - `bins`: for each tenth of the range, from low to high, the mean `confidence` (0 to 1) of
          its pixels, their `share` of all, and the share of them that is `right`; None in bins
          without a pixel.
        - `right`: share of all pixels.
        - `auroc`: probability that a right pixel has more confidence than a wrong one, ties
          counting half; 0.5 is chance. None where all are right or all wrong.
        - `error`: mean over the pixels' bins of the difference between `right` and what a margin
          m between the best and all other segments promises, (1 + m) / 2.
        """
        counts = self._counts
        total = counts.sum()
        value = np.arange(LEVELS) / (LEVELS - 1)
        place = np.arange(LEVELS) * BINS // LEVELS
        pixels = np.bincount(place, counts.sum(axis=0), BINS)
        sums = np.bincount(place, counts.sum(axis=0) * value, BINS)
        right = np.bincount(place, counts[1], BINS)
        off = np.abs(right - (pixels + sums) / 2).sum()
        return {
            'bins': [{'confidence': _ratio(sums[step], pixels[step]),
                      'share': _ratio(pixels[step], total),
                      'right': _ratio(right[step], pixels[step])} for step in range(BINS)],
            'right': _ratio(counts[1].sum(), total),
            'auroc': _auroc(*counts),
            'error': _ratio(off, total)}


def _majority(table: Contingency, labels: LabelArray) -> npt.NDArray[np.int64]:
    """Return (n,) the class that most of the segment of each of (n,) pixels shows."""
    order = np.argsort(table.segments)
    if not len(table.regions):
        return np.zeros(len(labels), np.int64)
    shown = table.regions[table.overlap.argmax(axis=1)]
    return shown[order[np.searchsorted(table.segments, labels, sorter=order)]]


def _auroc(wrong: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve of two histograms over the same values."""
    below = np.cumsum(wrong) - wrong / 2
    return _ratio(float(right @ below), float(right.sum() * wrong.sum()))


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0 else None
