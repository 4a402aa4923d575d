"""Comparisons of replays whose differences are known."""

from pathlib import Path

from diffseg_ros.comparison.comparison import compare_folders, FIGURES
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
from replay_files import strips, write_replay


def changes(comparison):
    """Return what happened, by old and new id."""
    return {tuple(side.id if side else None for side in (track.old, track.new)): track.changes
            for track in comparison.tracks}


def test_other_numbers_of_the_same_things_are_no_change(tmp_path):
    frames = {number: strips(30, 50, 20, ids=(1, 2, 3)) for number in range(4)}
    other = {number: strips(30, 50, 20, ids=(9, 4, 1)) for number in range(4)}
    old = write_replay(tmp_path / 'old', frames, total_ms=50.0)
    new = write_replay(tmp_path / 'new', other, total_ms=60.0)
    comparison = compare_folders(new, old)
    assert comparison.figures == {**dict.fromkeys(FIGURES, 0), 'names_changed': None,
                                  'seconds_ratio': 1.2}
    assert changes(comparison) == {(1, 9): (), (2, 4): (), (3, 1): ()}
    assert comparison.name == 'drive'


def test_every_kind_of_change_is_found_and_the_worst_stands_first(tmp_path):
    # 1 is cut in two, 2 and 3 become one, 4 goes, 6 comes, 5 keeps its pixels.
    old = write_replay(tmp_path / 'old', dict.fromkeys(
        range(2), strips(40, 12, 8, 20, 10, 10, ids=(1, 2, 3, 4, 5, -1))))
    new = write_replay(tmp_path / 'new', dict.fromkeys(
        range(2), strips(24, 16, 20, 20, 10, 10, ids=(1, 11, 2, -1, 5, 6))))
    comparison = compare_folders(new, old)
    assert changes(comparison) == {
        (1, 1): ('fragmented',), (2, 2): ('merged',), (3, None): ('lost',), (4, None): ('lost',),
        (5, 5): (), (None, 6): ('gained',), (None, 11): ('gained',)}
    by_id = {track.old.id: track for track in comparison.tracks if track.old}
    assert by_id[1].pieces == (1, 11) and by_id[1].kept == 0.6
    assert by_id[2].parts == (2, 3) and by_id[2].kept == 1.0
    moved = [track.moved_pixels for track in comparison.tracks]
    assert moved == sorted(moved, reverse=True)
    assert moved[0] == 20 * 20 * 2 and moved[-1] == 0
    # 16 columns of 1, 8 of 3, 20 of 4 and 10 without a label before.
    assert comparison.figures['moved_share_mean'] == pytest.approx(0.54)
    figures = [comparison.figures[f'tracks_{name}']
               for name in ('lost', 'gained', 'fragmented', 'merged')]
    assert figures == [2, 2, 1, 1]


def test_ids_that_change_over_time_move_pixels_in_their_frames_only(tmp_path):
    same = strips(50, 50, ids=(1, 2))
    old = write_replay(tmp_path / 'old', dict.fromkeys(range(10), same))
    swapped = {number: strips(50, 50, ids=(1, 3 if number >= 7 else 2)) for number in range(10)}
    comparison = compare_folders(write_replay(tmp_path / 'new', swapped), old)
    assert comparison.moved == [0.0] * 7 + [0.5] * 3
    assert comparison.figures['moved_share_worst'] == 0.5
    track, = (track for track in comparison.tracks if track.old and track.old.id == 2)
    assert track.changes == ('fragmented',) and track.pieces == (2, 3)
    assert track.new and track.new.spans == ((0, 6),) and track.old.spans == ((0, 9),)


def test_frames_of_one_replay_only_are_counted_and_change_no_track(tmp_path):
    labels = strips(50, 50, ids=(1, 2))
    late = {**dict.fromkeys(range(4), labels), 8: strips(50, 50, ids=(1, 7))}
    old = write_replay(tmp_path / 'old', late)
    new = write_replay(tmp_path / 'new', dict.fromkeys((1, 2, 3, 4), labels))
    comparison = compare_folders(new, old)
    assert comparison.frames == [1, 2, 3]
    assert (comparison.frames_lost, comparison.frames_gained) == ([0, 8], [4])
    assert comparison.figures['frames_lost'] == 2 and comparison.figures['frames_gained'] == 1
    assert comparison.figures['tracks_lost'] == 0 and changes(comparison)[7, None] == ()
    assert comparison.in_view == [2, 2, 2]


def test_names_are_compared_where_both_have_them(tmp_path):
    frames = {0: strips(30, 50, 20, ids=(1, 2, 3))}
    old = write_replay(tmp_path / 'old', frames, names={1: 'chair', 2: 'table'})
    new = write_replay(tmp_path / 'new', frames, names={1: 'chair', 2: 'desk', 3: 'cup'})
    comparison = compare_folders(new, old)
    assert comparison.figures['names_changed'] == 2
    assert changes(comparison) == {(1, 1): (), (2, 2): ('renamed',), (3, 3): ('renamed',)}
    nameless = write_replay(tmp_path / 'nameless', frames)
    assert compare_folders(nameless, old).figures['names_changed'] is None


def test_a_replay_by_itself_has_its_tracks_and_no_figures(tmp_path):
    new = write_replay(tmp_path / 'new', {0: strips(70, 30, ids=(1, 2)),
                                          5: strips(70, 30, ids=(4, -1))})
    comparison = compare_folders(new, None)
    assert comparison.old is None and comparison.figures == {}
    assert comparison.frames == [0, 5] and comparison.in_view == [2, 1]
    assert [track.new.id for track in comparison.tracks if track.new] == [1, 4, 2]
    assert comparison.name == 'new'


def _empty(old: Path) -> None:
    for path in (old / 'labels').iterdir():
        path.unlink()


def _other_frames(old: Path) -> None:
    (old / 'labels' / '000000.png').rename(old / 'labels' / '000001.png')


def _other_size(old: Path) -> None:
    write_replay(old, {0: strips(50, 40, ids=(1, 2))})


def _broken_label(old: Path) -> None:
    (old / 'labels' / '000000.png').write_bytes(b'no image')


def _broken_report(old: Path) -> None:
    (old / 'report.json').write_text('{"latency_ms": 3}')


def _broken_names(old: Path) -> None:
    (old / 'names.csv').write_text('number,word\n1,chair\n')


@pytest.mark.parametrize(('damage', 'words'), [
    (_empty, 'has no labels/NNNNNN.png'), (_other_frames, 'have no frame in common'),
    (_other_size, '100x20 and 90x20'), (_broken_label, 'no readable image'),
    (_broken_report, 'is no report of diffseg_replay'),
    (_broken_names, 'has no columns id and name')])
def test_what_cannot_be_compared_is_named(tmp_path, damage, words):
    frames = {0: strips(50, 50, ids=(1, 2))}
    old, new = (write_replay(tmp_path / name, frames) for name in ('old', 'new'))
    damage(old)
    with pytest.raises(DiffsegError, match=words) as refused:
        compare_folders(new, old)
    assert str(old) in str(refused.value)


def test_many_ids_need_no_large_table(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.arange(5000, dtype=np.int32).reshape(50, 100)
    old = write_replay(tmp_path / 'old', {0: np.repeat(labels, 2, axis=0)})
    numbers = generator.permutation(5000).astype(np.int32)
    new = write_replay(tmp_path / 'new', {0: np.repeat(numbers[labels], 2, axis=0)})
    comparison = compare_folders(new, old)
    assert comparison.figures['moved_share_mean'] == 0.0 and len(comparison.tracks) == 5000
