"""Sequence folders: exact values, and one line for each kind of bad folder."""

from __future__ import annotations

import json
import re

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_image
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.io.source import open_source
import numpy as np
from PIL import Image
import pytest


def test_everything_is_read(sequence):
    source = open_source(sequence)
    assert isinstance(source, SequenceFolder)
    assert (source.name, source.frame_count, source.warnings) == ('tiny', 4, [])
    frames = list(source)
    assert [frame.stamp for frame in frames] == [
        1305031232861666123, 1305031232893683000, 1305031232900000000, 1305031233100000001]
    units = np.asarray(Image.open(sequence / 'depth' / '000002.png')).astype(np.float32)
    expected = np.where(units == 0, np.nan, units / np.float32(5000)).astype(np.float32)
    np.testing.assert_array_equal(frames[2].depth, expected)
    np.testing.assert_array_equal(frames[1].rgb, np.asarray(Image.open(
        sequence / 'rgb' / '000001.png')))
    np.testing.assert_allclose(frames[1].pose, np.eye(4))
    np.testing.assert_allclose(frames[3].pose[:3], [
        [-1, 0, 0, 1e3], [0, 1, 0, -2e-3], [0, 0, -1, 0]], atol=1e-12)
    assert frames[0].intrinsics.fx == 20.1
    assert frames[0].intrinsics.distortion[4] == 1.1633
    assert source.background == 3
    assert (source.instances(0) == 7).all()
    assert (source.instances(1) == 65535).all()
    assert source.read(2).frame.stamp == frames[2].stamp


@pytest.mark.parametrize(('removed', 'note'), [
    ('depth', 'no depth: clouds only with depth.model'),
    ('camera.json', 'no camera.json: .*masks only, no clouds'),
    ('times.txt', 'no times.txt')])
def test_optional_parts(sequence, removed, note):
    target = sequence / removed
    if target.is_dir():
        for path in target.iterdir():
            path.unlink()
        target.rmdir()
    else:
        target.unlink()
    source = open_source(sequence)
    (found,) = source.warnings
    assert re.match(note, found)
    frames = list(source)
    assert len(frames) == 4
    if removed != 'times.txt':
        assert all(frame.depth is None for frame in frames)
    assert all(a.stamp < b.stamp for a, b in zip(frames, frames[1:]))


CAMERA = {'width': 16, 'height': 12, 'fx': 20.1, 'fy': 20.3, 'cx': 7.5, 'cy': 5.4,
          'depth_scale': 5000}


@pytest.mark.parametrize(('name', 'content', 'reason'), [
    *((f'{part}/000001.png', None, f'counts differ: .*{part} 3')
      for part in ('rgb', 'depth', 'instances')),
    ('times.txt', '1\n2\n', 'rgb 4.*times.txt 2'), ('times.txt', '', 'rgb 4.*times.txt 0'),
    ('poses.txt', '1 2 3 0 0 0 1\n', 'rgb 4.*poses.txt 1'),
    ('times.txt', '1\nsoon\n', "times.txt: line 2 is 'soon'; decimal seconds"),
    ('times.txt', '-1.0', 'decimal seconds'), ('times.txt', 'nan', 'decimal seconds'),
    ('poses.txt', '0 0 0 0 0 0 1\n1 2 3', 'poses.txt: line 2 .*tx ty tz qx qy qz qw'),
    ('poses.txt', '1 2 3 0 0 0 0', 'line 1'), ('poses.txt', '1 2 inf 0 0 0 1', 'line 1'),
    *(('camera.json', json.dumps(CAMERA | change), rf'camera\.json: .*{reason}')
      for change, reason in (
          ({'fx': 0}, 'K is 0'), ({'fx': None}, 'no number for fx'),
          ({'depth_scale': 0}, 'depth_scale'), ({'depth_scale': None}, 'depth_scale'),
          ({'distortion': 'none'}, 'distortion'), ({'width': -1}, 'size -1x12'))),
    *(('camera.json', text, 'camera.json') for text in ('{', '[1]', '')),
    *(('sequence.json', f'{{"background": {value}}}', r'sequence\.json: background is')
      for value in ('"sky"', '[1]', '1.5'))])
def test_folder_that_cannot_be_used(sequence, name, content, reason):
    if content is None:
        (sequence / name).unlink()
    else:
        (sequence / name).write_text(content)
    with pytest.raises(DiffsegError, match=reason) as caught:
        open_source(sequence)
    assert '\n' not in str(caught.value)


