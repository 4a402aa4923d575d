"""What a worker makes of a recording: the files of a replay, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from types import SimpleNamespace

from diffseg_ros.cli.relabel import _job, _parser
from diffseg_ros.cli.relabel_job import RelabelJob
from diffseg_ros.cli.replay import main as replay
from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.copies import copy_folder
from diffseg_ros.fleet.index import Row
from diffseg_ros.fleet.parts import PartsInWork
from diffseg_ros.fleet.recordings import find_recordings, Part, Recording
from diffseg_ros.io.messages import typestore
from fleet_recordings import FRAMES, GOOD, write_box, write_recordings
import fsspec
import pytest
from rosbags.highlevel import AnyReader

ALWAYS_OTHER = {'.diffseg_manifest.jsonl', 'report.json', 'output.mcap', 'row.json',
                'tracks.parquet'}


def job(output: Path, *options: str) -> RelabelJob:
    output.mkdir(exist_ok=True)
    return _job(_parser().parse_args([
        'any', '--output', str(output), '--set', 'backbone.model=faulty', *options]))


def only(source: object) -> Recording:
    (recording,) = find_recordings([str(source)])
    return recording


def run(work: RelabelJob, recording: Recording) -> Row:
    return work.run(recording, 'node', lambda done, total: None)


def files(folder: Path) -> dict[str, bytes]:
    """Return the files that two replays of the same have in common, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and path.name not in ALWAYS_OTHER}


def messages(bag: Path) -> list[tuple[str, int, str]]:
    """Return what a bag holds; the bytes between the fields of a message may be any."""
    with AnyReader([bag], default_typestore=typestore()) as reader:
        return [(connection.topic, stamp, repr(reader.deserialize(data, connection.msgtype)))
                for connection, stamp, data in reader.messages()]


def test_one_worker_makes_of_each_what_a_replay_makes(tmp_path):
    write_recordings(tmp_path / 'in')
    work, told = job(tmp_path / 'out'), []
    for recording in find_recordings([str(tmp_path / 'in')]):
        row = work.run(recording, 'node', lambda *counts: told.append(counts))
        assert bool(row.error) == (recording.name not in GOOD)
        if not row.error:
            alone = tmp_path / f'alone_{recording.name}'
            assert replay([recording.address, '--output', str(alone),
                           '--set', 'backbone.model=faulty']) == 0
            again = tmp_path / 'out' / recording.name
            assert files(again) == files(alone) and len(files(again)) == 3 * FRAMES
            assert messages(again / 'output.mcap') == messages(alone / 'output.mcap')
    assert told == len(GOOD) * [(number, FRAMES) for number in range(1, FRAMES + 1)]
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(GOOD)


def test_what_was_changed_is_not_done(tmp_path):
    box = write_box(tmp_path / 'box')
    work = job(tmp_path / 'out')
    assert work.done(only(box)) is None
    row = run(work, only(box))
    assert job(tmp_path / 'out').done(only(box)) == row
    assert job(tmp_path / 'out', '--every', '2').done(only(box)) is None
    assert job(tmp_path / 'out', '--set', 'tracking.max_lost=3').done(only(box)) is None
    (box / 'times.txt').write_text('1\n2\n3\n')
    assert work.done(only(box)) is None
    changed = run(work, only(box))
    assert work.done(only(box)) == changed and changed.input_digest != row.input_digest
    assert replay([str(box), '--output', str(tmp_path / 'out' / 'box'), '--limit', '1',
                   '--set', 'backbone.model=faulty']) == 0
    assert work.done(only(box)) is None


def test_what_settings_name_is_found_and_looked_at_from_where_the_command_ran(
        tmp_path, monkeypatch):
    for name in ('here', 'there'):
        (tmp_path / name).mkdir()
    model = tmp_path / 'here' / 'model' / 'config.json'
    model.parent.mkdir()
    model.write_text('{}')
    monkeypatch.chdir(tmp_path / 'here')
    work = job(tmp_path / 'out', '--set', 'backbone.fuse=model')
    os.utime(model, (1, 1))
    again = job(tmp_path / 'out', '--set', 'backbone.fuse=model')
    assert again.settings_digest != work.settings_digest
    monkeypatch.chdir(tmp_path / 'there')  # as the worker of a cluster that was started there
    work.lock.write_text(work.run_id)
    work.check_machine()
    assert Path.cwd() == tmp_path / 'here'


