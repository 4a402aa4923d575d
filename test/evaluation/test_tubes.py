"""AQ and the best track against sequences computed by hand."""

from __future__ import annotations

from diffseg_ros.evaluation.tubes import TubeAccumulator
import numpy as np
import pytest


def frame(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids]).repeat(4, axis=0)


def tubes(predictions: list[np.ndarray], truths: list[np.ndarray],
          background: int | None = None) -> TubeAccumulator:
    accumulator = TubeAccumulator(background=background)
    for prediction, truth in zip(predictions, truths, strict=True):
        accumulator.add(prediction, truth)
    return accumulator


@pytest.mark.parametrize(('predictions', 'truths', 'quality'), [
    ([frame(20, 10)] * 3, [frame(1, 2)] * 3, 1),
    # Swapped halfway: each track shares 8 of 16 pixels with each object, IoU 8 / 24.
    ([frame(1, 2)] * 2 + [frame(2, 1)] * 2, [frame(1, 2)] * 4, 1 / 3),
    # A new id for the last of four frames: (12 * 12/16 + 4 * 4/16) / 16.
    ([frame(5)] * 3 + [frame(6)], [frame(1)] * 4, 0.625),
    # Split: two tracks hold half of the object each. Merged: one track is twice the object.
    ([frame(5, 6)], [frame(1, 1)], 0.5),
    ([frame(7, 7)], [frame(1, 2)], 0.5),
    # Half of the object is unlabelled: 4 * 4/8 / 8.
    ([frame(5, -1)], [frame(1, 1)], 0.25),
    ([frame(-1, -1)], [frame(1, 1)], 0),
    # Ignored pixels belong to no tube.
    ([frame(5, 5)], [frame(1, 65535)], 1),
])
def test_association_quality(predictions: list[np.ndarray], truths: list[np.ndarray],
                             quality: float) -> None:
    assert tubes(predictions, truths).association_quality() == pytest.approx(quality)


def test_background_is_no_object_but_claimed() -> None:
    found = tubes([frame(5, 5)], [frame(0, 1)], background=0)
    assert found.association_quality() == pytest.approx(4 / 8)
    assert tubes([frame(5)], [frame(0)], background=0).association_quality() is None


def test_best_track_of_a_single_object() -> None:
    predictions = [frame(8, 5), frame(8, 5), frame(5, 6)]
    found = tubes(predictions, [frame(0, 1)] * 3, background=0)
    # 5 holds 8 of the object's 12 pixels and 4 elsewhere; 6 holds 4.
    assert found.best_track_iou() == pytest.approx(8 / 16)
    assert tubes(predictions, [frame(2, 1)] * 3, background=0).best_track_iou() is None
    assert tubes([frame(-1)], [frame(1)]).best_track_iou() == 0
    assert TubeAccumulator().best_track_iou() is None
