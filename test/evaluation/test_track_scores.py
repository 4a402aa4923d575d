"""The report of a sequence, the yardstick, identity switches and the comparison."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.comparison import gains, mean_report
from diffseg_ros.evaluation.overlap_tracker import OverlapTracker
from diffseg_ros.evaluation.switches import Switch, SwitchAccumulator
from diffseg_ros.evaluation.track_scores import TrackScores
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest

KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'best_track_iou', 'flip_rate',
        'compared_share', 'voxel_agreement', 'id_switches', 'frames', 'tracks',
        'tracks_per_frame', 'largest_share', 'unlabelled_share'}
TRUTH_KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'id_switches'}
SPACE_KEYS = {'flip_rate', 'compared_share', 'voxel_agreement'}


def image(*ids: int) -> np.ndarray:
    """Return an image whose columns, four pixels each, carry the ids."""
    return np.array([ids], np.int32).repeat(4, axis=0)


def frame(width: int, *, space: bool = True) -> Frame:
    rgb = np.zeros((4, width, 3), np.uint8)
    if not space:
        return Frame(rgb)
    return Frame(rgb, depth=np.full((4, width), 2, np.float32),
                 intrinsics=Intrinsics(width, 4, 10.0, 10.0, 0.5, 1.5), pose=np.eye(4))


def test_report_of_everything() -> None:
    scores = TrackScores(background=0)
    for labels in (image(5, 6, 6), image(5, 6, -1), image(5, 7, 7)):
        scores.add(frame(3), labels, image(1, 0, 0).astype(np.uint16))
    report = scores.report()
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


def test_stq_is_the_geometric_mean() -> None:
    scores = TrackScores()
    for labels in (image(1, 2), image(2, 1)):
        scores.add(frame(2), labels, image(1, 2))
    report = scores.report()
    assert (report['sq'], report['aq']) == (1, pytest.approx(1 / 3))
    assert report['stq'] == pytest.approx((1 / 3) ** 0.5)
    assert report['id_switches'] == 2 and report['best_track_iou'] is None


def test_what_is_lacking_is_none() -> None:
    scores = TrackScores()
    scores.add(frame(2, space=False), image(1, 2))
    report = scores.report()
    assert set(report) == KEYS
    assert {key for key, value in report.items() if value is None} == (
        TRUTH_KEYS | SPACE_KEYS | {'best_track_iou'})
    scores = TrackScores()
    for _ in range(3):
        scores.add(frame(2), image(1, 2))
    report = scores.report()
    assert {report[key] for key in TRUTH_KEYS} == {None}
    assert [report[key] for key in ('flip_rate', 'compared_share', 'voxel_agreement')] == [0, 1, 1]


def test_a_new_epoch_and_a_missing_pose_break_the_chain() -> None:
    for interrupt in (lambda scores: scores.begin_epoch(),
                      lambda scores: scores.add(frame(2, space=False), image(1, 2))):
        scores = TrackScores()
        scores.add(frame(2), image(1, 2))
        interrupt(scores)
        scores.add(frame(2), image(3, 4))
        assert scores.report()['flip_rate'] is None


def test_truth_of_another_size() -> None:
    with pytest.raises(DiffsegError, match='differ in size'):
        TrackScores().add(frame(2), image(1, 2), image(1, 2, 3))


def test_switches() -> None:
    accumulator = SwitchAccumulator(background=0)
    for labels in (image(8, 5), image(8, -1), image(8, 6), image(9, 6), image(9, 5)):
        accumulator.add(labels, image(0, 1))
    # A frame without detection is no switch; what lies on the background does not count.
    assert accumulator.found == [Switch(2, 1, 5, 6), Switch(4, 1, 6, 5)]


def columns(*runs: tuple[int, int]) -> np.ndarray:
    """Return an image of runs of (columns, segment)."""
    return np.repeat([segment for _, segment in runs], [width for width, _ in runs])[
        None].repeat(2, axis=0).astype(np.int32)


def test_yardstick_follows_the_overlap() -> None:
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


def test_yardstick_joins_from_three_tenths_on() -> None:
    for width, expected in ((3, 1), (2, 2)):
        tracker = OverlapTracker()
        tracker.update(columns((10, 0), (3, -1)))
        labels = tracker.update(columns((width, 0), (13 - width, -1)))
        assert labels[0, 0] == expected and (labels[0, width:] == -1).all()
    tracker = OverlapTracker(first_id=50)
    assert (tracker.update(columns((4, -1))) == -1).all()
    assert tracker.update(columns((4, 7)))[0, 0] == 50
    assert tracker.update(columns((6, 7)))[0, 0] == 51


def test_comparison() -> None:
    low = {'stq': 0.2, 'aq': 0.1, 'idf1': 0.0, 'hota': None, 'best_track_iou': None,
           'voxel_agreement': 0.6, 'flip_rate': 0.12, 'frames': 3, 'tracks': 8}
    high = dict(low, stq=0.3, aq=0.2, idf1=0.4, voxel_agreement=0.9, flip_rate=0.03)
    found = gains(high, low)
    assert found == {'stq': pytest.approx(1.5), 'aq': 2, 'idf1': None, 'hota': None,
                     'best_track_iou': None, 'voxel_agreement': pytest.approx(1.5),
                     'flip_rate': pytest.approx(4)}
    assert gains(dict(low, flip_rate=0.0), low)['flip_rate'] is None
    mean = mean_report([low, dict(high, aq=None, tracks=4)])
    assert (mean['frames'], mean['tracks'], mean['aq'], mean['hota']) == (6, 6, 0.1, None)
    assert mean['stq'] == pytest.approx(0.25)


def test_latencies() -> None:
    latencies = Latencies()
    assert latencies.report() == {}
    for milliseconds in (1.0, 2.0, 9.0):
        latencies.add({'tracking': milliseconds})
    assert latencies.report() == {'tracking': {'p50': 2, 'p95': pytest.approx(8.3), 'mean': 4}}
