"""What a user got wrong is one line that names it, with exit code 2, before any long work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
from diffseg_ros.cli import benchmark, convert, demo, play, replay, segment, train
from diffseg_ros.cli import map as map_command
from diffseg_ros.cli.command import make_folder, run_command
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / 'photo.png'
    image = np.full((96, 128, 3), 200, np.uint8)
    image[:, 64:] = (30, 60, 160)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / 'file'
    path.write_text('not a folder\n')
    return path


@pytest.fixture
def refusal(capsys):
    """Return a function that runs a command and returns its only line on stderr."""
    def run(command, *words) -> str:
        assert command.main([str(word) for word in words]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return run


@pytest.fixture
def usage_error(capsys):
    """Return a function that runs a command and returns the last line of its usage error."""
    def run(command, *words) -> str:
        with pytest.raises(SystemExit) as end:
            command.main([str(word) for word in words])
        assert end.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


def test_output_that_is_a_file_is_refused(refusal, photo, file):
    line = refusal(segment, photo, '--output', file)
    assert line.startswith(f'diffseg_segment: --output {file}')
    assert 'cannot be made a folder' in line


def test_folder_below_a_file_is_refused(refusal, photo, file):
    assert str(file) in refusal(segment, photo, '--output', file / 'below')


def test_training_is_refused_before_its_minutes_are_spent(capsys, tmp_path, file):
    generator = np.random.default_rng(0)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f'{number}.png'),
                    generator.integers(0, 255, (120, 160, 3), np.uint8))
    photos = [str(tmp_path / f'{number}.png') for number in range(3)]
    assert train.main(['--photos', *photos, '--output', str(file), '--device', 'cpu']) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f'diffseg_train: --output {file}: cannot be ')


@pytest.mark.parametrize('device', ['tpu', 'cuda:99'])
def test_training_device_that_is_not_there_is_refused(refusal, photo, tmp_path, device):
    line = refusal(train, '--photos', photo, photo, '--output', tmp_path / 'w',
                   '--device', device)
    assert line.startswith(f"diffseg_train: device '{device}'") and 'use auto' in line


def test_photos_that_hold_none_are_named(refusal, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert str(empty) in refusal(train, '--photos', empty, '--output', tmp_path / 'w')


def test_names_with_line_breaks_and_codes_of_terminals_stay_in_one_line(refusal, tmp_path):
    line = refusal(segment, tmp_path / 'a\nb\x1b[2J.jpg', '--output', tmp_path / 'out')
    assert 'a\\nb\\x1b[2J.jpg: no such file' in line


def test_one_broken_photo_among_many_costs_only_itself(photo, tmp_path, capsys):
    photos = [tmp_path / f'{number}\n.png' for number in range(3)]
    for copy in photos:
        copy.write_bytes(photo.read_bytes())
    photos[1].write_bytes(b'\x89PNG\r\n' + bytes(40))
    words = [str(path) for path in photos]
    assert segment.main([*words, '--output', str(tmp_path / 'out')]) == 1
    said = capsys.readouterr()
    line, = said.err.splitlines()
    assert '1\\n.png: no readable image' in line
    assert said.out.startswith('2 images segmented, 1 failed')
    assert len(list((tmp_path / 'out/labels').iterdir())) == 2


def test_folder_in_place_of_a_photo_is_called_a_folder(refusal, tmp_path):
    line = refusal(segment, tmp_path, '--output', tmp_path / 'out')
    assert f'{tmp_path}: is a folder' in line and not (tmp_path / 'out').exists()


def test_report_that_cannot_be_written_is_refused_first(refusal, photo, tmp_path, file):
    output = tmp_path / 'out'
    for path in (file / 'report.json', tmp_path):
        assert f'--json {path}' in refusal(segment, photo, '--output', output, '--json', path)
        assert not output.exists()


def test_report_goes_into_a_folder_that_is_made(photo, tmp_path):
    report = tmp_path / 'new' / 'report.json'
    assert segment.main([str(photo), '--output', str(tmp_path / 'out'), '--json',
                         str(report)]) == 0
    assert json.loads(report.read_text())['photos'] == 1


def test_picture_that_cannot_be_written_is_no_success(refusal, photo, tmp_path):
    target = tmp_path / 'out' / 'labels' / 'photo.png'
    target.mkdir(parents=True)
    assert f'{target}: cannot be written' in refusal(segment, photo, '--output', tmp_path / 'out')


def test_fault_of_the_disk_is_one_line(refusal, photo, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device', str(photo))

    monkeypatch.setattr('diffseg_ros.cli.segment.read_image', full)
    line = refusal(segment, photo, '--output', tmp_path / 'out')
    assert line.startswith(f'diffseg_segment: {photo}: No space left on device; ')


@pytest.mark.parametrize('command', [replay, map_command])
def test_count_that_is_no_number_is_named(usage_error, command, tmp_path):
    line = usage_error(command, tmp_path, '--output', tmp_path / 'x.ply', '--limit', 'few')
    assert line.endswith("argument --limit: 'few': a whole number is needed")


@pytest.mark.parametrize('words', [
    ['--wait', '-1'], ['--wait', 'nan'], ['--frames', '0'], ['--seed', '-1'], ['--rate', '0'],
    ['--loop', '-1']])
def test_values_a_player_cannot_use_are_named(refusal, words):
    line = refusal(play, *words)
    assert line.startswith('diffseg_play: ') and words[0] in line and words[1] in line


@pytest.mark.parametrize('option', ['--rgb-topic', '--camera-info-topic', '--depth-topic'])
@pytest.mark.parametrize('command', [replay, map_command, play])
def test_topic_of_a_folder_that_has_none_is_refused(refusal, sequence, tmp_path, command, option):
    words = [] if command is play else ['--output', tmp_path / 'x.ply']
    line = refusal(command, sequence, *words, option, '/camera/color/image_raw')
    assert f'{option} /camera/color/image_raw: {sequence} has no topics' in line
    assert 'leave the option out, or name a bag' in line
    assert not (tmp_path / 'x.ply').exists()


def test_topic_of_a_folder_is_refused_when_it_is_the_default_too(refusal, sequence, tmp_path):
    line = refusal(replay, sequence, '--output', tmp_path / 'x', '--depth-topic',
                   'depth_registered/image_rect')
    assert '--depth-topic depth_registered/image_rect' in line


def test_topic_of_a_generated_room_is_refused(refusal):
    assert '--rgb-topic /a: a generated room' in refusal(play, '--rgb-topic', '/a')


@pytest.mark.parametrize('option', ['--frames', '--seed'])
def test_room_beside_a_recording_is_refused(refusal, sequence, option):
    line = refusal(play, sequence, option, '7')
    assert line.startswith(f'diffseg_play: {option} 7: ') and str(sequence) in line


def test_bag_without_the_topic_that_was_named_is_refused(refusal, sequence, tmp_path):
    bag = tmp_path / 'x.mcap'
    assert convert.main([str(sequence), str(bag)]) == 0
    for command in (replay, map_command):
        line = refusal(command, bag, '--output', tmp_path / 'x.ply', '--rgb-topic', '/none')
        assert f'{bag}: no topic /none' in line


def test_topics_of_a_bag_that_are_mixed_up_are_refused(refusal, sequence, tmp_path):
    bag = tmp_path / 'x.mcap'
    assert convert.main([str(sequence), str(bag)]) == 0
    colour, depth = '/rgb/image_raw', '/depth_registered/image_rect'
    for command, words in ((replay, ['--output', tmp_path / 'x.ply']),
                           (map_command, ['--output', tmp_path / 'x.ply']), (play, [])):
        line = refusal(command, bag, *words, '--depth-topic', colour)
        assert f"{colour}: image encoding 'rgb8' is not supported as a depth image" in line
        line = refusal(command, bag, *words, '--rgb-topic', depth)
        assert f"{depth}: image encoding '32FC1' is not supported as a colour image" in line
        assert not (tmp_path / 'x.ply').exists()


@pytest.mark.parametrize('patience', ['0', '-1', 'nan'])
def test_demo_needs_patience(refusal, tmp_path, patience):
    line = refusal(demo, '--output', tmp_path / 'demo', '--patience', patience)
    assert line.startswith(f'diffseg_demo: --patience {patience}: ')


def test_tiny_vae_needs_a_shape(refusal):
    assert '--tiny-vae' in refusal(benchmark, 'cloud', '--quick', '--tiny-vae')


def test_recording_in_place_of_a_sequence_is_refused(refusal, tmp_path, file):
    assert str(tmp_path) in refusal(convert, tmp_path, tmp_path / 'x.mcap')
    assert str(file) in refusal(convert, file, tmp_path / 'x.mcap')


def test_old_parameter_names_are_accepted_with_one_line_that_gives_the_new_one(tmp_path, capsys):
    parser = argparse.ArgumentParser(prog='diffseg_x')
    add_pipeline_options(parser)
    (tmp_path / 'p.yaml').write_text('/**:\n  ros__parameters: {segmentation.tau: 0.7}\n')
    got = []
    assert run_command(lambda arguments: got.append(pipeline_config(arguments)), parser, [
        '--params', str(tmp_path / 'p.yaml'), '--set', 'segmentation.region_width=100']) == 0
    assert got[0].segmentation.cut.tau == 0.7 and got[0].segmentation.regions.width == 100
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith('diffseg_x: warning: parameter segmentation.tau is now called '
                            'segmentation.cut.tau')
    assert 'segmentation.regions.width' in second


def test_make_folder_accepts_one_that_stands(tmp_path, file):
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a' / 'b')
    assert (tmp_path / 'a' / 'b').is_dir()
    with pytest.raises(DiffsegError, match='--out'):
        make_folder(file, '--out')
