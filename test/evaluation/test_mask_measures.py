"""The mask protocol against cases computed by hand, and its properties."""

from __future__ import annotations

from itertools import permutations
import math

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.contingency import contingency
from diffseg_ros.evaluation.masks import boundary_f, grid_labels, region_miou
from diffseg_ros.evaluation.measure import MeasureSet, Observation
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

IMAGES = arrays(np.int32, (6, 7), elements=strategies.integers(0, 4))


def report_of(*pairs: tuple[list | np.ndarray, list | np.ndarray],
              classes: int | None = None, ignored: int = 255,
              background: int | None = None) -> dict:
    """Return what the measures of masks say of pairs of labels and truth."""
    names = None if classes is None else tuple(map(str, range(classes)))
    measures = MeasureSet('masks')
    for prediction, truth in pairs:
        measures.update(Observation(np.asarray(prediction), truth=np.asarray(truth),
                                    ignored=ignored, background=background, classes=names))
    return measures.compute()


@pytest.mark.parametrize(('pairs', 'options', 'expected'), [
    # Regions: 5 shares 4 of region 0's 6 pixels; 7 has 4 pixels and holds region 1's 2.
    ([([[5, 5, 7, 7], [5, 5, 7, 7]], [[0, 0, 0, 1], [0, 0, 0, 1]])], {},
     {'miou': (4 / 6 + 2 / 4) / 2, 'pixel_accuracy': (4 + 2) / 8, 'images': 1,
      'segments_per_image': 2}),
    # Regions are averaged per image first: IoU 1/3 for one of three regions; then 1.
    ([([[0, 0, 0]], [[0, 1, 2]]), ([[0, 0, 0]], [[4, 4, 4]])], {}, {'miou': (1 / 9 + 1) / 2}),
    # Classes are summed over images. Class 0: TP 4 + 0, FN 0 + 1. Class 1: TP 3, FP 1.
    ([([[0, 0], [0, 0]], [[0, 0], [0, 0]]), ([[3, 3], [3, 3]], [[0, 1], [1, 1]])],
     {'classes': 2}, {'0': 4 / 5, '1': 3 / 4, 'miou': (4 / 5 + 3 / 4) / 2,
                      'pixel_accuracy': 7 / 8}),
    # A left-over segment is charged to a free class. 7: TP 3 of class 0, whose FN is 1. 8: one
    # FP of class 1 or class 2, each with TP 2.
    ([([[7, 7], [7, 8]], [[0, 0], [0, 0]]), ([[4, 4], [5, 5]], [[1, 1], [2, 2]])],
     {'classes': 3}, {'miou': (3 / 4 + 2 / 3 + 1) / 3}),
    # No class is free for 8: its pixel is a false negative and nothing else.
    ([([[7, 7], [7, 8]], [[0, 0], [0, 0]])], {'classes': 1}, {'miou': 3 / 4}),
    # 2 is charged to a class that no image shows; such classes do not enter the mean.
    ([([[2, 3, 3, 3]], [[5, 5, 5, 5]])], {'classes': 9}, {'5': 3 / 4, 'miou': 3 / 4}),
    # A segment on ignored truth takes no class: 8 is a false positive of class 1 all the same.
    ([([[9, 7, 7, 7, 8]], [[255, 0, 0, 0, 0]]), ([[1, 1]], [[1, 1]])], {'classes': 2},
     {'0': 3 / 4, '1': 2 / 3}),
    # The background joins what touches no object; without the rule only one of 4 and 5 is
    # background, 4 of 8 pixels.
    ([([[3, 3, 4, 4, 5, 5]] * 2, [[1, 1, 0, 0, 0, 0]] * 2)], {'classes': 2, 'background': 0},
     {'miou': 1}),
    ([([[3, 3, 4, 4, 5, 5]] * 2, [[1, 1, 0, 0, 0, 0]] * 2)], {'classes': 2},
     {'miou': (1 + 4 / 8) / 2}),
    # It also joins segments that lost the matching; free classes, 2 to 5, do not keep them. 3
    # holds 3 pixels of class 1 and one of the background. 4 and 5 are joined: 8 pixels, one of
    # them class 1.
    ([([[3, 3, 3, 5, 5, 5], [3, 4, 4, 5, 5, 5]], [[1, 1, 0, 0, 0, 0]] * 2)],
     {'classes': 6, 'background': 0}, {'0': 7 / (7 + 1 + 1), '1': 3 / (3 + 1 + 1),
                                       'pixel_accuracy': 10 / 12}),
    # Ignored truth counts for nothing, except as a segment.
    ([([[2, 2, 2, 9], [3, 3, 3, 9]], [[0, 0, 255, 255], [1, 1, 255, 255]])], {'classes': 2},
     {'miou': 1, 'pixel_accuracy': 1, 'segments_per_image': 3}),
    ([([[2, 2, 2, 9], [3, 3, 3, 9]], [[0, 0, 255, 255], [1, 1, 255, 255]])], {}, {'miou': 1}),
    # Unlabelled pixels are false negatives only.
    ([([[-1, 4, 6, 6]], [[0, 0, 1, 1]])], {'classes': 2},
     {'miou': (1 / 2 + 1) / 2, 'segments_per_image': 2}),
    ([([[-1, -1, -1, -1]], [[0, 0, 1, 1]])], {'classes': 2},
     {'miou': 0, 'pixel_accuracy': 0, 'segments_per_image': 0}),
])
def test_miou_and_accuracy_by_hand(pairs: list, options: dict, expected: dict) -> None:
    report = report_of(*pairs, **options)
    found = {**report, **report['per_class']}
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(('prediction', 'background', 'score'), [
    ([-1, -1, 2, 2], 0, 1), ([-1, -1, 2, 2], None, 1 / 2),
    # A segment that covers the background too: 2 of 4 pixels.
    ([2, 2, 2, 2], 0, 1 / 2)])
