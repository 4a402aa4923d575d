"""Quaternions and the transform tree."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import (
    pose_from_quaternion,
    quaternion_from_pose,
    TransformTree,
)
from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest

COMPONENT = st.floats(-1, 1, allow_subnormal=False)


@given(st.tuples(COMPONENT, COMPONENT, COMPONENT, COMPONENT))
def test_quaternion_round_trip(quaternion):
    norm = np.linalg.norm(quaternion)
    assume(norm > 1e-3)
    pose = pose_from_quaternion((1, -2, 3), quaternion)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose) == pytest.approx(1)
    found = np.array(quaternion_from_pose(pose))
    assert abs(found @ quaternion / norm) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(pose_from_quaternion((1, -2, 3), found), pose, atol=1e-12)


def test_quarter_turn():
    pose = pose_from_quaternion((0, 0, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize('quaternion', [(0, 0, 0, 0), (np.nan, 0, 0, 1), (np.inf, 0, 0, 1)])
def test_no_rotation(quaternion):
    with pytest.raises(DiffsegError, match='quaternion'):
        pose_from_quaternion((0, 0, 0), quaternion)


def test_rotation_is_interpolated_on_the_sphere():
    quarter = np.array([0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4)])
    for sign in (1, -1):
        tree = TransformTree()
        tree.add('map', 'camera', 0, (0, 0, 0), (0, 0, 0, 1))
        tree.add('map', 'camera', 100, (2, 0, 0), sign * quarter)
        pose = tree.pose('camera', 50)
        angle = np.pi / 4
        np.testing.assert_allclose(pose[:2, :2], [[np.cos(angle), -np.sin(angle)],
                                                  [np.sin(angle), np.cos(angle)]], atol=1e-12)
        assert pose[0, 3] == 1


def test_long_recordings_are_pruned_but_recent_is_kept():
    tree = TransformTree()
    for number in range(40_000):
        tree.add('map', 'camera', number * 1_000_000, (number, 0, 0), (0, 0, 0, 1))
    assert tree.pose('camera', 39_999 * 10**6)[0, 3] == 39_999
    assert tree.pose('camera', 30_000 * 10**6)[0, 3] == 30_000
    assert tree.pose('camera', 0) is None


def test_slashes_loops_and_strangers():
    tree = TransformTree()
    tree.add('/map', '/camera', None, (1, 0, 0), (0, 0, 0, 1))
    assert tree.pose('camera', 5)[0, 3] == 1
    assert tree.pose('stranger', 5) is None
    tree.add('camera', 'map', 5, (1, 0, 0), (0, 0, 0, 1))
    assert tree.pose('camera', 5) is None


def test_a_frame_is_known_in_any_other_of_its_tree():
    tree = TransformTree()
    tree.add('odom', 'base', 0, (5, 0, 0), (0, 0, 0, 1))
    tree.add('odom', 'base', 100, (7, 0, 0), (0, 0, 0, 1))
    tree.add('base', 'camera', None, (0, 1, 0), (0, 0, 0, 1))
    tree.add('base', 'arm', None, (0, 0, 2), (0, 0, 0, 1))
    tree.add('elsewhere', 'other', None, (9, 9, 9), (0, 0, 0, 1))
    for source, target, place in (
            ('odom', 'camera', (-6, -1, 0)), ('/camera', 'odom', (6, 1, 0)),
            ('arm', 'camera', (0, -1, 2)), ('camera', 'camera', (0, 0, 0))):
        np.testing.assert_allclose(tree.between(source, target, 50)[:3, 3], place)
    assert tree.between('other', 'camera', 50) is None
    assert tree.between('stranger', 'camera', 50) is None
    assert tree.between('odom', 'camera', 500) is None


def test_frames_of_one_robot_are_known_in_each_other_where_its_place_is_not():
    tree, on_its_side = TransformTree(), (np.sqrt(0.5), 0, 0, np.sqrt(0.5))
    tree.add('odom', 'base_link', 0, (5, 0, 0), (0, 0, 0, 1))
    tree.add('base_link', 'lidar', None, (0, 0, 2), (0, 0, 0, 1))
    tree.add('base_link', 'camera', None, (0, 1, 0), on_its_side)
    # The transform of the robot comes late, or not any more.
    assert tree.pose('camera', 50) is None
    np.testing.assert_allclose(tree.between('lidar', 'camera', 50)[:3, 3], (0, 2, 1), atol=1e-9)
    np.testing.assert_allclose(tree.up('camera', 50), (0, 1, 0), atol=1e-9)


def test_up_is_known_on_a_robot_whose_place_is_not():
    tree, on_its_side = TransformTree(), (np.sqrt(0.5), 0, 0, np.sqrt(0.5))
    tree.add('robot/base_link', 'mast', None, (0, 0, 1), (0, 0, 0, 1))
    tree.add('mast', 'camera', None, (0, 0, 0), on_its_side)
    tree.add('depth_optical', 'rgb_optical', None, (0.05, 0, 0), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.up('camera', 0), (0, 1, 0), atol=1e-9)
    assert tree.up('rgb_optical', 0) is None and tree.up('stranger', 0) is None
    tree.add('mast', 'camera', None, (0, 0, 0), (0, 0, 0, 0))
    assert tree.up('camera', 0) is None


def test_what_a_moving_sensor_saw_stays_in_its_place():
    tree, quarter = TransformTree(), (0, 0, np.sqrt(0.5), np.sqrt(0.5))
    tree.add('odom', 'base', 0, (0, 0, 0), (0, 0, 0, 1))
    tree.add('odom', 'base', 100, (2, 0, 0), quarter)
    tree.add('base', 'lidar', None, (0, 0, 1), (0, 0, 0, 1))
    seen = tree.moved('lidar', 0, 'base', 100) @ (5, 3, 0, 1)
    np.testing.assert_allclose(seen, (3, -3, 1, 1), atol=1e-9)
    np.testing.assert_allclose(tree.moved('lidar', 100, 'base', 100),
                               tree.between('lidar', 'base', 100))
    assert tree.moved('lidar', 101, 'base', 100) is None
    tree.add('robot', 'other', None, (0, 0, 0), (0, 0, 0, 1))
    assert tree.moved('other', 50, 'base', 50) is None


@pytest.mark.parametrize('odom', ['odom', 'robot/odom'])
def test_a_correction_of_the_map_is_no_motion_of_the_robot(odom):
    tree = TransformTree()
    for stamp, place in ((0, 0.0), (100, 0.4)):  # localisation jumps, the robot stands still
        tree.add('map', odom, stamp, (place, 0, 0), (0, 0, 0, 1))
        tree.add(odom, 'base', stamp, (7, 0, 0), (0, 0, 0, 1))
    tree.add('base', 'lidar', None, (0, 0, 1), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.moved('lidar', 0, 'base', 100)[:3, 3], (0, 0, 1), atol=1e-9)
    assert tree.odom_pose('lidar', 100)[:3, 3].tolist() == [7, 0, 1]
    assert tree.odom_pose(odom, 100) is None and tree.odom_pose('lidar', 101) is None
    # Where the robot is on the map may be told later than how it moved.
    tree.add(odom, 'base', 150, (8, 0, 0), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.moved('lidar', 100, 'base', 150)[:3, 3], (-1, 0, 1),
                               atol=1e-9)


def test_a_sensor_that_is_turned_on_its_robot_is_where_it_was_then():
    tree = TransformTree()
    for stamp in (0, 100):
        tree.add('base', 'lidar', stamp, (0, 0, stamp), (0, 0, 0, 1))
    tree.add('base', 'camera', None, (0, 1, 0), (0, 0, 0, 1))
    np.testing.assert_allclose(tree.moved('lidar', 0, 'camera', 100)[:3, 3], (0, -1, 0))
