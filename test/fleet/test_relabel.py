"""diffseg_relabel over real workers: the labels of a replay, isolation, a killed run, refusals."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
import errno
import fcntl
from functools import cache
import json
import os
from pathlib import Path
import shutil
import signal
import time

from diffseg_ros.cli.relabel import _job, _parser
from diffseg_ros.cli.relabel import main as relabel
from diffseg_ros.cli.relabel_job import RelabelJob
from diffseg_ros.comparison.many import compare_trees
from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet import workers
from diffseg_ros.fleet.index import INDEX_SCHEMA, read_index, Row, write_index
from diffseg_ros.fleet.recordings import find_recordings
from diffseg_ros.io.images import write_image
from fleet_recordings import (
    BROKEN,
    command,
    ENDING,
    FRAMES,
    GOOD,
    write_box,
    write_ending,
    write_recordings,
)
import numpy as np
import pyarrow.parquet as pq
import pytest
from studies.fleet_faults import installed

IN_PARTS = ('--split-minutes', '0.001', '--set', 'tracking.keyframe_interval=1',
            '--set', 'tracking.confirm_after=1')


def wait_for(condition, process):
    """Return what the condition gives, as soon as that is true, while the process runs."""
    give_up = time.monotonic() + 600
    while not (found := condition()):
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.01)
    return found


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_recordings_do_not_harm_each_other(tmp_path, capsys):
    sources, ending = write_recordings(tmp_path / 'in'), write_ending(tmp_path / 'ending')
    output, plugins = tmp_path / 'out', tmp_path / 'plugins'
    arguments = ('relabel', plugins, sources, ending, '--output', output, '--continue-on-error',
                 '--timeout', '20', '--resume', '--json', tmp_path / 'report.json', *IN_PARTS)
    process = command(*arguments)
    done = wait_for(lambda: list(output.glob('[!.]*/row.json')), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    times = {path: path.stat().st_mtime_ns for path in done}

    process = command(*arguments)
    _, errors = process.communicate(timeout=600)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert process.returncode == 1 and report['failed'] == 4
    assert report['skipped'] >= len(done)
    assert times == {path: path.stat().st_mtime_ns for path in done}
    rows = read_index(output)
    assert sorted(rows) == sorted([*GOOD, *BROKEN, *ENDING])
    assert {name for name, row in rows.items() if not row.error} == set(GOOD)
    assert all((rows[name].frames, rows[name].failed) == (FRAMES, 0) for name in GOOD)
    for name, reason in {'cut_off.mcap': 'truncated', 'day__parts_missing': 'parts are missing',
                         'crash': 'Segmentation fault',
                         'hang': '--timeout 20 seconds; it was in act_out'}.items():
        assert reason in rows[name].error
        assert f'failed: {name}: {rows[name].error}' in errors
    left = {path.name for path in output.iterdir()}
    assert left == {*GOOD, 'index.parquet', 'tracks.parquet'}
    tracks = pq.read_table(output / 'tracks.parquet')
    assert set(tracks['recording'].to_pylist()) == set(GOOD)

    old = shutil.copytree(output, tmp_path / 'old')
    limits = tmp_path / 'limits.yaml'
    limits.write_text('moved_share_mean: 0.0')
    # All is done before, so that no worker is needed.
    assert relabel([*map(str, arguments[2:]), '--set', 'backbone.model=faulty', '--compare',
                    str(old), '--tolerances', str(limits)]) == 1
    assert 'moved_share_mean' not in capsys.readouterr().err
    compared = json.loads((output / 'compare.json').read_text())['recordings']
    assert {one['name'] for one in compared} == set(GOOD)
    assert (output / 'compare.html').exists()


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_whole(tmp_path):
    box, hang = write_box(tmp_path / 'box'), write_box(tmp_path / 'hang', ENDING['hang'])
    (tmp_path / 'broken.mcap').write_text('')
    output = tmp_path / 'out'
    process = command('relabel', tmp_path / 'plugins', box, hang, tmp_path / 'broken.mcap',
                      '--output', output, '--json', tmp_path / 'report.json',
                      '--continue-on-error', '--workers', 2)
    wait_for(lambda: list(output.glob('.hang.*.partial')) and (output / 'box').exists(), process)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    # Ray itself may note that it ends with tasks in work.
    assert process.returncode == 130
    (told,) = [line for line in errors.splitlines() if 'task_manager.cc' not in line]
    assert told.startswith('failed: broken.mcap: ')
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['stopped'] and report['failed'] == 1
    assert (report['labelled'], report['not_done']) == (1, 1)
    assert {path.name for path in output.iterdir()} == {'box', 'index.parquet', 'tracks.parquet'}
    assert list(read_index(output)) == ['box', 'broken.mcap']


@pytest.mark.slow
def test_a_machine_without_the_output_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv('RAY_ADDRESS', '127.0.0.1:1')  # without --address it is not for us
    process = command('relabel', tmp_path / 'plugins', write_box(tmp_path / 'box'), '--output',
                      tmp_path / 'out')
    wait_for(lambda: list(tmp_path.glob('out/.*.lock')), process)
    (tmp_path / 'out' / '.diffseg_relabel.lock').unlink()
    _, errors = process.communicate(timeout=600)
    (told,) = errors.splitlines()
    assert process.returncode == 2 and 'name a folder that all share' in told


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_for_workers_that_cannot_start(tmp_path):
    (installed(tmp_path / 'plugins') / 'sitecustomize.py').write_text(
        'import os, sys\n'
        'if any("default_worker" in word for word in sys.orig_argv): os._exit(1)\n')
    process = command('relabel', tmp_path / 'plugins', write_box(tmp_path / 'box'), '--output',
                      tmp_path / 'out')
    wait_for(lambda: list(tmp_path.glob('out/.*.lock')), process)
    time.sleep(8.0)  # Ray starts
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=600)
        assert process.returncode == 130 and not (tmp_path / 'out').exists()
    finally:
        process.kill()


def failed_before(folder: Path) -> tuple[list[str], list[Row]]:
    """Return arguments with which there is nothing to do, and what the index then has."""
    (folder / 'a.mcap').write_text('broken')
    arguments = [str(folder / 'a.mcap'), '--output', str(folder / 'out'), '--resume']
    (recording,) = find_recordings(arguments[:1])
    row = _job(_parser().parse_args(arguments)).blank_row(recording)
    return arguments, [replace(row, error='broken'),
                       replace(row, recording='b', source='/b', error='broken')]


def test_rows_of_a_run_that_just_ended_stay(tmp_path, monkeypatch):
    arguments, rows = failed_before(tmp_path)
    monkeypatch.setattr('diffseg_ros.cli.relabel.make_folder',
                        lambda path: write_index(path, rows))
    assert relabel(arguments) == 1
    assert list(read_index(tmp_path / 'out').values()) == rows


def test_a_second_run_is_refused_and_harms_nothing(tmp_path, capsys):
    arguments, rows = failed_before(tmp_path)
    write_index(tmp_path / 'out', rows)
    with (tmp_path / 'out' / '.diffseg_relabel.lock').open('w') as lock:
        lock.write('of the first')
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert relabel(arguments) == 2
    assert 'another diffseg_relabel writes there' in capsys.readouterr().err
    assert (tmp_path / 'out' / '.diffseg_relabel.lock').read_text() == 'of the first'


def test_a_disk_without_locks_is_no_second_run(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    arguments, rows = failed_before(tmp_path)
    write_index(tmp_path / 'out', rows)
    monkeypatch.setattr(fcntl, 'flock', flock)
    assert relabel(arguments) == 1
    assert 'would not be noticed' in capsys.readouterr().err


def test_a_recording_keeps_its_name_when_another_of_that_name_comes(tmp_path):
    arguments, rows = failed_before(tmp_path)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'a.mcap').write_text('broken too')
    arguments.insert(1, str(tmp_path / 'other'))
    other = next(one for one in find_recordings(arguments[:2]) if 'other' in one.address)
    assert other.name != 'a.mcap'
    rows[1] = replace(rows[0], recording=other.name, source=other.address,
                      input_digest=other.digest)
    write_index(tmp_path / 'out', rows)
    assert relabel(arguments) == 1  # both are done
    assert list(read_index(tmp_path / 'out').values()) == rows


def test_shares_are_in_the_steps_that_ray_takes():
    shares = [_parser().parse_args(['any', '--output', 'out', '--gpus', share]).gpus
              for share in ('0.3333333', '0.166667', '0.29', '2')]
    assert shares == [0.3333, 0.1666, 0.29, 2.0]


def test_workers_that_fit_nowhere_are_told(monkeypatch):
    monkeypatch.setattr(workers.ray, 'nodes',
                        lambda: [{'Alive': True, 'Resources': {'CPU': 2.0}}])
    monkeypatch.setattr(workers.ray, 'remote', None)
    assert workers._room(workers.Crew(cpus=0.1)) == 20
    fleet = workers.Fleet(workers.Crew(workers=1, gpus=1.0), None, 1)
    with pytest.raises(DiffsegError, match='--gpus 1: no node has as much'):
        next(fleet.rows(deque(), lambda: False))


class InProcess:
    """In place of a fleet: does the tasks here, one after the other; a list says what of each."""

    def __init__(self, crew, job, most):
        self._job = job

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def progress(self):
        return workers.Progress()

    def rows(self, left, stop):
        for act in self.acts:
            if act is None:
                yield None
                continue
            task = left.popleft()
            row = self._job.run(task, 'node', lambda *tick: None)
            yield act(task, row)
            self.after.append({path.name.split('.')[1] for path in
                               self._job.output.glob('.*.parts')})


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(workers, 'Fleet', InProcess)
    monkeypatch.setattr(InProcess, 'after', [], raising=False)
    return InProcess


def test_a_recording_that_is_whole_when_a_signal_comes_is_in_the_tables(
        tmp_path, monkeypatch, in_process):
    def interrupt(task, row):
        os.kill(os.getpid(), signal.SIGINT)
        return row

    monkeypatch.setattr(in_process, 'acts', [interrupt], raising=False)
    assert relabel([str(write_box(tmp_path / 'box')), str(write_box(tmp_path / 'crate')),
                    '--output', str(tmp_path / 'out'), '--set', 'backbone.model=faulty']) == 130
    assert list(read_index(tmp_path / 'out')) == ['box']


def test_parts_of_what_failed_do_not_stay(tmp_path, monkeypatch, in_process):
    def failed(task, row):
        return Row(*(getattr(row, name) for name in INDEX_SCHEMA.names[:6]), error='broken')

    monkeypatch.setattr(in_process, 'acts', [lambda task, row: row, failed], raising=False)
    assert relabel([str(write_box(tmp_path / 'box')), '--output', str(tmp_path / 'out'), *IN_PARTS,
                    '--set', 'backbone.model=faulty']) == 1
    assert in_process.after == [{'box'}, set()]


@pytest.mark.parametrize('begun', [0, 1])
def test_a_wait_for_workers_is_told_once(tmp_path, monkeypatch, capsys, in_process, begun):
    monkeypatch.setattr('diffseg_ros.cli.relabel._PATIENCE_SECONDS', 0.0)
    monkeypatch.setattr(in_process, 'acts', [None, None, lambda task, row: row], raising=False)
    monkeypatch.setattr(in_process, 'progress', lambda _: workers.Progress(begun=begun))
    assert relabel([str(write_box(tmp_path / 'box')), '--output', str(tmp_path / 'out'),
                    '--set', 'backbone.model=faulty']) == 0
    assert capsys.readouterr().err.count('no worker has begun yet') == 1 - begun


@pytest.mark.parametrize('folder', ['out', 'out/old', '.'])
def test_results_are_not_compared_with_themselves(tmp_path, capsys, folder):
    arguments, rows = failed_before(tmp_path)
    write_index(tmp_path / 'out', rows)
    (tmp_path / folder).mkdir(exist_ok=True)
    assert relabel([*arguments, '--compare', str(tmp_path / folder)]) == 2
    assert 'keep the older results elsewhere' in capsys.readouterr().err


def test_older_results_of_what_failed_are_not_compared(tmp_path):
    for name in ('a', 'b'):
        for folder in ('new', 'old'):
            write_image(tmp_path / folder / name / 'labels' / '000000.png',
                        np.zeros((4, 4), np.uint16))
    comparisons, notes, _ = compare_trees(tmp_path / 'new', tmp_path / 'old', {'b'})
    assert [one.name for one in comparisons] == ['a']
    assert notes == ['1 recordings were not labelled and are not compared: b']


def test_what_cannot_be_compared_is_beyond_any_tolerance(
        tmp_path, monkeypatch, capsys, in_process):
    monkeypatch.setattr(in_process, 'acts', [lambda task, row: row], raising=False)
    write_image(tmp_path / 'old' / 'box' / 'labels' / '000000.png', np.zeros((4, 4), np.uint16))
    arguments = [str(write_box(tmp_path / 'box')), '--output', str(tmp_path / 'out'), '--resume',
                 '--set', 'backbone.model=faulty', '--compare', str(tmp_path / 'old')]
    assert relabel(arguments) == 0
    (tmp_path / 'limits.yaml').write_text('moved_share_mean: 1.0')
    assert relabel([*arguments, '--tolerances', str(tmp_path / 'limits.yaml')]) == 1
    told = capsys.readouterr().err
    assert told.count('box is not compared: ') == 2 and '4x4 pixels' in told


@pytest.mark.parametrize(('options', 'word'), [
    (['--retry-failed'], '--retry-failed'),
    (['--set', 'memory.file=x'], 'memory.file'), (['--clouds', '-1'], '--clouds'),
    (['--cpus', '0'], '--cpus'), (['--set', 'backbone.model=nowhere'], 'nowhere'),
    (['--gpus', '1.5'], '--gpus 1.5'),
    (['--address', 'auto'], '--address auto'),
    *((['--address', f'{scheme}127.0.0.1:{port}'], f'--address {scheme}127.0.0.1:{port}')
      for scheme in ('', 'ray://') for port in (1, 99999))])
def test_bad_options_end_with_one_line_and_code_2(tmp_path, monkeypatch, capsys, options, word):
    # No other Ray is found, whatever else runs on this machine.
    monkeypatch.setattr('ray._private.services.find_gcs_addresses', cache(set))
    monkeypatch.setenv('RAY_TMPDIR', str(tmp_path))
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    (tmp_path / 'a.mcap').write_text('broken')
    code = relabel([str(tmp_path / 'a.mcap'), '--output', str(tmp_path / 'out'), *options])
    errors = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(errors) == 1 and word in errors[0]
    assert not (tmp_path / 'out').exists()


def test_a_store_is_no_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.mcap').write_text('broken')
    assert relabel(['a.mcap', '--output', 's3://bucket/labelled']) == 2
    assert 'not to a store' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['a.mcap']


def test_a_signal_ends_the_look_at_earlier_results(tmp_path, monkeypatch):
    def interrupt(job, recording):
        seen.append(recording)
        os.kill(os.getpid(), signal.SIGTERM)

    seen = []
    for name in 'ab':
        (tmp_path / f'{name}.mcap').write_text('broken')
    monkeypatch.setattr(RelabelJob, 'check_place', interrupt)
    assert relabel([str(tmp_path), '--output', str(tmp_path / 'out')]) == 143
    assert len(seen) == 1 and not (tmp_path / 'out').exists()


def test_nothing_of_the_user_is_replaced(tmp_path, capsys):
    (tmp_path / 'a.mcap').write_text('broken')
    mine = tmp_path / 'out' / 'a.mcap' / 'labels' / 'mine.png'
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    assert relabel([str(tmp_path / 'a.mcap'), '--output', str(tmp_path / 'out')]) == 2
    assert 'mine.png' in capsys.readouterr().err and mine.read_text() == 'mine'
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.mcap']


def test_an_output_in_what_is_searched_is_refused(tmp_path, capsys):
    (tmp_path / 'seq' / 'rgb').mkdir(parents=True)
    (tmp_path / 'seq' / 'rgb' / '0.png').write_text('')
    assert relabel([str(tmp_path / 'seq'), '--output', str(tmp_path / 'seq' / 'out')]) == 2
    assert 'name another folder' in capsys.readouterr().err
