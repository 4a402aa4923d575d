from dataclasses import replace

import cv2
from diffseg_ros.tracking.localizer import (
    camera_motion,
    CameraLocalizer,
    CameraState,
    Relocalizer,
)
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import ImageMotion, OpticalFlow
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from tracking_scenes import pose, Room

CAMERA = Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def room():
    return Room(seed=3)


def view(room, where, with_pose=False, with_depth=True):
    return TrackingFrame.from_frame(room.frame(where, camera=CAMERA, with_pose=with_pose,
                              with_depth=with_depth)[0], 640)


def test_a_view_from_another_place_is_put_where_it_is(room):
    known = Relocalizer()
    assert not known and known.find(view(room, pose())) is None
    for yaw in (-0.3, 0.0, 0.3):
        known.remember(view(room, pose(yaw=yaw)), pose(yaw=yaw))
    where = pose(x=0.12, y=-0.05, z=0.1, yaw=0.08)
    found = known.find(view(room, where))
    np.testing.assert_allclose(found[:3, 3], where[:3, 3], atol=0.05)
    np.testing.assert_allclose(found[:3, :3], where[:3, :3], atol=0.03)


def test_a_view_of_another_room_is_not_known(room):
    known = Relocalizer()
    known.remember(view(room, pose()), pose())
    assert known.find(view(Room(seed=8), pose())) is None


def test_views_that_bring_nothing_new_are_not_kept(room):
    known = Relocalizer()
    for number in range(40):
        known.remember(view(room, pose(x=0.001 * number)), pose())
    assert len(known._views) <= 2


def follow(localizer, frame, motion=None):
    return localizer.update(frame, motion, use_depth=frame.has_points)


def test_lost_motion_goes_astray_until_a_view_is_known_again(room):
    camera = CameraLocalizer()
    assert follow(camera, view(room, pose())) is CameraState.RESET
    assert follow(camera, view(room, pose(x=0.1)), pose(x=0.1)) is CameraState.TRACKING
    away = view(Room(seed=8), pose())
    assert follow(camera, away) is CameraState.LOST and camera.pose is None
    assert follow(camera, away, pose(x=0.1)) is CameraState.LOST and camera.pose is None
    assert follow(camera, view(room, pose(x=0.05))) is CameraState.RELOCALIZED
    np.testing.assert_allclose(camera.pose[:3, 3], [0.05, 0, 0], atol=0.05)


def test_who_stays_astray_begins_another_world(room):
    camera = CameraLocalizer()
    follow(camera, view(room, pose()))
    away = view(Room(seed=8), pose())
    changes = [follow(camera, away) for _ in range(301)]
    assert changes[0] is CameraState.LOST and changes.count(CameraState.RESET) == 1
    np.testing.assert_array_equal(camera.pose, np.eye(4))


def test_a_pose_wins_and_begins_its_own_world(room):
    camera = CameraLocalizer()
    assert follow(camera, view(room, pose())) is CameraState.RESET
    posed = view(room, pose(x=0.4), with_pose=True)
    assert follow(camera, posed, pose(x=0.1)) is CameraState.RESET
    assert follow(camera, posed) is CameraState.TRACKING
    np.testing.assert_array_equal(camera.pose, pose(x=0.4))


def test_a_pose_that_is_late_does_not_end_the_world(room):
    camera, unposed = CameraLocalizer(), view(room, pose())
    follow(camera, view(room, pose(x=0.4), with_pose=True))
    assert follow(camera, unposed, pose(x=0.1)) is CameraState.TRACKING
    np.testing.assert_allclose(camera.pose, pose(x=0.5))
    away = view(Room(seed=8), pose())
    assert [follow(camera, away) for _ in range(2)] == [CameraState.LOST] * 2
    assert follow(camera, view(room, pose(x=0.6), with_pose=True)) is CameraState.RELOCALIZED


def test_without_depth_and_pose_there_is_no_world(room):
    camera, blind = CameraLocalizer(), view(room, pose(), with_depth=False)
    assert [follow(camera, blind) for _ in range(3)] == [CameraState.TRACKING] * 3
    assert camera.pose is None
    assert follow(camera, view(room, pose())) is CameraState.RESET


def test_a_frame_without_depth_does_not_end_the_world(room):
    camera = CameraLocalizer()
    follow(camera, view(room, pose()))
    for _ in range(2):
        assert follow(camera, view(room, pose(), with_depth=False)) is CameraState.LOST
    assert follow(camera, view(room, pose(x=0.05))) is CameraState.RELOCALIZED
    np.testing.assert_allclose(camera.pose[:3, 3], [0.05, 0, 0], atol=0.05)


def views(places, **options):
    return [TrackingFrame.from_frame(Room().frame(place, **options)[0], 640) for place in places]


@pytest.mark.parametrize('place', [pose(x=0.06), pose(z=0.15), pose(yaw=0.08),
                                   pose(0.03, 0.02, 0.05, -0.05)])
def test_odometry_recovers_the_motion(place):
    before, now = views([pose(), place])
    found = camera_motion(now, before, OpticalFlow().checked(now, before))
    turn = cv2.Rodrigues(found[:3, :3].T @ place[:3, :3])[0]
    assert np.linalg.norm(found[:3, 3] - place[:3, 3]) < 0.02
    assert np.degrees(np.linalg.norm(turn)) < 0.4


def test_odometry_pairs_features_where_flow_is_lost():
    place = pose(x=0.1, yaw=0.3)
    large = Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5)
    before, now = views([pose(), place], camera=large)
    lost = ImageMotion(np.zeros((*now.grey.shape, 2), np.float32), np.zeros(now.grey.shape, bool))
    found = camera_motion(now, before, lost)
    turn = cv2.Rodrigues(found[:3, :3].T @ place[:3, :3])[0]
    assert np.linalg.norm(found[:3, 3] - place[:3, 3]) < 0.05
    assert np.degrees(np.linalg.norm(turn)) < 1.0


def test_odometry_gives_up_where_nothing_agrees():
    before, now = views([pose(), pose()])
    rng = np.random.default_rng(0)
    scrambled = replace(before, depth=rng.uniform(1, 9, before.shape).astype(np.float32))
    assert camera_motion(now, scrambled, OpticalFlow().checked(now, before)) is None
    blind = replace(before, depth=np.full(before.shape, np.nan, np.float32))
    assert camera_motion(now, blind, OpticalFlow().checked(now, before)) is None
