"""The files of a replay: made once, and of what the frame holds."""

from __future__ import annotations

import sys

from box_recording import FRAMES, label_images
import cv2
from diffseg_ros.io.ply import read_ply
from diffseg_ros.viz.colours import label_colours
import numpy as np


def test_files_are_the_same_without_a_bag_and_where_no_ros_is_installed(run, sequence, capsys,
                                                                        monkeypatch):
    _, output = run(sequence)
    _, plain = run(sequence, 'plain', '--no-bag', '--clouds', '2')
    for name in [name for name in sys.modules if name.startswith('diffseg_ros.ros.')]:
        monkeypatch.delitem(sys.modules, name)
    for name in ('rclpy', 'sensor_msgs', 'sensor_msgs.msg'):
        monkeypatch.setitem(sys.modules, name, None)
    capsys.readouterr()
    code, without_ros = run(sequence, 'without_ros')
    assert code == 0 and not (without_ros / 'output.mcap').exists()
    line, = [line for line in capsys.readouterr().err.splitlines() if 'output.mcap' in line]
    assert line.startswith('output.mcap is left out, as it needs rclpy and ROS messages')
    for folder, clouds in ((plain, FRAMES // 2 + 1), (without_ros, FRAMES)):
        assert len(list((folder / 'clouds').iterdir())) == clouds
        for kind in ('labels', 'overlay', 'clouds'):
            for path in (folder / kind).iterdir():
                assert path.read_bytes() == (output / kind / path.name).read_bytes()


def test_files_show_what_the_frame_holds(run, sequence):
    _, output = run(sequence, 'out', '--limit', '1')
    photo = cv2.imread(str(sequence / 'rgb' / '000000.png'))
    cloud = read_ply(output / 'clouds' / '000000.ply')
    u = np.rint(110.0 * cloud.points[:, 0] / cloud.points[:, 2] + 63.2).astype(int)
    v = np.rint(112.0 * cloud.points[:, 1] / cloud.points[:, 2] + 47.9).astype(int)
    np.testing.assert_array_equal(cloud.rgb, photo[v, u, ::-1])
    overlay = cv2.imread(str(output / 'overlay' / '000000.jpg')).astype(int)
    labels = label_images(output)['000000.png'].astype(np.int64)
    # Away from outlines: half of the photo and half of the id's colour, up to JPEG's losses.
    inside = cv2.erode(np.uint8(cv2.morphologyEx(
        labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) == 0), np.ones((9, 9)))
    expected = (photo[..., ::-1].astype(int) + label_colours(labels)) / 2
    error = np.abs(overlay[..., ::-1] - expected).max(axis=2)[inside > 0]
    assert len(error) > 100 and np.percentile(error, 90) < 30


def test_pictures_of_the_whole_replay(run, sequence):
    code, output = run(sequence, 'out', '--plots', '--no-bag', '--set',
                       'segmentation.max_segments=3')
    assert code == 0
    assert cv2.imread(str(output / 'strip.jpg')).shape[:2] == (2 * 306 + 6, 4 * 406 + 6)
    assert cv2.imread(str(output / 'timeline.png')).shape[1] > 1000
    run(sequence, 'out', '--limit', '1', '--no-bag')
    assert not (output / 'strip.jpg').exists() and not (output / 'timeline.png').exists()
