"""Replays of many recordings are compared by their place below two folders."""

from diffseg_ros.comparison.many import compare_trees
from diffseg_ros.errors import DiffsegError
import pytest
from replay_files import strips, write_replay


def test_recordings_are_paired_by_their_place(tmp_path):
    one, other = (dict.fromkeys(range(3), strips(60, 40, ids=ids)) for ids in ((1, 2), (1, -1)))
    for name in ('day/one', 'day/two', 'gone', 'broken'):
        write_replay(tmp_path / 'old' / name, one)
    for name, frames in (('day/one', other), ('day/two', one), ('broken', one), ('fresh', one)):
        write_replay(tmp_path / 'new' / name, frames)
    (tmp_path / 'new' / 'broken' / 'labels' / '000001.png').write_bytes(b'')
    comparisons, notes, failures = compare_trees(tmp_path / 'new', tmp_path / 'old')
    assert [(item.name, item.figures['tracks_lost']) for item in comparisons] == [
        ('day/one', 1), ('day/two', 0)]
    assert notes == [f'1 recordings are only in {tmp_path / "old"}: gone',
                     f'1 recordings are only in {tmp_path / "new"}: fresh']
    (failure,) = failures
    assert failure.startswith('broken is not compared: ') and '000001.png' in failure


def test_nothing_in_common_is_refused(tmp_path):
    write_replay(tmp_path / 'old' / 'one', {0: strips(60, 40, ids=(1, 2))})
    with pytest.raises(DiffsegError, match='no recording in common'):
        compare_trees(tmp_path / 'new', tmp_path / 'old')
