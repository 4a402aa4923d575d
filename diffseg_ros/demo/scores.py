"""Accuracy of what the node published against the rendered truth."""

from __future__ import annotations

from collections.abc import Iterator
import math
from typing import Any

from diffseg_ros.demo.outcome import Outcome
from diffseg_ros.evaluation.masks import grid_labels, region_miou
from diffseg_ros.evaluation.tracks import IdentityAccumulator
import numpy as np


class Scores:
    """Sums up frame by frame; `update` yields the number of each frame as it is scored."""

    def __init__(self, outcome: Outcome) -> None:
        """Score the processed frames of `outcome`."""
        self._outcome = outcome
        self._regions: list[float] = []
        self._grid: list[float] = []
        self._idf1: float | None = None

    def update(self) -> Iterator[int]:
        """Score all frames and yield the number of each."""
        sequence = self._outcome.sequence
        identities = IdentityAccumulator(background=sequence.background)
        for number in self._outcome.account.processed:
            truth = sequence.instances(number)
            labels = self._outcome.labels(number)
            grid = grid_labels(*truth.shape)
            self._regions.append(region_miou(labels, truth, background=sequence.background))
            self._grid.append(region_miou(grid, truth, background=sequence.background))
            identities.add(labels, truth)
            yield number
        self._idf1 = identities.idf1()

    def report(self) -> dict[str, Any]:
        """Return miou, miou_grid and idf1; None where nothing was processed."""
        return {'miou': _mean(self._regions), 'miou_grid': _mean(self._grid),
                'idf1': None if self._idf1 is None else round(self._idf1, 4)}


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return round(float(np.mean(known)), 4) if known else None