def test_a_recording_that_fails_leaves_the_earlier_results(tmp_path):
    box, work = write_box(tmp_path / 'box'), job(tmp_path / 'out')
    run(work, only(box))
    before = files(tmp_path / 'out' / 'box')
    for image in (box / 'rgb').iterdir():
        image.write_bytes(b'no image')
    assert 'none of 3 frames' in run(work, only(box)).error
    assert files(tmp_path / 'out' / 'box') == before


def test_files_of_the_user_are_not_replaced(tmp_path):
    box, work = write_box(tmp_path / 'box'), job(tmp_path / 'out')
    run(work, only(box))
    work.check_place(only(box))
    (tmp_path / 'out' / 'box' / 'labels' / 'note.txt').write_text('mine')
    with pytest.raises(DiffsegError, match='note.txt'):
        work.check_place(only(box))
    (tmp_path / 'out' / 'box' / 'labels' / 'note.txt').unlink()
    other = write_box(tmp_path / 'other' / 'box')
    with pytest.raises(DiffsegError, match=f'holds the results of {box}.* {other} would replace'):
        work.check_place(only(other))


@pytest.mark.parametrize('alive', [True, False])
def test_only_the_loss_of_the_node_is_a_reason_to_try_again(tmp_path, monkeypatch, alive):
    box, work = write_box(tmp_path / 'box'), job(tmp_path / 'out')
    assert work.again(only(box), 'node', lambda node: True) is None
    note = tmp_path / 'out' / f'.box.{work.run_id}.attempt'
    note.write_text('lost\n')
    (tmp_path / 'out' / f'.box.{work.run_id}.partial' / 'labels').mkdir(parents=True)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    copy = tmp_path / 'temporary' / f'diffseg_{work.run_id}.box'  # as of a recording of a store
    copy.mkdir(parents=True)
    row = work.again(only(box), 'node', lambda node: alive)
    assert (row is not None and 'without a word' in row.error) == alive
    assert not list((tmp_path / 'out').iterdir()) and not copy.exists()


def test_a_recording_beside_parts_of_another_is_not_mistaken_for_one(tmp_path):
    work, recording = job(tmp_path / 'out'), only(write_box(tmp_path / 'a'))
    part = replace(recording, part=Part(1, 0, 1, 3))
    found = []

    def tick(done, total):
        found.append(work.again(part, 'node', lambda node: True) or run(work, part))

    row = work.run(only(write_box(tmp_path / 'a.part1')), 'node', tick)
    assert [one.error for one in [row, *found]] == ['', '', '', '']


def test_a_recording_that_nothing_can_be_written_of_does_not_end_the_worker(tmp_path):
    work, box = job(tmp_path / 'out'), only(write_box(tmp_path / 'box'))
    row = run(work, replace(box, name='x' * 240))
    assert 'File name too long' in row.error


def test_files_that_the_user_adds_during_a_run_stay(tmp_path):
    box, work = write_box(tmp_path / 'box'), job(tmp_path / 'out')
    run(work, only(box))
    note = tmp_path / 'out' / 'box' / 'note.txt'
    row = work.run(only(box), 'node', lambda *tick: note.write_text('mine'))
    assert 'note.txt' in row.error and note.read_text() == 'mine'


def test_a_machine_with_another_folder_at_the_path_is_told(tmp_path):
    work = job(tmp_path / 'out')
    for content in (None, 'of another run'):
        if content:
            work.lock.write_text(content)
        with pytest.raises(DiffsegError, match=f'--output {tmp_path}/out: .* name a folder that'):
            work.check_machine()
    work.lock.write_text(work.run_id)
    work.check_machine()


def test_copies_of_workers_that_ended_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    program = ('import sys, time; from pathlib import Path\n'
               'from diffseg_ros.fleet.copies import held_folder\n'
               'with held_folder(Path(sys.argv[1])): print(flush=True); time.sleep(60)')
    copies = [copy_folder('0123456789ab', name) for name in ('ended', 'at_work')]
    workers = [subprocess.Popen([sys.executable, '-c', program, str(copy)],
                                stdout=subprocess.PIPE) for copy in copies]
    (tmp_path / 'diffseg_mine').mkdir()
    try:
        for worker in workers:
            worker.stdout.readline()
        workers[0].kill()
        workers[0].wait()
        job(tmp_path / 'out').remove_left_over()
        assert [copy.exists() for copy in copies] == [False, True]
        assert (tmp_path / 'diffseg_mine').exists()
    finally:
        workers[1].kill()
        for worker in workers:
            worker.communicate()


