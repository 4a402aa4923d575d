"""The reliability curve against cases computed by hand."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.calibration import BINS, Calibration
from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.viz.plots import draw_calibration
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest


def image(prediction: np.ndarray | list, confidence: np.ndarray | list,
          truth: np.ndarray | list) -> Observation:
    return Observation(np.asarray(prediction, np.int32), truth=np.asarray(truth), ignored=255,
                       confidence=np.asarray(confidence, np.uint8))


def calibration(*images: Observation) -> Calibration:
    measure = Calibration()
    for observation in images:
        measure.update(observation)
    return measure


def report_of(*images: Observation) -> dict:
    return calibration(*images).compute()['calibration']


def test_by_hand() -> None:
    # Segment 7 shows mostly class 3 and holds one pixel of class 4; segment 9 is pure.
    report = report_of(image([[7, 7, 7, 9]], [[255, 204, 51, 204]], [[3, 3, 4, 5]]))
    bins = report['bins']
    assert [item['share'] for item in bins] == [0, 0.25, 0, 0, 0, 0, 0, 0.5, 0, 0.25]
    assert [item['accuracy'] for item in bins] == [None, 0, *[None] * 5, 1, None, 1]
    assert bins[1]['confidence'] == pytest.approx(0.2)
    assert bins[0]['confidence'] is None
    assert report['accuracy'] == 0.75
    assert report['auroc'] == 1
    # A margin of 0.2 promises 0.6 and held 0; 0.8 promises 0.9 and held 1; 1 promises 1.
    assert report['ece'] == pytest.approx((0.6 + 2 * 0.1 + 0) / 4)


def test_ranks_count_ties_half() -> None:
    prediction, truth = [[0] * 5], [[1, 1, 1, 2, 2]]
    # Of 6 pairs of a right and a wrong pixel: 3 above, 1 tie, 2 below.
    report = report_of(image(prediction, [[90, 50, 10, 20, 50]], truth))
    assert report['auroc'] == pytest.approx(3.5 / 6)


def test_what_is_left_out() -> None:
    # An unlabelled pixel, an ignored one, and a segment that lies on ignored truth as a whole.
    report = report_of(image([[-1, 0, 0, 4]], [[9, 200, 9, 9]], [[1, 1, 255, 255]]))
    assert report['accuracy'] == 1 and report['auroc'] is None
    assert report['bins'][7]['share'] == 1
    assert calibration(image([[0]], [[9]], [[255]])).compute() == {}
    without = Observation(np.zeros((1, 1), np.int32), truth=np.ones((1, 1), int))
    assert calibration(without).compute() == {}


def test_images_add_up_and_sets_have_equal_weight() -> None:
    small = image([[0]], [[255]], [[1]])
    large = image([[0, 0, 0, 0]], [[0, 0, 255, 255]], [[1, 1, 1, 2]])
    sets = [calibration(small), calibration(large), Calibration()]
    assert Calibration.pooled(sets).compute()['calibration']['accuracy'] == pytest.approx(
        (1 + 3 / 4) / 2)
    assert report_of(small, large)['accuracy'] == pytest.approx(4 / 5)


@given(arrays(np.int32, (5, 6), elements=strategies.integers(-1, 3)),
       arrays(np.uint8, (5, 6)),
       arrays(np.int32, (5, 6), elements=strategies.sampled_from([0, 1, 2, 255])))
def test_against_a_plain_loop(prediction: np.ndarray, confidence: np.ndarray,
                              truth: np.ndarray) -> None:
    right, wrong = [], []
    for segment in set(prediction.ravel().tolist()) - {-1}:
        inside = (prediction == segment) & (truth != 255)
        classes = truth[inside].tolist()
        if classes:
            # Of equal classes the one met first stands for the segment.
            order = list(dict.fromkeys(truth[truth != 255].tolist()))
            shown = max(order, key=lambda kind: (classes.count(kind), -order.index(kind)))
            for kind, value in zip(classes, confidence[inside].tolist(), strict=True):
                (right if kind == shown else wrong).append(value)
    report = calibration(image(prediction, confidence, truth)).compute().get('calibration', {})
    assert bool(report) == bool(right or wrong)
    if right or wrong:
        assert report['accuracy'] == pytest.approx(len(right) / len(right + wrong))
        shares = [sum(value * BINS // 256 == step for value in right + wrong)
                  / len(right + wrong) for step in range(BINS)]
        assert [item['share'] for item in report['bins']] == pytest.approx(shares)
    if right and wrong:
        wins = sum((a > b) + (a == b) / 2 for a in right for b in wrong)
        assert report['auroc'] == pytest.approx(wins / len(right) / len(wrong))


@pytest.mark.parametrize('confidence', [np.zeros((1, 3), np.uint8), np.zeros((1, 2), np.float32)])
def test_confidence_of_another_kind_is_refused(confidence: np.ndarray) -> None:
    with pytest.raises(DiffsegError, match=r'uint8 \(1, 2\) is needed'):
        Calibration().update(Observation(np.zeros((1, 2), np.int32), confidence=confidence,
                                         truth=np.zeros((1, 2), int)))


def test_a_picture_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    report = report_of(image([[0]], [[255]], [[1]]))
    with pytest.raises(DiffsegError, match='cannot be written'):
        draw_calibration({'one': report}, tmp_path / 'file/curve.png')
