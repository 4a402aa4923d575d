"""The rendered folder is a sequence as the rest of the package reads it."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.synthetic.sequence_writer import render_sequence
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

CAMERA = Intrinsics(96, 72, 78.75, 78.75, 47.5, 35.5)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('rendered') / 'sequence'
    assert list(render_sequence(path, 3, 0, CAMERA)) == [0, 1, 2]
    return path


def test_frames_have_everything(folder):
    sequence = SequenceFolder(folder)
    assert sequence.frame_count == 3 and sequence.background is None
    assert sequence.intrinsics == CAMERA
    poses = camera_path(create_scene(0), np.arange(3) / 10)
    for number, frame in enumerate(sequence):
        assert frame.stamp == number * 100_000_000
        assert frame.rgb.shape == (72, 96, 3)
        np.testing.assert_allclose(frame.pose, poses[number], atol=1e-6)
        assert 0.02 < np.isnan(frame.depth).mean() < 0.4
        assert np.nanmin(frame.depth) >= 0.4 and np.nanmax(frame.depth) <= 6.0
        assert len(np.unique(sequence.instances(number))) > 10


def test_equal_seeds_agree_in_an_empty_folder_too(folder, tmp_path):
    target = tmp_path / 'sequence'
    target.mkdir()
    list(render_sequence(target, 1, 0, CAMERA))
    for part in ('rgb/000000.jpg', 'depth/000000.png', 'instances/000000.png'):
        assert (target / part).read_bytes() == (folder / part).read_bytes()
    assert [item.name for item in tmp_path.iterdir()] == ['sequence']


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / 'sequence').mkdir()
    (tmp_path / 'sequence' / 'thesis.tex').write_text('precious')
    with pytest.raises(DiffsegError, match='not empty'):
        list(render_sequence(tmp_path / 'sequence', 1, 0, CAMERA))
    assert (tmp_path / 'sequence' / 'thesis.tex').read_text() == 'precious'


def test_nothing_half_written_stays_when_it_is_broken_off(tmp_path):
    frames = render_sequence(tmp_path / 'sequence', 3, 0, CAMERA)
    next(frames)
    frames.close()
    assert not list(tmp_path.iterdir())
