"""diffseg_relabel over real workers: the labels of a replay, isolation, a killed run, refusals."""

from __future__ import annotations

import json
import shutil
import signal
import time

from diffseg_ros.cli.relabel import main as relabel
from diffseg_ros.fleet.index import read_index
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
import pyarrow.parquet as pq
import pytest

IN_PARTS = ('--split-minutes', '0.001', '--set', 'tracking.keyframe_interval=1',
            '--set', 'tracking.confirm_after=1')


@pytest.mark.slow
def test_a_killed_run_is_resumed_and_recordings_do_not_harm_each_other(tmp_path, capsys):
    sources, ending = write_recordings(tmp_path / 'in'), write_ending(tmp_path / 'ending')
    output, plugins = tmp_path / 'out', tmp_path / 'plugins'
    arguments = ('relabel', plugins, sources, ending, '--output', output, '--continue-on-error',
                 '--timeout', '10', '--resume', '--json', tmp_path / 'report.json', *IN_PARTS)
    process = command(*arguments)
    give_up = time.monotonic() + 120
    while not (done := list(output.glob('[!.]*/row.json'))):
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    times = {path: path.stat().st_mtime_ns for path in done}

    process = command(*arguments)
    _, errors = process.communicate(timeout=240)
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
                         'hang': '--timeout 10 seconds; it was in act_out'}.items():
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
    output = tmp_path / 'out'
    process = command('relabel', tmp_path / 'plugins', box, hang, '--output', output,
                      '--json', tmp_path / 'report.json')
    give_up = time.monotonic() + 120
    while not list(output.glob('.hang.*.partial')) or not (output / 'box').exists():
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Ray itself may note that it ends with tasks in work.
    assert process.returncode == 130
    assert not [line for line in errors.splitlines() if 'task_manager.cc' not in line]
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['stopped'] and (report['labelled'], report['not_done']) == (1, 1)
    assert {path.name for path in output.iterdir()} == {'box', 'index.parquet', 'tracks.parquet'}
    assert list(read_index(output)) == ['box']


@pytest.mark.parametrize(('options', 'word'), [
    (['--set', 'memory.file=x'], 'memory.file'), (['--clouds', '-1'], '--clouds'),
    (['--cpus', '0'], '--cpus'), (['--set', 'backbone.model=nowhere'], 'nowhere'),
    (['--address', 'auto'], '--address auto'),
    *((['--address', f'{scheme}127.0.0.1:{port}'], f'--address {scheme}127.0.0.1:{port}')
      for scheme in ('', 'ray://') for port in (1, 99999))])
def test_bad_options_end_with_one_line_and_code_2(tmp_path, capsys, options, word):
    (tmp_path / 'a.mcap').write_text('broken')
    code = relabel([str(tmp_path / 'a.mcap'), '--output', str(tmp_path / 'out'), *options])
    errors = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(errors) == 1 and word in errors[0]
    assert not (tmp_path / 'out').exists()


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
