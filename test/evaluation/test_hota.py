"""HOTA against sequences computed by hand; its 19 thresholds are 0.05 to 0.95."""

from __future__ import annotations

from diffseg_ros.evaluation.hota import HotaAccumulator
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest


def frame(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids]).repeat(4, axis=0)


def hota(predictions: list[np.ndarray], truths: list[np.ndarray],
         background: int | None = None) -> float | None:
    accumulator = HotaAccumulator(background=background)
    for prediction, truth in zip(predictions, truths, strict=True):
        accumulator.add(prediction, truth)
    return accumulator.hota()


@pytest.mark.parametrize(('predictions', 'truths', 'score'), [
    ([frame(20, 10)] * 3, [frame(1, 2)] * 3, 1),
    # Swapped halfway: DetA 1; each match has TPA 2, FPA 2, FNA 2.
    ([frame(1, 2)] * 2 + [frame(2, 1)] * 2, [frame(1, 2)] * 4, (1 / 3) ** 0.5),
    # IoU 1/2 counts at 0.05 to 0.5.
    ([frame(3, -1)], [frame(1, 1)], 10 / 19),
    # Split: IoU 2/3 counts at 13 thresholds, with a false positive: DetA 1/2, AssA 1.
    ([frame(3, 3, 4)], [frame(1, 1, 1)], 13 / 19 * 0.5 ** 0.5),
    # Merged: one of two objects is matched, IoU 1/2: DetA 1/2, AssA 1.
    ([frame(7, 7)], [frame(1, 2)], 10 / 19 * 0.5 ** 0.5),
    # Missed once: DetA 1/2; TPA 1, FNA 1.
    ([frame(3), frame(-1)], [frame(1), frame(1)], 0.5),
    # A new id in each of two frames: DetA 1; TPA 1, FNA 1.
    ([frame(3), frame(4)], [frame(1), frame(1)], 0.5 ** 0.5),
    ([frame(-1)], [frame(1)], 0),
])
def test_by_hand(predictions: list[np.ndarray], truths: list[np.ndarray], score: float) -> None:
    assert hota(predictions, truths) == pytest.approx(score)


def test_alignment_over_the_sequence_decides_between_equals() -> None:
    # In the first frame 3 and 4 cover half of the object each; 3 stays with it.
    predictions = [frame(4, 3)] + [frame(3, 3)] * 3
    truths = [frame(1, 1)] * 4
    # At IoU up to 1/2: TP 4, FP 1, all of 3: TPA 4. Above: TP 3, FN 1, FP 2.
    low, high = (4 / 5) ** 0.5, (3 / 6 * 3 / (4 + 4 - 3)) ** 0.5
    assert hota(predictions, truths) == pytest.approx((10 * low + 9 * high) / 19)


def test_background_and_ignored_truth() -> None:
    assert hota([frame(8, 9, 5)] * 2, [frame(0, 0, 1)] * 2, background=0) == 1
    assert hota([frame(8, 5)] * 2, [frame(65535, 1)] * 2) == 1
    assert hota([frame(-1)], [frame(0)], background=0) is None


@given(strategies.lists(arrays(np.int32, (4, 4), elements=strategies.integers(0, 3)), min_size=1,
                        max_size=4), strategies.permutations(range(4)))
def test_names_of_ids_mean_nothing(truths: list[np.ndarray], names: list[int]) -> None:
    assert hota([np.array(names)[truth] for truth in truths], truths) == pytest.approx(1)
    shifted = [np.roll(truth, 1) for truth in truths]
    renamed = [np.array(names)[image] for image in shifted]
    assert hota(renamed, truths) == pytest.approx(hota(shifted, truths))
