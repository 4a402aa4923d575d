"""How well ids hold through a sequence: IDF1 on masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import zip_longest

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.accumulator import SequenceAccumulator
from diffseg_ros.evaluation.contingency import Contingency, LabelArray
from diffseg_ros.evaluation.detections import MATCH_IOU, objects_of, scored_segments
import numpy as np
from scipy.optimize import linear_sum_assignment


class IdentityAccumulator(SequenceAccumulator):
    """
    Counts, frame by frame, which predicted ids cover which true ids.

    In a frame a segment detects an object where their IoU is at least 0.5; which segments
    count is the rule of `scored_segments`. After the last frame one predicted id is assigned to
    each true id (Hungarian method, most detections over the whole sequence); these detections
    are IDTP, and IDF1 = 2 IDTP / (objects + segments), both counted once a frame.
    Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
    Tracking", 2016.
    """

    def __init__(self, *, ignore: int = 65535, background: int | None = None) -> None:
        """Begin an empty sequence; the parameters are those of `SequenceAccumulator`."""
        super().__init__(ignore=ignore, background=background)
        self._detections: Counter[tuple[int, int]] = Counter()
        self._objects = self._segments = 0

    def add_table(self, table: Contingency) -> None:
        """Count one frame whose overlaps are counted already, with the same ignored value."""
        objects = objects_of(table, self._background)
        detected = (table.iou >= MATCH_IOU) & objects
        self._objects += int(objects.sum())
        self._segments += int(scored_segments(table, objects).sum())
        for row, column in np.argwhere(detected):
            self._detections[int(table.regions[column]), int(table.segments[row])] += 1

    def idf1(self) -> float | None:
        """Return IDF1, 0 to 1, or None where there is neither an object nor a segment."""
        if not self._objects + self._segments:
            return None
        return 2 * self._matched() / (self._objects + self._segments)

    def _matched(self) -> int:
        """Return IDTP."""
        if not self._detections:
            return 0
        pairs = np.array(list(self._detections))
        columns = [np.unique(ids, return_inverse=True) for ids in pairs.T]
        counts = np.zeros([len(ids) for ids, _ in columns], np.int64)
        counts[columns[0][1], columns[1][1]] = list(self._detections.values())
        rows, assigned = linear_sum_assignment(counts, maximize=True)
        return int(counts[rows, assigned].sum())


def idf1(predictions: Iterable[LabelArray], truths: Iterable[LabelArray], *,
         ignore: int = 65535, background: int | None = None) -> float | None:
    """
    Return IDF1 of a sequence of (H, W) id images, as IdentityAccumulator counts it.

    Raises
    ------
    DiffsegError
        The sequences differ in length, or a pair of frames cannot be compared.

    """
    accumulator = IdentityAccumulator(ignore=ignore, background=background)
    for number, (prediction, truth) in enumerate(zip_longest(predictions, truths)):
        if prediction is None or truth is None:
            shorter = 'prediction' if prediction is None else 'truth'
            raise DiffsegError(f'sequence: the {shorter} ends after {number} frames, the other '
                               'goes on; both must have the same frames')
        accumulator.add(prediction, truth)
    return accumulator.idf1()
