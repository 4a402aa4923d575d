"""diffseg_convert: what comes out of the bag is what lay in the folder, bit for bit."""

from __future__ import annotations

import json

from diffseg_ros.cli.convert import main
from diffseg_ros.io.source import open_source
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

NAMES = ('out.mcap', 'out.db3', 'out')


def assert_same_frames(folder, bag):
    expected, found = (
        list(open_source(path).numbered_frames()) for path in (folder, bag))
    assert len(expected) == len(found) == open_source(bag).frame_count
    for wanted, got in zip(expected, found):
        assert (wanted.number, got.error) == (got.number, None)
        a, b = wanted.frame, got.frame
        assert (a.stamp, a.frame_id, a.intrinsics) == (b.stamp, b.frame_id, b.intrinsics)
        np.testing.assert_array_equal(a.rgb, b.rgb)
        assert (a.depth is None) == (b.depth is None)
        if a.depth is not None:
            np.testing.assert_array_equal(a.depth, b.depth)
        assert (a.pose is None) == (b.pose is None)
        if a.pose is not None:
            np.testing.assert_allclose(a.pose, b.pose, rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', NAMES)
def test_round_trip(sequence, tmp_path, name):
    bag, report = tmp_path / name, tmp_path / 'report.json'
    assert main([str(sequence), str(bag), '--json', str(report)]) == 0
    assert_same_frames(sequence, bag)
    content = json.loads(report.read_text())
    assert (content['frames'], content['frames_failed']) == (4, 0)
    assert content['messages'] == {
        '/tf': 4, '/rgb/camera_info': 4, '/depth_registered/image_rect': 4, '/rgb/image_raw': 4}
    for source in map(open_source, (sequence, bag)):
        assert [item.number for item in source.numbered_frames(2)] == [2, 3]
        (later,), frames = source.numbered_frames(3), list(source)
        np.testing.assert_array_equal(later.frame.rgb, frames[3].rgb)
        seconds = (frames[3].stamp - frames[0].stamp) / 1e9
        assert source.seconds == pytest.approx(seconds, abs=1e-6)
    with Reader(bag) as reader:
        stamps = {time for _, time, _ in reader.messages()}
    assert stamps == {frame.stamp for frame in open_source(sequence)}


def test_broken_image_is_left_out_and_counted(sequence, tmp_path, capsys):
    (sequence / 'rgb' / '000001.png').write_bytes(b'broken')
    report = tmp_path / 'report.json'
    assert main([str(sequence), str(tmp_path / 'out.mcap'), '--json', str(report)]) == 0
    assert '000001.png' in capsys.readouterr().err
    content = json.loads(report.read_text())
    assert (content['frames'], content['frames_failed']) == (3, 1)
    stamps = [frame.stamp for frame in open_source(tmp_path / 'out.mcap')]
    expected = [frame.stamp for frame in open_source(sequence)]
    assert stamps == expected


def refused(capsys, tmp_path, *arguments):
    """Return the one line of a command that ends with 2 and writes nothing."""
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main([str(argument) for argument in arguments]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    return error


def test_bad_input(sequence, tmp_path, capsys):
    out = tmp_path / 'out.mcap'
    assert 'no such file' in refused(capsys, tmp_path, tmp_path / 'none', out)
    assert main([str(sequence), str(out)]) == 0
    assert 'is a bag already' in refused(capsys, tmp_path, out, tmp_path / 'other.mcap')
    lines = (sequence / 'times.txt').read_text().splitlines()
    (sequence / 'times.txt').write_text('\n'.join(lines[::-1]))
    assert 'rising times' in refused(capsys, tmp_path, sequence, tmp_path / 'other.db3')
    (sequence / 'depth' / '000000.png').unlink()
    assert 'rgb 4, depth 3' in refused(capsys, tmp_path, sequence, tmp_path / 'other')


def test_sequence_of_broken_images(sequence, tmp_path):
    for path in (sequence / 'rgb').iterdir():
        path.write_bytes(b'broken')
    assert main([str(sequence), str(tmp_path / 'out.db3')]) == 2
    assert not (tmp_path / 'out.db3').exists()


@pytest.mark.parametrize('name', NAMES)
def test_existing_bag_is_kept_without_force(sequence, tmp_path, capsys, name):
    bag = tmp_path / name
    assert main([str(sequence), str(bag)]) == 0
    capsys.readouterr()
    assert '--force' in refused(capsys, tmp_path, sequence, bag)
    assert main([str(sequence), str(bag), '--force']) == 0
    assert_same_frames(sequence, bag)
