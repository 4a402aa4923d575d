"""The short form of the tracking soak."""

from pathlib import Path
import sys

from diffseg_ros.types import Track, TrackState
import pytest

sys.path.append(str(Path(__file__).parents[1] / 'soak'))
from tracking_soak import judge, Record, soak  # noqa: E402


@pytest.mark.slow
def test_tracker_neither_slows_down_nor_grows():
    # So short a run on a busy machine says little of a fifth; it sees what grows every frame.
    report = judge(soak(600), slower=2.0)
    assert report['problems'] == []
    assert report['tracks_started'] > 40 and report['most_awake'] >= 10


def record(*, slows=0.0, grows=0.0, asleep=3):
    frames = range(100)
    return Record([5 + slows * frame for frame in frames],
                  [100 + grows * frame for frame in frames], [20] * 100, [asleep] * 100)


@pytest.mark.parametrize(('seen', 'problem'), [
    (record(), ''),
    (record(slows=0.1), 'p95 of a step rose'),
    (record(grows=0.1), 'memory grew'),
    (record(asleep=300), '300 of them asleep')])
def test_problems_are_seen(seen, problem):
    problems = judge(seen)['problems']
    assert len(problems) == bool(problem)
    assert problem in ''.join(problems)


def test_an_id_that_was_gone_before_is_used_twice():
    tracks = tuple(Track(one, TrackState.CONFIRMED, 9, 0, 50) for one in (3, 4, 9))
    seen = Record()
    assert seen.note(1.0, tracks, {4}, 9) == {3, 4, 9}
    for _ in range(3):
        seen.note(1.0, tracks, {3, 4, 9}, 10)
    assert seen.used_twice == 1 and 'used twice' in judge(seen)['problems'][0]
