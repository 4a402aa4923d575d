"""STQ, IDF1, HOTA and identity switches against sequences computed by hand."""

from __future__ import annotations

from diffseg_ros.evaluation.measure import Observation
from diffseg_ros.evaluation.tracks import (
    Hota,
    Idf1,
    IdSwitch,
    IdSwitches,
    SegmentationTrackingQuality,
)
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest
from track_rows import measured, row

SEQUENCES = strategies.lists(arrays(np.int32, (4, 4), elements=strategies.integers(0, 3)),
                             min_size=1, max_size=4)


def idf1(predictions: list, truths: list, background: int | None = None) -> float | None:
    return measured(Idf1, predictions, truths, background)['idf1']


def hota(predictions: list, truths: list, background: int | None = None) -> float | None:
    return measured(Hota, predictions, truths, background)['hota']


@pytest.mark.parametrize(('predictions', 'truths', 'score'), [
    ([row(20, 10)] * 3, [row(1, 2)] * 3, 1),
    # Swapped halfway: two objects in four frames; each id is right in two: IDTP 4.
    ([row(1, 2)] * 2 + [row(2, 1)] * 2, [row(1, 2)] * 4, 2 * 4 / (8 + 8)),
    # A new id for the last frame: the longest piece counts, IDTP 3; 9 is on ignored truth.
    ([row(5, 9)] * 3 + [row(6, 9)], [row(1, 65535)] * 4, 2 * 3 / (4 + 4)),
    # Object 1 becomes object 2; the prediction keeps its id: IDTP 2.
    ([row(7)] * 4, [row(1)] * 2 + [row(2)] * 2, 4 / 8),
    # The assignment is global: 7 covers object 1 three times and object 2 twice, 8 covers
    # object 1 twice: 7 to 2 and 8 to 1 gives 4, 7 to 1 alone gives 3.
    ([row(7)] * 3 + [row(8)] * 2 + [row(7)] * 2, [row(1)] * 5 + [row(2)] * 2, 2 * 4 / (7 + 7)),
    # Missed once: 4 objects, 3 segments.
    ([row(3, -1)] * 3 + [row(-1, -1)], [row(1, 65535)] * 4, 2 * 3 / (4 + 3)),
    # 4 splits the object and stays below IoU 1/2: 4 objects, 5 segments, IDTP 4.
    ([row(3, 3, 3)] * 3 + [row(3, 3, 4)], [row(1, 1, 1)] * 4, 2 * 4 / (4 + 5)),
    # IoU 1/2 is a detection, 1/3 is not.
    ([row(3, -1)], [row(1, 1)], 1),
    ([row(3, -1, -1)], [row(1, 1, 1)], 0),
])
def test_idf1(predictions: list, truths: list, score: float) -> None:
    assert idf1(predictions, truths) == pytest.approx(score)


def test_background_is_no_object_for_idf1() -> None:
    truth = [row(0, 0, 1)] * 2
    # 8 and 9 lie on the background; the truth does not say what is there.
    assert idf1([row(8, 9, 5)] * 2, truth, background=0) == 1
    # With the background as an object 8 and 9 have IoU 1/2 with it: IDTP 2 + 2, 6 segments.
    assert idf1([row(8, 9, 5)] * 2, truth) == pytest.approx(2 * 4 / (4 + 6))
    # A segment over background and object has IoU 1/3 and lies mostly on the background.
    assert idf1([row(5, 5, 5)] * 2, truth, background=0) == 0
    # 5 lies by exactly half on the background: it counts. 6 has IoU 3/4.
    assert idf1([row(5, 5, 6, 6, 6)], [row(0, 1, 1, 1, 1)], background=0) == pytest.approx(
        2 * 1 / (1 + 2))
    assert idf1([row(-1, -1, -1)] * 2, [row(0, 0, 0)] * 2, background=0) is None


@given(SEQUENCES, strategies.permutations(range(4)))
def test_only_consistency_of_ids_counts(truths: list[np.ndarray], names: list[int]) -> None:
    renamed = [np.array(names)[truth] for truth in truths]
    assert idf1(renamed, truths) == 1 and hota(renamed, truths) == pytest.approx(1)
    changing = [truth + 100 * number for number, truth in enumerate(truths)]
    ids, frames = np.unique([item for truth in truths for item in np.unique(truth)],
                            return_counts=True)
    # An id that changes every frame is right once per object.
    assert idf1(changing, truths) == pytest.approx(len(ids) / frames.sum())
    shifted = [np.roll(truth, 1) for truth in truths]
    assert hota([np.array(names)[image] for image in shifted], truths) == pytest.approx(
        hota(shifted, truths))