def test_what_a_killed_run_left_is_removed(tmp_path):
    work = job(tmp_path / 'out')
    for name in ('.a.0123456789ab.partial/labels', '.a.0123456789ab.1.attempt',
                 '.a.0123456789ab.old/old', '.b.0123456789ab.old/old', '.git', 'a'):
        (tmp_path / 'out' / name).mkdir(parents=True)
    (tmp_path / 'out' / '.a.0123456789ab.attempt').write_text('')
    work.remove_left_over()
    # The earlier results of b were moved away, but the new ones not yet to their place.
    assert sorted(os.listdir(tmp_path / 'out')) == ['.git', 'a', 'b']
    assert os.listdir(tmp_path / 'out' / 'b') == ['old'] and not os.listdir(tmp_path / 'out' / 'a')


def test_a_store_gives_the_same(tmp_path, s3):
    box = write_box(tmp_path / 'box')
    store, root = fsspec.core.url_to_fs(s3)
    store.put(str(box), f'{root}/box', recursive=True)
    row = run(job(tmp_path / 'local'), only(box))
    stored = run(job(tmp_path / 'stored'), only(f'{s3}/box'))
    assert not stored.error and stored.source == f'{s3}/box'
    assert files(tmp_path / 'stored' / 'box') == files(tmp_path / 'local' / 'box')
    same = {'source': '', 'input_digest': '', 'seconds': 0.0}
    assert replace(stored, **same) == replace(row, **same)


@pytest.mark.parametrize('readable', [FRAMES, FRAMES - 1])
def test_a_long_recording_in_parts_gives_the_labels_of_one_piece(tmp_path, readable):
    box = write_box(tmp_path / 'box')
    if readable < FRAMES:  # all of the first part
        (box / 'rgb' / '000000.png').write_bytes(b'no image')
    quick = '--set', 'tracking.keyframe_interval=1', '--set', 'tracking.confirm_after=1'
    work = job(tmp_path / 'out', *quick, '--split-minutes', '0.001')
    first, second = work.tasks(only(box))
    assert (first.part, second.part) == (Part(0, 0, 0, 1), Part(1, 0, 1, 3))
    parts = PartsInWork([first, second])
    told = []
    rows = [work.run(task, 'node', lambda *tick: told.append(tick)) for task in (second, first)]
    assert told == [(1, 3), (2, 3), (3, 3), (1, 1)]
    assert parts.add(rows[0]) is None
    row = work.run(parts.add(rows[1]), 'node', lambda *tick: told.append(tick))
    assert not row.error and (row.frames, row.failed) == (readable, FRAMES - readable)
    assert row.seconds > 0 and len(told) == 4
    join = replace(first, part=None, parts=(first.part, second.part))
    assert work.again(join, 'node', lambda node: False) == row  # the machine was lost just then
    whole = job(tmp_path / 'whole', *quick)
    assert whole.settings_digest != work.settings_digest
    assert whole.tasks(only(box)) == [only(box)]
    assert run(whole, only(box)).tracks == row.tracks > 0
    assert files(tmp_path / 'out' / 'box') == files(tmp_path / 'whole' / 'box')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['box']


@pytest.mark.parametrize(('options', 'ends'), [
    ([], [1800, 3600]), (['--every', '2'], [900, 1800]), (['--limit', '900'], [])])
def test_parts_take_the_minutes_asked_for(tmp_path, monkeypatch, options, ends):
    recording = Recording('long', '/long', 'digest', True)
    source = SimpleNamespace(frame_count=3600, seconds=120.0)
    monkeypatch.setattr(RelabelJob, '_open', lambda *_: source)
    work = job(tmp_path / 'out', '--split-minutes', '1', *options)
    assert [task.part.end for task in work.tasks(recording) if task.part] == ends
    stored = replace(recording, local=False)
    assert work.tasks(stored) == [stored]


def test_what_cannot_be_opened_is_not_split(tmp_path, monkeypatch):
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(b'no bag')
    work = job(tmp_path / 'out', '--split-minutes', '1')
    assert work.tasks(only(broken)) == [only(broken)]
    assert work.run(only(broken), 'node', lambda *tick: None).error
    monkeypatch.setattr(RelabelJob, '_open', None)  # whatever fails
    assert work.tasks(only(broken)) == [only(broken)]
