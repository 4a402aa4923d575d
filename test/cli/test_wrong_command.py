"""The right file given to the wrong command: the right one is named."""

from __future__ import annotations

from pathlib import Path

from box_recording import write_sequence
from diffseg_ros.cli import convert, play, replay, segment
from diffseg_ros.cli import map as map_command
from diffseg_ros.io.source import open_source
import pytest


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('files')
    write_sequence(folder / 'box', depth=False)
    assert convert.main([str(folder / 'box'), str(folder / 'bag')]) == 0
    (folder / 'video.mp4').write_bytes(b'\0\0\0\x20ftypisom' + bytes(100))
    (folder / 'ros1.bag').write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
    (folder / 'ros1.mcap').write_bytes(b'#ROSBAG V2.0\n' + bytes(100))
    (folder / 'zero.mcap').touch()
    (folder / 'nothing').mkdir()
    return folder


@pytest.mark.parametrize(('command', 'name', 'answer'), [
    (segment, 'bag', 'is a bag, not a photo; diffseg_replay'),
    (segment, 'bag/bag.mcap', 'is a bag, not a photo; diffseg_replay'),
    (segment, 'box', 'is a sequence folder, not a photo; diffseg_replay'),
    (segment, 'video.mp4', 'is a video, not a photo; diffseg_replay'),
    (segment, 'box/rgb', 'is a folder; give the images in it'),
    (convert, 'bag', 'is a bag already; give a sequence folder'),
    *((command, name, 'rosbags-convert --src') for command in (convert, play, replay, map_command)
      for name in ('ros1.bag', 'ros1.mcap')),
    (replay, 'zero.mcap', 'is empty (0 bytes)'), (replay, 'nothing', 'an empty folder: neither'),
    (replay, 'video.mp4', 'or give a folder of its frames')])
def test_right_command_or_remedy_is_named_in_one_line(files, tmp_path, capsys, command, name,
                                                      answer):
    words = {play: [], convert: [str(tmp_path / 'x.mcap')]}.get(
        command, ['--output', str(tmp_path / 'x.ply')])
    assert command.main([str(files / name), *words]) == 2
    line, = capsys.readouterr().err.strip().splitlines()
    assert answer in line and str(files / name) in line


@pytest.mark.parametrize('name', ['box/rgb', 'box/rgb/000000.png'])
def test_photos_read_as_a_recording_are_said_to_be_for_diffseg_segment(files, name):
    note, = open_source(files / name).warnings
    assert 'diffseg_segment' in note
