"""Recordings that cannot be read: one line at open time, whatever is wrong."""

from __future__ import annotations

import os
from pathlib import Path
import sqlite3
import subprocess
import sys

from bag_recipes import depth, image, record, text
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source
import numpy as np
import pytest
from rosbags.rosbag1 import Writer
from rosbags.typesys import get_typestore, Stores


@pytest.fixture(scope='module', params=['mcap', 'db3'])
def bag(request, tmp_path_factory):
    path = tmp_path_factory.mktemp('damage') / f'bag.{request.param}'
    return record(path, *(item for n in range(150)
                          for item in (image(n, 50 * n), depth(n + 1, 50 * n))))


def refusal(path):
    """Return the line with which a bag is refused when it is opened."""
    with pytest.raises(DiffsegError) as caught:
        open_source(path)
    line = str(caught.value)
    assert '\n' not in line
    assert str(path) in line
    return line


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_bag(bag, tmp_path, share):
    data = bag.read_bytes()
    cut = tmp_path / bag.name
    cut.write_bytes(data[:int(len(data) * share)])
    assert ('truncated or damaged' if share else 'is empty (0 bytes)') in refusal(cut)


@pytest.mark.parametrize('share', [0.05, 0.3, 0.6, 0.9])
def test_bag_with_a_piece_missing(bag, tmp_path, share):
    data = bag.read_bytes()
    start = int(len(data) * share)
    cut = tmp_path / bag.name
    cut.write_bytes(data[:start] + data[start + 5000:])
    assert 'truncated or damaged' in refusal(cut)


def test_random_damage_never_passes_in_silence(bag, tmp_path):
    data = bag.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / bag.name
    refused = 0
    for _ in range(30):
        start, size = int(rng.integers(len(data) - 3000)), int(rng.integers(1, 3000))
        path.write_bytes(data[:start] + rng.bytes(size) + data[start + size:])
        try:
            assert len(list(open_source(path).numbered_frames())) == 150
        except DiffsegError as error:
            assert '\n' not in str(error)
            refused += 1
    assert refused


@pytest.mark.parametrize(('content', 'answer'), [
    (b'no bag at all ', "recording, whatever its name says: it begins with b'no bag a'"),
    (b'#ROSBAG V2.0\n', 'is a ROS 1 bag; convert it: mv {path} {bare}.bag && '
     'rosbags-convert --src {bare}.bag --dst {bare}'),
    (b'version https://git-lfs.github.com/spec/v1', 'git lfs pull'),
    (b'<!DOCTYPE html>', 'is a web page; download it again'),
    (b'PK\x03\x04', 'is a zip archive; unpack it'), (b'\x1f\x8b\x08', 'is a gzip archive')])
def test_file_of_another_kind(bag, tmp_path, content, answer):
    path = tmp_path / bag.name
    path.write_bytes(content * 100)
    line = refusal(path)
    assert answer.format(path=path, bare=path.with_suffix('')) in line
    assert 'damaged' not in line


def test_recording_with_the_name_of_the_other_kind(bag, tmp_path):
    other = {'.mcap': '.db3', '.db3': '.mcap'}[bag.suffix]
    path = tmp_path / f'bag{other}'
    path.write_bytes(bag.read_bytes())
    assert f'rename it to {path.with_suffix(bag.suffix)}' in refusal(path)


def test_missing_part_of_a_split_bag_is_named(tmp_path):
    folder = record(tmp_path / 'bag', image(0, 0))
    metadata = folder / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('- bag.mcap', '- bag.mcap\n  - bag_1.mcap'))
    assert '1 of 2 parts are missing (bag_1.mcap)' in refusal(folder)
    metadata.unlink()
    assert open_source(folder).frame_count == 1


@pytest.mark.parametrize('name', ['a robot.bag', 'robot.mcap', 'robot.BAG'])
def test_command_for_a_ros1_bag_makes_a_recording(tmp_path, name):
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    time = ros1.types['builtin_interfaces/msg/Time'](5, 0)
    message = ros1.types['sensor_msgs/msg/Image'](
        ros1.types['std_msgs/msg/Header'](0, time, 'camera'), 2, 3, 'rgb8', 0, 9,
        np.zeros(18, np.uint8))
    with Writer(tmp_path / 'written.bag') as writer:
        topic = writer.add_connection('/rgb/image_raw', message.__msgtype__, typestore=ros1)
        writer.write(topic, 5 * 10**9, ros1.serialize_ros1(message, message.__msgtype__))
    path = (tmp_path / 'written.bag').rename(tmp_path / name)
    path.with_suffix('').mkdir()
    command = refusal(path).partition('convert it: ')[2]
    subprocess.run(command, shell=True, check=True, env={'PATH': os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ['PATH']])})
    assert open_source(tmp_path / f'{path.stem}_ros2').frame_count == 1


def test_folders_that_are_no_recording(tmp_path):
    assert 'an empty folder: neither' in refusal(tmp_path)
    (tmp_path / 'a b.bag').write_bytes(b'#ROSBAG V2.0\n')
    bare = tmp_path / 'a b'
    assert f"rosbags-convert --src '{bare}.bag' --dst '{bare}'" in refusal(tmp_path)


def test_empty_bag(bag, tmp_path):
    assert 'is empty' in refusal(record(tmp_path / bag.name))
    assert 'is empty' in refusal(record(tmp_path / 'folder'))


def test_truncated_bag_in_a_folder(tmp_path):
    folder = record(tmp_path / 'bag', *(image(n, n) for n in range(9)))
    file = folder / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:700])
    assert 'truncated or damaged' in refusal(folder)
    file.unlink()
    assert 'bag.mcap' in refusal(folder)


@pytest.mark.parametrize('content', ['', 'rosbag2_bagfile_information: 3', '{', 'a: [1'])
def test_broken_metadata(tmp_path, content):
    folder = record(tmp_path / 'bag', image(0, 0))
    (folder / 'metadata.yaml').write_text(content)
    refusal(folder)


def test_recording_that_was_not_closed(tmp_path):
    path = record(tmp_path / 'bag.db3', image(0, 0))
    database = sqlite3.connect(path)
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('INSERT INTO messages SELECT 99, topic_id, timestamp, data FROM messages')
    database.commit()
    try:
        assert 'wal_checkpoint' in refusal(path)
    finally:
        database.close()
    assert open_source(path).frame_count == 2


def test_paths_that_are_no_recording(tmp_path):
    assert 'no such file' in refusal(tmp_path / 'missing.mcap')
    for name, hint in (('letter.txt', 'unsupported'), ('old.bag', 'ROS 1')):
        (tmp_path / name).write_bytes(b'x')
        assert hint in refusal(tmp_path / name)


def test_bag_with_other_topics_only(tmp_path):
    assert '/chatter' in refusal(record(tmp_path / 'bag.mcap', text()))