def test_background_region_is_not_averaged(prediction: list, background: int | None,
                                           score: float) -> None:
    truth = np.array([[0, 0, 1, 1]])
    assert region_miou(np.array([prediction]), truth, background=background) == score


def test_matching_shares_the_most_pixels_and_not_the_best_iou() -> None:
    truth = np.zeros((4, 4), int)
    truth[0] = 1
    prediction = np.full((4, 4), 3)
    prediction[0, 3] = 4
    # 3 holds 3 of 4 pixels, IoU 3/16; 4 holds 1, IoU 1/4. Shared pixels decide.
    assert region_miou(prediction, truth, background=0) == pytest.approx(3 / 16)


def test_nothing_to_score() -> None:
    blank = np.full((2, 3), 255, np.uint8)
    assert math.isnan(region_miou(blank, blank, ignored=255))
    report = report_of((blank, blank))
    assert (report['miou'], report['pixel_accuracy'], report['images']) == (None, None, 1)
    nothing = report_of(classes=3)
    assert nothing['images'] == 0 and nothing['segments_per_image'] is nothing['miou'] is None


@pytest.mark.parametrize(('prediction', 'truth', 'message'), [
    (np.zeros((2, 3), int), np.zeros((3, 2), int), r'\(2, 3\) and truth \(3, 2\) differ'),
    (np.zeros((2, 3)), np.zeros((2, 3), int), 'prediction: got float64'),
    (np.zeros((2, 3, 1), int), np.zeros((2, 3), int), 'HxW array of integers'),
    (np.zeros((0, 3), int), np.zeros((0, 3), int), 'HxW array of integers'),
    (np.zeros((2, 3), int), np.full((2, 3), 7), 'class 7; the data set has 5 classes'),
    (np.zeros((2, 3), int), np.full((2, 3), -7), 'class below 0'),
])
def test_unusable_labels_are_refused(prediction: np.ndarray, truth: np.ndarray,
                                     message: str) -> None:
    with pytest.raises(DiffsegError, match=message):
        report_of((prediction, truth), classes=5)


def test_contingency_with_far_apart_ids() -> None:
    prediction = np.array([[4_000_000_000, 3, 3, -1]])
    table = contingency(prediction, np.array([[8, 8, 65535, 8]]), 65535)
    assert table.segments.tolist() == [4_000_000_000, 3]
    assert table.overlap.tolist() == [[1], [1]]
    assert (table.ignored.tolist(), table.region_pixels.tolist()) == ([0, 1], [3])


