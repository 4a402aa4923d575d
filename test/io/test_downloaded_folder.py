"""Folders in the forms in which others offer recordings."""

from __future__ import annotations

import json

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import write_image
from diffseg_ros.io.source import open_source
import numpy as np
import pytest

CAMERA = {'width': 8, 'height': 6, 'fx': 9.0, 'fy': 9.0, 'cx': 3.5, 'cy': 2.5}
START = 1305031102.175304


def rgb(value):
    return np.full((6, 8, 3), value, np.uint8)


def units(value):
    return np.full((6, 8), value, np.uint16)


@pytest.fixture
def tum(tmp_path):
    lists = {'rgb': ['# color images'], 'depth': ['# depth maps']}
    for number in range(5):
        for part, pixels, delay in (('rgb', rgb(number), 0),
                                    ('depth', units(5000 + number), 0.015)):
            if (part, number) != ('depth', 2):
                name = f'{part}/{START + number / 30 - delay:.6f}'
                write_image(tmp_path / f'{name}.png', pixels)
                lists[part].append(f'{name[len(part) + 1:]} {name}.png')
    for part, lines in lists.items():
        (tmp_path / f'{part}.txt').write_text('\n'.join(lines))
    (tmp_path / 'groundtruth.txt').write_text('# truth\n' + '\n'.join(
        f'{START - 0.01 + number / 10:.6f} {number} 0 0 0 0 0 1' for number in range(2)))
    return tmp_path


def test_tum(tum):
    source = open_source(tum)
    assert source.frame_count == 5
    assert all(frame.depth is None for frame in source)
    assert '"depth_scale": 5000}' in source.warnings[0] and len(source.warnings) == 1
    (tum / 'camera.json').write_text(json.dumps(CAMERA))
    source = open_source(tum)
    frames = list(source)
    assert source.warnings == ['1 of 5 images have no depth: clouds only with depth.model']
    depths = [None if frame.depth is None else frame.depth[0, 0] for frame in frames]
    assert depths == pytest.approx([1, 1.0002, None, 1.0006, 1.0008])
    assert frames[1].stamp - frames[0].stamp == 33_333_000
    assert frames[0].stamp == 1305031102175304000
    assert frames[2].pose[0, 3] == pytest.approx(0.1 + 10 / 15, abs=1e-4)
    assert frames[3].pose is None and frames[4].pose is None


def test_tum_without_the_list_of_depth_takes_the_stamps_in_the_names(tum):
    (tum / 'camera.json').write_text(json.dumps(CAMERA))
    wanted = [None if frame.depth is None else frame.depth[0, 0] for frame in open_source(tum)]
    (tum / 'depth.txt').unlink()
    (tum / 'depth/notes.png').write_bytes(b'no stamp')
    found = [None if frame.depth is None else frame.depth[0, 0] for frame in open_source(tum)]
    assert found == wanted and found.count(None) == 1


def test_listed_depth_that_is_missing_costs_only_the_clouds(tum):
    (tum / 'camera.json').write_text(json.dumps(CAMERA))
    for file in (tum / 'depth').iterdir():
        file.unlink()
    source = open_source(tum)
    assert [frame.depth for frame in source] == [None] * 5
    assert source.warnings[-1].startswith('4 depth images cannot be used: clouds there only')


def test_tum_in_units_of_its_own(tum):
    (tum / 'camera.json').write_text(json.dumps(CAMERA | {'depth_scale': 1000}))
    assert next(iter(open_source(tum))).depth[0, 0] == 5


@pytest.mark.parametrize(('name', 'line'), [
    ('rgb.txt', 'soon rgb/1.png'), ('rgb.txt', '1.0'), ('depth.txt', '-1 depth/1.png'),
    ('groundtruth.txt', '1305031102.0 a b c d e f g')])
def test_tum_with_a_bad_line(tum, name, line):
    with (tum / name).open('a') as file:
        file.write(f'\n{line}\n')
    with pytest.raises(DiffsegError, match=f'{name}: line .*is needed'):
        open_source(tum)


def test_scannet(tmp_path):
    matrix = np.eye(4)
    matrix[0, 3] = 2
    for number in (0, 9, 10):
        write_image(tmp_path / f'color/{number}.jpg', rgb(number))
        write_image(tmp_path / f'depth/{number}.png', units(1000 + number))
        (tmp_path / 'pose').mkdir(exist_ok=True)
        np.savetxt(tmp_path / f'pose/{number}.txt', matrix if number else matrix - np.inf)
    (tmp_path / 'intrinsic').mkdir()
    np.savetxt(tmp_path / 'intrinsic/intrinsic_color.txt', np.diag([9, 8, 1, 1]))
    source = open_source(tmp_path)
    frames = list(source)
    assert [frame.depth[0, 0] for frame in frames] == pytest.approx([1, 1.009, 1.01])
    assert frames[0].pose is None
    np.testing.assert_array_equal(frames[2].pose, matrix)
    assert (frames[0].intrinsics.fx, frames[0].intrinsics.fy) == (9, 8)
    (tmp_path / 'pose/9.txt').write_text('1 2 3')
    with pytest.raises(DiffsegError, match='9.txt: no matrix'):
        open_source(tmp_path)


def test_rgb_and_depth_that_pair_by_name(tmp_path):
    for number in (3, 4, 7):
        write_image(tmp_path / f'rgb/frame-{number:06d}.color.png', rgb(number))
    for number in (4, 7, 8):
        write_image(tmp_path / f'depth/frame-{number:06d}.depth.png', units(1000 + number))
    (tmp_path / 'camera.json').write_text(json.dumps(CAMERA | {'depth_scale': 1000}))
    source = open_source(tmp_path)
    assert [None if frame.depth is None else frame.depth[0, 0] for frame in source] == (
        pytest.approx([None, 1.004, 1.007]))
    assert source.warnings[-1] == '1 of 3 images have no depth: clouds only with depth.model'
