"""An output folder loses nothing of the user's: only what the same command wrote goes."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import signal
import subprocess
import sys

import cv2
from diffseg_ros.cli import convert, segment
from diffseg_ros.cli import map as map_command
from diffseg_ros.cli.command import run_command, write_json
from diffseg_ros.cli.output_folder import MANIFEST, OutputFolder
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import read_ply
from diffseg_ros.io.source import open_source
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

PATTERNS = ('labels/*.png', 'report.json', 'room/**')


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'content of {name}')


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*')
                  if path.is_file() and path.name != MANIFEST)


def run_once(folder: Path, *files: str, command: str = 'diffseg_x') -> None:
    with OutputFolder(folder, command, PATTERNS):
        write(folder, *files)


def test_next_run_removes_what_the_last_one_wrote_and_nothing_else(tmp_path):
    write(tmp_path, 'notes.txt', 'labels/notes.txt')
    run_once(tmp_path, 'labels/0.png', 'labels/1.png', 'report.json', 'room/rgb/0.jpg')
    run_once(tmp_path, 'labels/0.png')
    assert names(tmp_path) == ['labels/0.png', 'labels/notes.txt', 'notes.txt']
    assert not (tmp_path / 'room' / 'rgb').exists()


@pytest.mark.parametrize('name', ['labels/drawn.png', 'report.json', 'room/rgb/mine.jpg'])
def test_file_of_the_user_in_the_way_is_named_and_nothing_is_touched(tmp_path, name):
    run_once(tmp_path, 'labels/0.png')
    write(tmp_path, name)
    before = names(tmp_path)
    with pytest.raises(DiffsegError, match=f'{name}: cannot be written over: diffseg_x did not'):
        OutputFolder(tmp_path, 'diffseg_x', PATTERNS)
    assert names(tmp_path) == before


def test_file_that_was_changed_since_is_the_users(tmp_path):
    run_once(tmp_path, 'labels/0.png')
    (tmp_path / 'labels/0.png').write_text('corrected by hand, for hours')
    with pytest.raises(DiffsegError, match='changed since'):
        OutputFolder(tmp_path, 'diffseg_x', PATTERNS)


def test_file_of_another_command_is_not_ours(tmp_path):
    run_once(tmp_path, 'labels/0.png', command='diffseg_y')
    with pytest.raises(DiffsegError, match='diffseg_x did not write it'):
        OutputFolder(tmp_path, 'diffseg_x', PATTERNS)
    with OutputFolder(tmp_path, 'diffseg_x', ['overlay/*.jpg']):
        write(tmp_path, 'overlay/0.jpg')
    run_once(tmp_path, command='diffseg_y')
    assert names(tmp_path) == ['overlay/0.jpg']


def test_what_was_written_before_a_crash_is_known(tmp_path):
    folder = OutputFolder(tmp_path, 'diffseg_x', PATTERNS)
    folder.__enter__()
    write(tmp_path, 'labels/0.png')
    folder.record(tmp_path / 'labels/0.png')
    with (tmp_path / MANIFEST).open('a') as file:
        file.write('["diffseg_x", "labels/1')  # the power goes
    run_once(tmp_path)
    assert names(tmp_path) == []


def test_run_that_writes_nothing_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        with OutputFolder(tmp_path / 'out', 'diffseg_x', (*PATTERNS, 'full/room/strip.jpg')):
            raise RuntimeError
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('source', 'output'), [
    ('.', '.'), ('labels', '.'), ('labels/photo.png', '.'), ('report.json', '.'), ('.', 'rgb'),
    ('.', 'images'), ('room/rgb', '.'), ('link', '.')])
def test_input_where_would_be_written_is_refused(tmp_path, source, output):
    (tmp_path / 'rgb').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'labels')
    with pytest.raises(DiffsegError, match='would write where its input .* lies; name another'):
        OutputFolder(tmp_path / output, 'diffseg_x', PATTERNS, [tmp_path / source])


def test_input_beside_the_output_is_fine(tmp_path):
    for source, output in (('photo.png', '.'), ('.', 'out'), ('seq', '.'), ('rgb', '.')):
        OutputFolder(tmp_path / output, 'diffseg_x', PATTERNS, [tmp_path / source])
    with pytest.raises(DiffsegError):
        OutputFolder(tmp_path, 'diffseg_x', ['a.ply'], [tmp_path])
    OutputFolder(tmp_path, 'diffseg_x', ['a.ply'], [tmp_path], beside=True)


def test_replay_into_the_recording_is_refused(run, sequence, tmp_path, capsys):
    write(sequence, 'labels/drawn_by_hand.png')
    before = names(sequence)
    assert run(sequence, 'box')[0] == 2
    assert f'input {sequence} lies' in capsys.readouterr().err
    assert names(sequence) == before
    data = tmp_path / 'data'
    assert convert.main([str(sequence), str(data / 'output.mcap')]) == 0
    before = (data / 'output.mcap').read_bytes()
    assert run(data / 'output.mcap', 'data')[0] == 2
    assert names(data) == ['output.mcap'] and (data / 'output.mcap').read_bytes() == before


def test_replay_again_keeps_what_was_added(run, sequence, tmp_path):
    run(sequence, 'out', '--no-bag')
    write(tmp_path / 'out', 'labels/readme.txt', 'sketch.svg')
    _, output = run(sequence, 'out', '--limit', '1', '--no-bag')
    assert (output / 'sketch.svg').exists() and (output / 'labels/readme.txt').exists()
    assert sorted(path.name for path in (output / 'labels').glob('*.png')) == ['000000.png']


def test_photo_is_not_replaced_by_its_overlay(sequence, tmp_path, capsys):
    photo = tmp_path / 'overlay' / '000000.jpg'
    write_image(photo, np.zeros((64, 64, 3), np.uint8))
    assert segment.main([str(photo), '--output', str(tmp_path)]) == 2
    assert 'would write where its input' in capsys.readouterr().err
    write(tmp_path, 'labels/000000.png')
    assert segment.main([str(sequence / 'rgb/000000.png'), '--output', str(tmp_path)]) == 2
    assert (tmp_path / 'labels/000000.png').read_text() == 'content of labels/000000.png'


def test_map_does_not_replace_a_picture_of_the_user(sequence, tmp_path, capsys):
    write(tmp_path, 'room.png')
    assert map_command.main([str(sequence), '--output', str(tmp_path / 'room.ply')]) == 2
    assert 'room.png: cannot be written over' in capsys.readouterr().err


def test_bag_folder_with_something_else_in_it_stays(sequence, tmp_path, capsys):
    bag = tmp_path / 'bag'
    assert convert.main([str(sequence), str(bag)]) == 0
    write(bag, 'field_notes.txt')
    assert convert.main([str(sequence), str(bag), '--force']) == 2
    assert 'holds field_notes.txt' in capsys.readouterr().err
    assert (bag / 'field_notes.txt').exists()


def test_bag_in_or_around_its_sequence_is_refused(sequence, capsys):
    for bag in (sequence / 'x.mcap', sequence, sequence.parent):
        assert convert.main([str(sequence), str(bag), '--force']) == 2
        assert 'choose a name in another folder' in capsys.readouterr().err


def test_json_option_replaces_reports_only(sequence, tmp_path, capsys):
    photo = sequence / 'rgb' / '000000.png'
    before = photo.read_bytes()
    assert segment.main([str(photo), '--output', str(tmp_path / 'o'), '--json', str(photo)]) == 2
    assert 'is no report' in capsys.readouterr().err and photo.read_bytes() == before
    write_json(tmp_path / 'r.json', {'a': 1})
    write_json(tmp_path / 'r.json', {'a': 'bild_\udce4'})
    assert json.loads((tmp_path / 'r.json').read_bytes().decode()) == {'a': 'bild_\ufffd'}
    words = [str(photo), '--output', str(tmp_path / 'o'), '--json', '-']
    assert segment.main(words) == 2 and '--json -: name a file' in capsys.readouterr().err


def test_json_option_may_name_the_report_in_the_folder(run, sequence, tmp_path):
    words = ('--limit', '1', '--no-bag', '--clouds', '0',
             '--json', str(tmp_path / 'out' / 'report.json'))
    codes = [run(sequence, 'out', *words)[0] for _ in range(2)]
    assert codes == [0, 0]


def test_full_disk_ends_at_the_first_failed_write(run, sequence, capsys, monkeypatch):
    from diffseg_ros.cli import replay_output

    calls = []

    def full(path, *_: object) -> None:
        calls.append(path)
        raise WriteError(f'{path}: cannot be written (No space left on device)')

    monkeypatch.setattr(replay_output, 'write_ply', full)
    code, output = run(sequence)
    line, = capsys.readouterr().err.splitlines()
    assert code == 2 and 'No space left' in line and len(calls) == 1
    assert not (output / 'report.json').exists() and not (output / 'output.mcap').exists()
    assert [path.name for path in output.glob('.*')] == [MANIFEST]


@pytest.fixture
def stopped(monkeypatch):
    """Return a function that has the signal come while a frame is processed."""
    def call(number: signal.Signals, frames: int) -> None:
        process, done = Pipeline.process, []

        def processing(pipeline, frame):
            done.append(frame)
            if len(done) == frames:
                os.kill(os.getpid(), number)
            return process(pipeline, frame)
        monkeypatch.setattr(Pipeline, 'process', processing)
    return call


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_replay_is_usable(run, sequence, stopped, number, code):
    stopped(number, 2)
    found, output = run(sequence)
    report = json.loads((output / 'report.json').read_text())
    assert found == code and report['stopped'] and report['frames'] == 2
    assert sorted(path.name for path in (output / 'labels').iterdir()) == [
        '000000.png', '000001.png']
    assert open_source(output / 'output.mcap').frame_count == 2
    assert [path.name for path in output.glob('.*')] == [MANIFEST]
    code, output = run(sequence)
    assert code == 0 and not json.loads((output / 'report.json').read_text())['stopped']


def test_stopped_map_is_of_the_frames_so_far(tmp_path, stopped, capsys):
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    list(render_sequence(tmp_path / 'room', 4, 0, Intrinsics(96, 72, 78.75, 78.75, 47.5, 35.5)))
    stopped(signal.SIGTERM, 2)
    words = [str(tmp_path / 'room'), '--output', str(tmp_path / 'map.ply'),
             '--json', str(tmp_path / 'r.json')]
    assert map_command.main([*words, '--complete', '999']) == 143
    assert '999: no such id in the map' in capsys.readouterr().err
    report = json.loads((tmp_path / 'r.json').read_text())
    assert report['stopped'] and report['frames'] == 2
    assert len(read_ply(tmp_path / 'map.ply').labels) == report['points']
    assert map_command.main(words) == 0


def test_interrupt_before_a_command_begins_is_one_line():
    program = 'import diffseg_ros.cli.command\nraise KeyboardInterrupt'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b'interrupted\n')


def test_convert_that_is_stopped_leaves_nothing(sequence, tmp_path, monkeypatch):
    def stopping(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(convert, 'write_frame', stopping)
    (tmp_path / 'out').mkdir()
    assert convert.main([str(sequence), str(tmp_path / 'out' / 'x.mcap')]) == 143
    assert not list((tmp_path / 'out').iterdir())


def test_names_that_are_not_utf8(run, sequence, tmp_path, capfdbinary):
    odd = sequence / 'rgb' / 'bild_\udce4.png'
    (sequence / 'rgb' / '000000.png').rename(odd)
    broken = sequence / 'rgb' / 'kaputt_\udce4.png'
    broken.write_bytes(b'no image')
    report = tmp_path / 'r\udce4.json'
    words = ['--output', str(tmp_path / 'o\udce4'), '--json', str(report)]
    assert segment.main([str(odd), *words]) == 0
    assert segment.main([str(odd), str(broken), *words]) == 1
    said = capfdbinary.readouterr()
    assert said.out.decode().splitlines()[-1].startswith('1 images segmented, 1 failed, into')
    assert b'kaputt_' in said.err and b'Traceback' not in said.err
    assert json.loads(report.read_bytes().decode())['failed'][0].endswith('kaputt_\ufffd.png')
    assert (tmp_path / 'o\udce4' / 'labels' / 'bild_\udce4.png').is_file()
    assert segment.main([str(broken), *words]) == 2
    photos = tmp_path / 'fotos_\udce4'
    (photos / 'rgb').mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / 'x.png'), np.full((64, 64, 3), 90 * number, np.uint8))
        (tmp_path / 'x.png').rename(photos / 'rgb' / f'{number}.png')
    bag = tmp_path / 'rec_\udce4'
    assert convert.main([str(photos), str(bag)]) == 0
    assert convert.main([str(photos), f'{bag}.mcap']) == 0
    for source in (photos, bag, Path(f'{bag}.mcap')):
        assert run(source, 'aus_\udce4', '--plots')[0] == 0
    assert len(list((tmp_path / 'aus_\udce4' / 'labels').glob('*.png'))) == 2


def test_exit_code_is_what_the_command_says():
    for code in (None, 0, 1):
        assert run_command(lambda _, code=code: code, argparse.ArgumentParser(), []) == (code or 0)
