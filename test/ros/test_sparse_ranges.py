"""Ranges of another sensor at the stamp of an image, with and without the robot's motion."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.camera_motion import CameraMotion  # noqa: E402
from diffseg_ros.ros.counters import Counters  # noqa: E402
from diffseg_ros.ros.messages import make_header  # noqa: E402
from diffseg_ros.ros.sparse_ranges import SparseRanges  # noqa: E402
import numpy as np  # noqa: E402
from sensor_msgs.msg import LaserScan  # noqa: E402
from test_motion import odometry, transforms  # noqa: E402

MS = 1_000_000


def scan(stamp: int, frame_id: str = 'lidar') -> LaserScan:
    return LaserScan(header=make_header(stamp, frame_id), angle_increment=0.1, range_min=0.1,
                     range_max=9.0, ranges=[2.0, float('inf')])


def sensor(*, moving: bool) -> SparseRanges:
    """Return ranges of a lidar beside a camera, on a robot that drives ahead at 1 m/s."""
    motion = CameraMotion()
    for child, side in (('lidar', 1), ('camera', 0)):
        motion.add_transforms(transforms(0, 'base', child, 0, side, 0), static=True)
    for stamp in range(0, 2001, 100) if moving else ():
        motion.add_odometry(odometry(stamp * MS, stamp / 1e3))
    return SparseRanges('scan', motion, Counters())


@pytest.mark.parametrize(('age', 'moving', 'ahead'), [
    (150, True, 1.85), (450, True, 1.55), (550, True, None), (150, False, 2), (250, False, None)])
def test_ranges_may_be_older_where_the_motion_since_is_known(age, moving, ahead):
    ranges = sensor(moving=moving)
    ranges.add(scan((1000 - age) * MS))
    points = ranges.points('camera', 1000 * MS)
    if ahead is None:
        assert points is None and f'{-age:+} ms from the image; 200 ms are' in ranges.problem
    else:
        np.testing.assert_allclose(points, [[ahead, 1, 0]], atol=1e-6)
        assert not ranges.problem


def test_most_images_have_ranges_of_a_lidar_at_5_hz_as_soon_as_they_come():
    ranges, stamps, with_ranges = sensor(moving=True), iter(range(0, 2000, 190)), []
    begun = next(stamps)
    for image in range(200, 1800, 33):
        # The message of a turn comes when the next one has begun.
        while begun + 190 <= image:
            ranges.add(scan(begun * MS))
            begun = next(stamps)
        with_ranges.append(ranges.points('camera', image * MS) is not None)
    assert np.mean(with_ranges) == 1


def test_ranges_in_the_frame_of_the_camera_need_no_transform_and_others_do():
    ranges = SparseRanges('scan', CameraMotion(tf=False, odometry=False), Counters())
    ranges.add(scan(0, '/camera'))
    assert ranges.points('camera', 0).tolist() == [[2, 0, 0]]
    assert ranges.points('left_camera', 0) is None
    for motion in (CameraMotion(tf=False, odometry=False), CameraMotion()):
        assert motion.between('', '', 0) is None  # a driver that names no frame says nothing
    assert "no transform leads from '/camera' to the camera 'left_camera'" in ranges.problem
