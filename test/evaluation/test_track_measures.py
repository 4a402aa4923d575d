"""Measures of tracks by hand, alone and together; the baseline tracker; reports and tables."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.measure import Measure, MeasureSet, Observation
from diffseg_ros.evaluation.report import mean_report, relative_gain, Table
from diffseg_ros.evaluation.trackers import OverlapTracker
from diffseg_ros.evaluation.tracks import Hota, Idf1, IdSwitches, SegmentationTrackingQuality
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'best_track_iou', 'flip_rate',
        'compared_share', 'voxel_agreement', 'id_switches', 'frames', 'tracks',
        'tracks_per_frame', 'largest_share', 'unlabelled_share'}
TRUTH_KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'id_switches', 'best_track_iou'}
SPACE_KEYS = {'flip_rate', 'compared_share', 'voxel_agreement'}
SEQUENCES = strategies.lists(arrays(np.int32, (4, 4), elements=strategies.integers(0, 3)),
                             min_size=1, max_size=4)


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


def observation(labels: np.ndarray, truth: np.ndarray | None = None, *, space: bool = True,
                background: int | None = None) -> Observation:
    height, width = labels.shape
    frame = Frame(np.zeros((height, width, 3), np.uint8))
    if space:
        frame = Frame(frame.rgb, depth=np.full((height, width), 2, np.float32), pose=np.eye(4),
                      intrinsics=Intrinsics(width, height, 10.0, 10.0, 0.5, 1.5))
    return Observation(labels, frame, truth=truth, background=background)


def test_values_of_a_whole_sequence() -> None:
    scores = MeasureSet('tracks')
    for labels in (row(5, 6, 6), row(5, 6, -1), row(5, 7, 7)):
        scores.update(observation(labels, row(1, 0, 0).astype(np.uint16), background=0))
    report = scores.compute()
    assert set(report) == KEYS
    assert {key: report[key] for key in ('sq', 'miou', 'aq', 'stq', 'best_track_iou', 'hota',
                                         'idf1', 'frames', 'tracks', 'id_switches')} == {
        'sq': 1, 'miou': 1, 'aq': 1, 'stq': 1, 'best_track_iou': 1, 'hota': 1, 'idf1': 1,
        'frames': 3, 'tracks': 3, 'id_switches': 0}
    assert report['tracks_per_frame'] == 2
    assert report['largest_share'] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    assert report['unlabelled_share'] == pytest.approx(1 / 9)
    # One column of three becomes unlabelled; then one turns from 6 to 7, one was unlabelled.
    assert report['flip_rate'] == pytest.approx(3 / 6)
    assert report['compared_share'] == 1


@pytest.mark.parametrize(('space', 'missing'), [(False, TRUTH_KEYS | SPACE_KEYS),
                                                (True, TRUTH_KEYS)])
def test_what_is_lacking_is_none(space: bool, missing: set[str]) -> None:
    scores = MeasureSet('tracks')
    for _ in range(3):
        scores.update(observation(row(1, 2), space=space))
    report = scores.compute()
    assert set(report) == KEYS
    assert {key for key, value in report.items() if value is None} == missing
    if space:
        assert [report[key] for key in ('flip_rate', 'compared_share', 'voxel_agreement')] == [
            0, 1, 1]


def test_truth_of_another_size() -> None:
    with pytest.raises(DiffsegError, match='differ in size'):
        MeasureSet('tracks').update(observation(row(1, 2), row(1, 2, 3)))


def test_table_with_a_column_for_every_measure(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table({'ms.mean': ('ms', '.0f')}, {'new': None, 'images': 0}, name_width=4, width=6)
    table.print_heading('')
    table.print_row('one', {'ms': {'mean': 7.2}, 'new': 0.25, 'images': 3})
    table.print_row('two', {})
    table.print_gain('gain', {'new': 1.5})
    assert capsys.readouterr().out.splitlines() == [
        '        ms   new', 'one      7 0.250', 'two      -     -', 'gain       x1.50']


def columns(*runs: tuple[int, int]) -> np.ndarray:
    """Return an image of runs of (columns, segment)."""
    return np.repeat([segment for _, segment in runs], [width for width, _ in runs])[
        None].repeat(2, axis=0).astype(np.int32)


def test_baseline_follows_the_overlap() -> None:
    tracker = OverlapTracker()
    assert tracker.update(columns((10, 0), (10, 1)))[0, [0, 19]].tolist() == [1, 2]
    # Other numbers, the same masks a little moved.
    moved = tracker.update(columns((8, 1), (12, 0)))
    assert moved[0, [0, 19]].tolist() == [1, 2]
    # Track 2 falls into parts with IoU 5/12 and 7/12: the larger one keeps the id.
    split = tracker.update(columns((8, 0), (5, 1), (7, 2)))
    assert split[0, [0, 9, 19]].tolist() == [1, 3, 2]
    tracker.reset()
    assert tracker.update(columns((20, 0)))[0, 0] == 4


def test_baseline_joins_from_three_tenths_on() -> None:
    for width, expected in ((3, 1), (2, 2)):
        tracker = OverlapTracker()
        tracker.update(columns((10, 0), (3, -1)))
        labels = tracker.update(columns((width, 0), (13 - width, -1)))
        assert labels[0, 0] == expected and (labels[0, width:] == -1).all()
    tracker = OverlapTracker()
    assert (tracker.update(columns((4, -1))) == -1).all()
    assert tracker.update(columns((4, 7)))[0, 0] == 1
    assert tracker.update(columns((6, 7)))[0, 0] == 2


def test_relative_gain_and_mean() -> None:
    low = {'stq': 0.2, 'aq': 0.1, 'idf1': 0.0, 'hota': None, 'best_track_iou': None,
           'voxel_agreement': 0.6, 'flip_rate': 0.12, 'frames': 3, 'tracks': 8, 'device': 'cpu'}
    high = dict(low, stq=0.3, aq=0.2, idf1=0.4, voxel_agreement=0.9, flip_rate=0.03)
    assert relative_gain(high, low) == {
        'stq': pytest.approx(1.5), 'aq': 2, 'idf1': None, 'hota': None, 'best_track_iou': None,
        'voxel_agreement': pytest.approx(1.5), 'flip_rate': pytest.approx(4)}
    assert relative_gain(dict(low, flip_rate=0.0), low)['flip_rate'] is None
    mean = mean_report([low, dict(high, aq=None, tracks=4)])
    assert (mean['frames'], mean['tracks'], mean['aq'], mean['hota']) == (6, 6, 0.1, None)
    assert mean['stq'] == pytest.approx(0.25) and 'device' not in mean


def test_latencies() -> None:
    latencies = Latencies()
    assert latencies.report() == {}
    for milliseconds in (1.0, 2.0, 9.0):
        latencies.add({'tracking': milliseconds})
    assert latencies.report() == {'tracking': {'p50': 2, 'p95': pytest.approx(8.3), 'mean': 4}}