# HOTA's 19 thresholds are 0.05 to 0.95.
@pytest.mark.parametrize(('predictions', 'truths', 'score'), [
    ([row(20, 10)] * 3, [row(1, 2)] * 3, 1),
    # Swapped halfway: DetA 1; each match has TPA 2, FPA 2, FNA 2.
    ([row(1, 2)] * 2 + [row(2, 1)] * 2, [row(1, 2)] * 4, (1 / 3) ** 0.5),
    # IoU 1/2 counts at 0.05 to 0.5.
    ([row(3, -1)], [row(1, 1)], 10 / 19),
    # Split: IoU 2/3 counts at 13 thresholds, with a false positive: DetA 1/2, AssA 1.
    ([row(3, 3, 4)], [row(1, 1, 1)], 13 / 19 * 0.5 ** 0.5),
    # Merged: one of two objects is matched, IoU 1/2: DetA 1/2, AssA 1.
    ([row(7, 7)], [row(1, 2)], 10 / 19 * 0.5 ** 0.5),
    # Missed once: DetA 1/2; TPA 1, FNA 1.
    ([row(3), row(-1)], [row(1), row(1)], 0.5),
    # A new id in each of two frames: DetA 1; TPA 1, FNA 1.
    ([row(3), row(4)], [row(1), row(1)], 0.5 ** 0.5),
    ([row(-1)], [row(1)], 0),
    # In the first frame 3 and 4 cover half of the object each; the alignment over the sequence
    # keeps 3 with it. At IoU up to 1/2: TP 4, FP 1, all of 3. Above: TP 3, FN 1, FP 2.
    ([row(4, 3)] + [row(3, 3)] * 3, [row(1, 1)] * 4,
     (10 * (4 / 5) ** 0.5 + 9 * (3 / 6 * 3 / (4 + 4 - 3)) ** 0.5) / 19),
])
def test_hota(predictions: list, truths: list, score: float) -> None:
    assert hota(predictions, truths) == pytest.approx(score)


def test_hota_of_background_and_ignored_truth() -> None:
    assert hota([row(8, 9, 5)] * 2, [row(0, 0, 1)] * 2, background=0) == 1
    assert hota([row(8, 5)] * 2, [row(65535, 1)] * 2) == 1
    assert hota([row(-1)], [row(0)], background=0) is None


@pytest.mark.parametrize(('predictions', 'truths', 'quality'), [
    ([row(20, 10)] * 3, [row(1, 2)] * 3, 1),
    # Swapped halfway: each track shares 8 of 16 pixels with each object, IoU 8 / 24.
    ([row(1, 2)] * 2 + [row(2, 1)] * 2, [row(1, 2)] * 4, 1 / 3),
    # A new id for the last of four frames: (12 * 12/16 + 4 * 4/16) / 16.
    ([row(5)] * 3 + [row(6)], [row(1)] * 4, 0.625),
    # Split: two tracks hold half of the object each. Merged: one track is twice the object.
    ([row(5, 6)], [row(1, 1)], 0.5),
    ([row(7, 7)], [row(1, 2)], 0.5),
    # Half of the object is unlabelled: 4 * 4/8 / 8.
    ([row(5, -1)], [row(1, 1)], 0.25),
    ([row(-1, -1)], [row(1, 1)], 0),
    # Ignored pixels belong to no tube.
    ([row(5, 5)], [row(1, 65535)], 1),
])
def test_association_quality(predictions: list, truths: list, quality: float) -> None:
    report = measured(SegmentationTrackingQuality, predictions, truths)
    assert report['aq'] == pytest.approx(quality)
    assert report['stq'] == pytest.approx((report['sq'] * quality) ** 0.5)


def test_background_is_no_object_but_lowers_the_track_that_claims_it() -> None:
    found = measured(SegmentationTrackingQuality, [row(5, 5)], [row(0, 1)], background=0)
    assert found['aq'] == pytest.approx(4 / 8)
    assert measured(SegmentationTrackingQuality, [row(5)], [row(0)], background=0)['aq'] is None


def test_best_track_of_a_single_object() -> None:
    def best(predictions: list, truths: list, background: int | None = None) -> float | None:
        return measured(SegmentationTrackingQuality, predictions, truths,
                        background)['best_track_iou']

    predictions = [row(8, 5), row(8, 5), row(5, 6)]
    # 5 holds 8 of the object's 12 pixels and 4 elsewhere; 6 holds 4.
    assert best(predictions, [row(0, 1)] * 3, background=0) == pytest.approx(8 / 16)
    assert best(predictions, [row(2, 1)] * 3, background=0) is None
    assert best([row(-1)], [row(1)]) == 0
    assert best([], []) is None


def test_identity_switches() -> None:
    measure = IdSwitches()
    assert measure.compute() == {'id_switches': None}
    for labels in (row(8, 5), row(8, -1), row(8, 6), row(9, 6), row(9, 5)):
        measure.update(Observation(labels, truth=row(0, 1), background=0))
    # A frame without detection is no switch; what lies on the background does not count.
    assert measure.found == [(2, 5, 6), (4, 6, 5)]
    assert measure.compute() == {'id_switches': 2}