def test_other_numbers(sequence):
    (sequence / 'depth' / '000003.png').rename(sequence / 'depth' / '000004.png')
    with pytest.raises(DiffsegError, match=r'000004\.png.*000003\.png'):
        open_source(sequence)


def test_lost_pose(sequence):
    lines = (sequence / 'poses.txt').read_text().splitlines()
    lines[2] = ' '.join(['nan'] * 7)
    (sequence / 'poses.txt').write_text('\n'.join(lines))
    poses = [frame.pose for frame in open_source(sequence)]
    assert [pose is None for pose in poses] == [False, False, True, False]


def test_bad_depth_costs_only_the_clouds_and_is_counted(sequence):
    bad = [sequence / 'depth' / f'00000{number}.png' for number in (1, 2)]
    bad[0].write_bytes(bad[0].read_bytes()[:90])
    bad[1].write_bytes(b'')
    source = open_source(sequence)
    for _ in range(2):
        assert [frame.depth is None for frame in source] == [False, True, True, False]
    note, = source.warnings
    assert note.startswith('2 depth images cannot be used: clouds there only')
    assert str(bad[0]) in note


def test_depth_of_another_view_costs_only_the_clouds(sequence):
    file = sequence / 'depth' / '000001.png'
    Image.fromarray(np.ones((12, 12), np.uint16)).save(file)
    source = open_source(sequence)
    assert [frame.depth is None for frame in source] == [False, True, False, False]
    note, = source.warnings
    assert f'{file}: 12x12 pixels, and the image has 16x12' in note


def test_camera_of_another_view_is_refused(sequence):
    (sequence / 'camera.json').write_text(json.dumps(CAMERA | {'width': 12}))
    items = list(open_source(sequence).numbered_frames())
    assert all('of 12x12 pixels, and the image has 16x12' in item.error for item in items)


def test_broken_image_in_the_middle(sequence):
    path = sequence / 'rgb' / '000001.png'
    path.write_bytes(path.read_bytes()[:90])
    source = open_source(sequence)
    items = list(source.numbered_frames())
    assert [item.number for item in items] == [0, 1, 2, 3]
    assert [item.frame is None for item in items] == [False, True, False, False]
    assert str(path) in items[1].error
    assert '\n' not in items[1].error
    assert len(list(source)) == 3 and len(list(source)) == 3
    assert source.warnings == [f'1 of 4 frames cannot be read and were skipped; the first: '
                               f'{items[1].error}']


def test_folder_without_images(sequence, tmp_path):
    for path in (sequence / 'rgb').iterdir():
        path.unlink()
    with pytest.raises(DiffsegError, match='no images'):
        open_source(sequence)
    (tmp_path / 'else').mkdir()
    with pytest.raises(DiffsegError, match='neither a bag folder'):
        open_source(tmp_path / 'else')


def test_images_without_a_sequence_folder(sequence, tmp_path):
    folder = tmp_path / 'holiday'
    folder.mkdir()
    for number, name in ((0, '10.png'), (1, '9.png'), (2, 'beach.png')):
        (sequence / 'rgb' / f'{number:06d}.png').rename(folder / name)
    (folder / 'notes.txt').write_text('sunny')
    (folder / '11.jpg').write_bytes(b'broken')
    source = open_source(folder)
    assert (source.name, source.frame_count) == ('holiday', 4)
    items = list(source.numbered_frames())
    assert [item.frame is None for item in items] == [False, False, True, False]
    frames = list(source)
    assert [frame.stamp for frame in frames] == [0, 33_333_333, 99_999_999]
    np.testing.assert_array_equal(frames[0].rgb, read_image(folder / '9.png'))
    (folder / 'camera.json').write_text(json.dumps(CAMERA))
    assert next(iter(open_source(folder))).intrinsics.fx == CAMERA['fx']
    (folder / 'camera.json').write_text(json.dumps(CAMERA | {'height': 3 * CAMERA['height']}))
    item = next(open_source(folder).numbered_frames())
    assert item.frame is None and 'camera.json: of ' in item.error
    single = open_source(folder / '10.png')
    assert (single.name, single.frame_count) == ('10', 1)
    np.testing.assert_array_equal(next(iter(single)).rgb, frames[1].rgb)
