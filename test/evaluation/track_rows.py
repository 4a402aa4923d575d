"""Sequences of small label images, and what measures say of them."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.evaluation.measure import Measure, Observation
import numpy as np


def row(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids], np.int32).repeat(4, axis=0)


def measured(kind: type[Measure], predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray],
             background: int | None = None) -> dict:
    """Return what a measure computes of a sequence."""
    measure = kind()
    for labels, truth in zip(predictions, truths, strict=True):
        measure.update(Observation(labels, truth=truth, background=background))
    return measure.compute()
