"""The camera's pose from TF and odometry, and in words why there is none."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from diffseg_ros.ros.camera_motion import CameraMotion
import numpy as np
import pytest

S = 10**9


def header(stamp: int, frame_id: str) -> SimpleNamespace:
    return SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=stamp // S,
                                                                    nanosec=stamp % S))


def vector(*values: float) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip('xyzw', values)))


def odometry(stamp: int, x: float, child: str = 'base') -> SimpleNamespace:
    pose = SimpleNamespace(position=vector(x, 0, 0), orientation=vector(0, 0, 0, 1))
    return SimpleNamespace(header=header(stamp, 'odom'), child_frame_id=child,
                           pose=SimpleNamespace(pose=pose))


def transforms(stamp: int, parent: str, child: str, *place: float) -> SimpleNamespace:
    transform = SimpleNamespace(translation=vector(*place), rotation=vector(0, 0, 0, 1))
    return SimpleNamespace(transforms=[SimpleNamespace(
        header=header(stamp, parent), child_frame_id=child, transform=transform)])


def position(motion: CameraMotion, stamp: int, **options: float) -> list[float] | None:
    pose = motion.pose('camera', stamp, **options)
    return None if pose is None else pose[:3, 3].tolist()


def test_nothing_is_known_without_messages():
    motion = CameraMotion()
    assert position(motion, S) is None
    assert (motion.source, motion.no_pose_reason) == ('', 'neither TF nor odometry came')


def test_odometry_of_the_camera_itself_is_interpolated_and_not_extrapolated():
    motion = CameraMotion()
    motion.add_odometry(odometry(S, 1.0, 'camera'))
    motion.add_odometry(odometry(2 * S, 2.0, 'camera'))
    assert position(motion, S + S // 2) == [1.5, 0, 0]
    assert motion.source == 'odometry'
    assert position(motion, 3 * S) is None
    assert 'does not reach the image: its last stamp is -1000 ms' in motion.no_pose_reason


def test_odometry_of_the_base_needs_to_know_where_the_camera_is():
    motion = CameraMotion()
    motion.add_odometry(odometry(S, 1.0))
    assert position(motion, S) is None
    assert "moves 'base'" in motion.no_pose_reason and 'base_to_camera' in motion.no_pose_reason
    motion = CameraMotion(base_to_camera=(0.1, 0.2, 0.3, 0, 0, 0, 1))
    motion.add_odometry(odometry(S, 1.0))
    assert position(motion, S) == pytest.approx([1.1, 0.2, 0.3])


def test_static_transforms_lead_from_odometry_to_the_camera():
    motion = CameraMotion()
    motion.add_transforms(transforms(0, 'base', 'mast', 0, 0, 1), static=True)
    motion.add_transforms(transforms(0, 'mast', 'camera', 0, 1, 0), static=True)
    assert motion.up('camera', S) is None
    motion.add_transforms(transforms(0, 'base_link', 'base', 0, 0, 0), static=True)
    assert motion.up('camera', S).tolist() == [0, 0, 1]
    motion.add_odometry(odometry(S, 5.0))
    assert position(motion, S) == [5, 1, 1]
    assert motion.source == 'odometry'


def test_tf_comes_first_where_it_has_the_camera():
    motion = CameraMotion()
    motion.add_transforms(transforms(0, 'base', 'camera', 0, 0, 1), static=True)
    motion.add_transforms(transforms(S, 'odom', 'base', 7, 0, 0), static=False)
    motion.add_odometry(odometry(S, 5.0))
    assert position(motion, S) == [7, 0, 1]
    assert motion.source == 'tf'
    only = CameraMotion(tf=False)
    only.add_odometry(odometry(S, 5.0, 'camera'))
    only.add_transforms(transforms(S, 'odom', 'camera', 7, 0, 0), static=False)
    assert position(only, S) == [5, 0, 0]


def test_the_pose_in_odom_is_that_of_tf_alone():
    motion, without_tf = CameraMotion(), CameraMotion(tf=False)
    for one in (motion, without_tf):
        one.add_odometry(odometry(S, 5.0, 'camera'))
        one.add_transforms(transforms(S, 'map', 'odom', 20, 0, 0), static=False)
        assert one.odom_pose('camera', S) is None
        one.add_transforms(transforms(S, 'odom', 'camera', 7, 0, 0), static=False)
    assert position(motion, S) == [27, 0, 0] and motion.fixed_frame == 'map'
    assert motion.odom_pose('camera', S)[:3, 3].tolist() == [7, 0, 0]
    assert without_tf.odom_pose('camera', S) is None


def test_unconnected_tf_is_named():
    motion = CameraMotion()
    motion.add_transforms(transforms(S, 'odom', 'base', 7, 0, 0), static=False)
    assert position(motion, S) is None
    assert "no moving transform leads to 'camera'" in motion.no_pose_reason


def test_a_transform_on_its_way_is_waited_for():
    motion = CameraMotion()
    motion.add_odometry(odometry(S, 1.0, 'camera'))
    late = threading.Timer(0.05, lambda: motion.add_odometry(odometry(3 * S, 3.0, 'camera')))
    late.start()
    assert position(motion, 2 * S, timeout=5.0) == [2, 0, 0]
    late.join()


def test_three_images_wait_for_a_late_transform_and_no_more():
    motion = CameraMotion()
    motion.add_odometry(odometry(S, 1.0, 'camera'))
    waited = []
    for _ in range(5):
        begin = time.monotonic()
        assert position(motion, 2 * S, timeout=0.05) is None
        waited.append(time.monotonic() - begin > 0.04)
    assert waited == [True, True, True, False, False]
    motion.add_odometry(odometry(2 * S, 2.0, 'camera'))
    assert position(motion, 2 * S, timeout=0.05) == [2, 0, 0]


def test_clock_that_jumps_back_forgets_what_moved_and_keeps_what_is_static():
    motion = CameraMotion()
    motion.add_transforms(transforms(0, 'base', 'camera', 0, 0, 1), static=True)
    for stamp in (10, 11):
        motion.add_odometry(odometry(stamp * S, stamp))
    for stamp in (1, 2):
        motion.add_odometry(odometry(stamp * S, stamp))
    assert position(motion, S + S // 2) == [1.5, 0, 1]
    assert position(motion, 10 * S) is None


def test_clock_that_jumps_back_is_noticed_in_odometry_when_tf_jumped_before_it():
    motion = CameraMotion()
    for stamp in (10, 11, 1, 2):
        motion.add_transforms(transforms(stamp * S, 'odom', 'arm', stamp, 0, 0), static=False)
        motion.add_odometry(odometry(stamp * S, stamp, 'camera'))
    assert position(motion, S + S // 2) == [1.5, 0, 0]
    assert position(motion, 5 * S) is None
    assert 'its last stamp is -3000 ms' in motion.no_pose_reason


def test_odometry_that_lags_behind_tf_of_the_same_frame_is_kept():
    motion = CameraMotion(base_to_camera=(0, 0, 1, 0, 0, 0, 1))
    for stamp in range(1, 6):
        motion.add_transforms(transforms((stamp + 1) * S, 'odom', 'base', 0, 0, 0), static=False)
        motion.add_odometry(odometry(stamp * S, stamp))
    assert position(motion, 2 * S + S // 2) == [2.5, 0, 1]


def test_broken_quaternion_gives_no_pose():
    motion = CameraMotion()
    message = odometry(S, float('nan'), 'camera')
    motion.add_odometry(message)
    assert position(motion, S) is None


def test_points_in_other_frames_lead_to_the_camera_by_tf_or_odometry():
    motion = CameraMotion(base_to_camera=(0, 0, 1, 0, 0, 0, 1))
    assert motion.between('odom', 'camera', S) is None
    motion.add_odometry(odometry(S, 5.0))
    assert motion.between('odom', 'camera', S)[:3, 3].tolist() == [-5, 0, -1]
    assert motion.between('base', 'camera', S)[:3, 3].tolist() == [0, 0, -1]
    assert motion.between('moon', 'camera', S) is None
    motion.add_transforms(transforms(0, 'camera', 'hand', 0, 3, 0), static=True)
    assert motion.between('hand', 'camera', S)[:3, 3].tolist() == [0, 3, 0]


def test_up_and_the_way_to_the_camera_are_known_without_messages_as_far_as_settings_tell():
    tilted = (np.sin(-np.pi / 3), 0, 0, np.cos(np.pi / 3))
    motion = CameraMotion(tf=False, odometry=False, base_to_camera=(0, 0, 1, *tilted))
    np.testing.assert_allclose(motion.up('camera', S), (0, -np.sin(2 * np.pi / 3), -0.5),
                               atol=1e-9)
    assert CameraMotion().up('camera', S) is None
    # What another node brought into the camera's frame needs no transform.
    assert motion.between('/camera', 'camera', S).tolist() == np.eye(4).tolist()


def test_the_motion_between_two_stamps_is_undone_where_it_is_known():
    motion = CameraMotion()
    motion.add_transforms(transforms(0, 'base', 'camera', 0, 0, 1), static=True)
    motion.add_transforms(transforms(0, 'base', 'lidar', 0, 0, 2), static=True)
    assert motion.moved('lidar', S, 'camera', 2 * S) is None
    for second in (1, 2):
        motion.add_odometry(odometry(second * S, float(second)))
    assert motion.moved('lidar', S, 'camera', 2 * S)[:3, 3].tolist() == [-1, 0, 1]
    assert motion.moved('lidar', S - 1, 'camera', 2 * S) is None
    for second in (1, 2):
        motion.add_transforms(transforms(second * S, 'odom', 'base', 3 * second, 0, 0),
                              static=False)
    assert motion.moved('lidar', S, 'camera', 2 * S)[:3, 3].tolist() == [-3, 0, 1]
