"""Every example runs as its first lines say, and does what it promises."""

from __future__ import annotations

from fractions import Fraction
import json
import os
from pathlib import Path
import re
import subprocess
import sys

import cv2
import diffseg_ros as ds
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / 'examples'
FRAMES = 3


def picture(number):
    """Return the image and depth (mm) of a box that moves before a wall of two colours."""
    rgb = np.full((96, 128, 3), (40, 60, 90), np.uint8)
    rgb[:, 64:] = (120, 80, 40)
    depth = np.full((96, 128), 3000, np.uint16)
    box = np.s_[30:70, 20 + 4 * number:60 + 4 * number]
    rgb[box], depth[box] = (240, 220, 30), 1500
    return rgb, depth


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """Return a posed RGB-D sequence folder."""
    folder = tmp_path_factory.mktemp('recording')
    for part in ('rgb', 'depth'):
        (folder / part).mkdir()
    for number in range(FRAMES):
        rgb, depth = picture(number)
        ds.write_image(folder / 'rgb' / f'{number:06d}.png', rgb)
        cv2.imwrite(str(folder / 'depth' / f'{number:06d}.png'), depth)
    (folder / 'poses.txt').write_text('0 0 0 0 0 0 1\n' * FRAMES)
    (folder / 'camera.json').write_text(json.dumps({
        'width': 128, 'height': 96, 'fx': 110.0, 'fy': 110.0, 'cx': 63.5, 'cy': 47.5,
        'depth_scale': 1000}))
    return folder


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """Return a short MP4 of the same scene."""
    import av

    path = tmp_path_factory.mktemp('video') / 'video.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 128, 96, 'yuv420p'
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number)[0], format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def run(example, *arguments, folder):
    done = subprocess.run([sys.executable, EXAMPLES / example, *map(str, arguments)], cwd=folder,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test():
    files = Path(__file__), ROOT / 'test' / 'ros' / 'test_added_outputs.py'
    tested = re.findall(r"'(\w+\.py)'", ''.join(path.read_text() for path in files))
    assert {path.name for path in EXAMPLES.glob('*.py')} <= set(tested)


@pytest.mark.parametrize('path', sorted(EXAMPLES.glob('*.py')), ids=lambda path: path.name)
def test_examples_fit_on_a_screen(path):
    assert len(path.read_text().splitlines()) <= 55


def test_video_to_masks(video, tmp_path):
    assert 'tracks' in run('video_to_masks.py', video, 'out', folder=tmp_path)
    labels = [ds.read_labels(tmp_path / 'out' / f'{number:06d}.png') for number in range(FRAMES)]
    assert all(item.shape == (96, 128) and item.min() >= 1 for item in labels)
    assert labels[0][50, 40] == labels[2][50, 48] != labels[0][5, 5]
    assert ds.read_image(tmp_path / 'out' / '000000.jpg').shape == (96, 128, 3)


def test_rgbd_to_cloud(recording, tmp_path):
    assert '12288 points' in run('rgbd_to_cloud.py', recording, 'cloud.ply', folder=tmp_path)
    cloud = ds.read_ply(tmp_path / 'cloud.ply')
    assert cloud.points[:, 2].min() == pytest.approx(1.5)


def test_bag_to_map(recording, tmp_path):
    assert 'voxels' in run('bag_to_map.py', recording, 'map.ply', folder=tmp_path)
    assert len(ds.read_ply(tmp_path / 'map.ply').points) > 1000


def test_own_backbone(recording, tmp_path):
    assert 'segments' in run('own_backbone.py', recording / 'rgb' / '000000.png', 'overlay.jpg',
                             folder=tmp_path)
    assert (tmp_path / 'overlay.jpg').is_file()


def test_evaluate_your_data(tmp_path):
    rgb, depth = picture(0)
    for part in ('images', 'labels'):
        (tmp_path / 'data' / part).mkdir(parents=True)
    ds.write_image(tmp_path / 'data' / 'images' / 'a.png', rgb)
    cv2.imwrite(str(tmp_path / 'data' / 'labels' / 'a.png'), (depth == 1500).astype(np.uint8))
    assert 'segment_size' in run('evaluate_your_data.py', 'data', 'report.json', folder=tmp_path)
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['miou'] > 0.7 and 0 < report['segment_size'] < 1


def test_readme_lines_work_as_they_stand(video, tmp_path):
    lines = (ROOT / 'README.md').read_text()
    code = next(block for block in re.findall(r'```python\n(.*?)```', lines, re.S)
                if 'video.mp4' in block)
    (tmp_path / 'video.mp4').write_bytes(video.read_bytes())
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True, timeout=120,
                   env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert len(list((tmp_path / 'out').iterdir())) == FRAMES
