"""All measures together, those of others among them; the baseline tracker; reports and tables."""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.measure import MeasureSet, Observation
from diffseg_ros.evaluation.report import mean_report, relative_gain, Table
from diffseg_ros.evaluation.trackers import OverlapTracker
from diffseg_ros.registry import measures, register_measure
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest
from track_rows import row

KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'best_track_iou', 'flip_rate',
        'compared_share', 'voxel_agreement', 'id_switches', 'frames', 'tracks',
        'tracks_per_frame', 'largest_share', 'unlabelled_share'}
TRUTH_KEYS = {'stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'id_switches', 'best_track_iou'}
SPACE_KEYS = {'flip_rate', 'compared_share', 'voxel_agreement'}


def observation(labels: np.ndarray, truth: np.ndarray | None = None, *, space: bool = True,
                background: int | None = None) -> Observation:
    height, width = labels.shape
    frame = Frame(np.zeros((height, width, 3), np.uint8))
    if space:
        frame = Frame(frame.rgb, depth=np.full((height, width), 2, np.float32), pose=np.eye(4),
                      intrinsics=Intrinsics(width, height, 10.0, 10.0, 0.5, 1.5))
    return Observation(labels, frame, truth=truth, background=background)


@pytest.fixture
def red_share() -> Iterator[None]:
    """Register an example measure, as another package would."""
    @register_measure('red_share', commands=('tracks',))
    class RedShare:
        """Mean share of red in the images."""

        def __init__(self) -> None:
            self.reset()

        def reset(self) -> None:
            self._shares: list[float] = []

        def update(self, observation: Observation) -> None:
            assert observation.frame is not None
            self._shares.append(float(observation.frame.rgb[..., 0].mean()) / 255)

        def compute(self) -> dict[str, float | None]:
            return {'red_share': float(np.mean(self._shares)) if self._shares else None}

    yield
    del measures._entries['red_share']


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


def test_a_measure_of_another_package(red_share: None,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    scores = MeasureSet('tracks')
    table = Table({'tracks': ('tracks', '.0f')}, scores.compute(), name_width=8, width=9)
    scores.update(Observation(row(1), Frame(np.full((4, 4, 3), 51, np.uint8))))
    table.print_heading('')
    table.print_row('one', scores.compute())
    assert scores.compute()['red_share'] == pytest.approx(0.2)
    heading, values = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading[0] == 'tracks' and values[:2] == ['one', '1']
    assert values[1 + heading.index('red_share')] == '0.200'
    assert 'red_share' not in MeasureSet('masks').compute()


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