def test_grid_labels() -> None:
    labels = grid_labels(8, 10)
    assert labels.dtype == np.int32
    assert labels[:, 0].tolist() == [0, 0, 5, 5, 10, 10, 15, 15]
    assert labels[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert np.bincount(grid_labels(321, 481).ravel()).min() > 0


def test_boundary_f_by_hand() -> None:
    columns = np.arange(20)[None].repeat(20, 0)
    truth = (columns >= 10).astype(int)
    assert boundary_f(truth + 4, truth) == 1
    shifted = (columns >= 13).astype(int)
    # The diagonal is 28.3: three pixels are 0.106 of it.
    assert boundary_f(shifted, truth, tolerance=0.1) == 0
    assert boundary_f(shifted, truth, tolerance=0.11) == 1
    # Two predicted lines, one of them right: precision 1/2, recall 1.
    two = truth + (columns >= 17)
    assert boundary_f(two, truth) == pytest.approx(2 * 0.5 * 1 / 1.5)
    # The upper half of the line, 10 + 1 pixels within a pixel of it: precision 1, recall 11/20;
    # the corner adds a horizontal line of 9 pixels that is wrong but for its end.
    half = np.where(np.arange(20)[:, None] < 10, truth, 1)
    edge_pixels, right = 10 + 10 - 1, 10 + 1
    precision, recall = right / edge_pixels, 11 / 20
    assert boundary_f(half, truth) == pytest.approx(
        2 * precision * recall / (precision + recall))


def test_boundary_f_without_outlines() -> None:
    flat, split = np.zeros((9, 9), int), np.eye(9, dtype=int)
    assert boundary_f(flat, flat) == 1
    assert boundary_f(flat, split) == boundary_f(split, flat) == 0


def test_boundary_f_does_not_judge_borders_of_ignored_truth() -> None:
    truth = np.zeros((30, 30), int)
    truth[:, 20:] = 1
    truth[:, :8] = 255
    prediction = np.zeros((30, 30), int)
    prediction[:, 20:] = 1
    prediction[:, :8] = 2
    prediction[:4, :4] = 3
    assert boundary_f(prediction, truth, ignored=255) == 1
    assert boundary_f(prediction, truth) < 1


@given(IMAGES, IMAGES, strategies.permutations(range(5)), strategies.permutations(range(5)))
def test_numbers_of_segments_and_regions_do_not_matter(
        prediction: np.ndarray, truth: np.ndarray, names: list[int], others: list[int]) -> None:
    renamed = np.array(names)[prediction] * 1000
    assert region_miou(renamed, np.array(others)[truth]) == region_miou(prediction, truth)
    for settings in ({'classes': 7}, {'classes': 7, 'background': 2}, {}):
        reports = [report_of((labels, truth), **settings)
                   for labels in (prediction, renamed)]
        assert reports[0] == reports[1]


@given(IMAGES, strategies.sampled_from([None, 0, 3]))
def test_perfect_prediction_scores_one(truth: np.ndarray, background: int | None) -> None:
    prediction = truth + 10
    for class_count in (None, 5):
        report = report_of((prediction, truth), classes=class_count, ignored=4,
                           background=background)
        scored = (truth != 4).any()
        assert report['miou'] == report['pixel_accuracy'] == (1 if scored else None)
        assert report['boundary_f'] == 1


@given(IMAGES, arrays(np.float64, (6, 7), elements=strategies.floats(0, 1)),
       strategies.floats(0, 1), strategies.floats(0, 1))
def test_erasing_right_pixels_lowers_the_score(truth: np.ndarray, order: np.ndarray,
                                               some: float, more: float) -> None:
    few, many = sorted((some, more))
    scores = [region_miou(np.where(order < level, -1, truth), truth) for level in (few, many)]
    assert scores[0] >= scores[1]


@given(arrays(np.int32, (3, 4), elements=strategies.integers(0, 3)),
       arrays(np.int32, (3, 4), elements=strategies.integers(0, 3)))
def test_accuracy_is_that_of_the_best_assignment(prediction: np.ndarray,
                                                 truth: np.ndarray) -> None:
    best = max(np.isin(np.array(names)[prediction] - truth, [0]).sum()
               for names in permutations(range(4)))
    report = report_of((prediction, truth))
    assert report['pixel_accuracy'] == pytest.approx(best / truth.size)
