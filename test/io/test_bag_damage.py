"""Recordings that cannot be read: one line at open time, whatever is wrong."""

from __future__ import annotations

import sqlite3

from bag_recipes import depth, image, record, text
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source
import numpy as np
import pytest


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
    assert 'truncated or damaged' in refusal(cut)


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


def test_file_of_another_kind(bag, tmp_path):
    path = tmp_path / bag.name
    path.write_bytes(b'no bag at all ' * 100)
    assert 'truncated or damaged' in refusal(path)


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
