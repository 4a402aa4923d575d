from diffseg_ros.tracking.localizer import Whereabouts, World
from diffseg_ros.tracking.relocalisation import KeyViews
from diffseg_ros.tracking.tracking_frame import view_of
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from scenes import pose, Room

CAMERA = Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5)


@pytest.fixture(scope='module')
def room():
    return Room(seed=3)


def view(room, where, with_pose=False, with_depth=True):
    return view_of(room.frame(where, camera=CAMERA, with_pose=with_pose,
                              with_depth=with_depth)[0], 640)


def test_a_view_from_another_place_is_put_where_it_is(room):
    known = KeyViews()
    assert known.empty and known.find(view(room, pose())) is None
    for yaw in (-0.3, 0.0, 0.3):
        known.remember(view(room, pose(yaw=yaw)), pose(yaw=yaw))
    where = pose(x=0.12, y=-0.05, z=0.1, yaw=0.08)
    found = known.find(view(room, where))
    np.testing.assert_allclose(found[:3, 3], where[:3, 3], atol=0.05)
    np.testing.assert_allclose(found[:3, :3], where[:3, :3], atol=0.03)


def test_a_view_of_another_room_is_not_known(room):
    known = KeyViews()
    known.remember(view(room, pose()), pose())
    assert known.find(view(Room(seed=8), pose())) is None


def test_views_that_bring_nothing_new_are_not_kept(room):
    known = KeyViews()
    for number in range(40):
        known.remember(view(room, pose(x=0.001 * number)), pose())
    assert len(known._views) <= 2


def follow(whereabouts, frame, motion=None):
    return whereabouts.follow(frame, motion, measured=frame.measured)


def test_lost_motion_goes_astray_until_a_view_is_known_again(room):
    camera = Whereabouts()
    assert follow(camera, view(room, pose())) is World.NEW
    assert follow(camera, view(room, pose(x=0.1)), pose(x=0.1)) is World.SAME
    away = view(Room(seed=8), pose())
    assert follow(camera, away) is World.ASTRAY and camera.world is None
    assert follow(camera, away, pose(x=0.1)) is World.SAME and camera.world is None
    assert follow(camera, view(room, pose(x=0.05))) is World.FOUND
    np.testing.assert_allclose(camera.world[:3, 3], [0.05, 0, 0], atol=0.05)


def test_who_stays_astray_begins_another_world(room):
    camera = Whereabouts()
    follow(camera, view(room, pose()))
    away = view(Room(seed=8), pose())
    changes = [follow(camera, away) for _ in range(301)]
    assert changes[0] is World.ASTRAY and changes.count(World.NEW) == 1
    np.testing.assert_array_equal(camera.world, np.eye(4))


def test_a_pose_wins_and_begins_its_own_world(room):
    camera = Whereabouts()
    assert follow(camera, view(room, pose())) is World.NEW
    posed = view(room, pose(x=0.4), with_pose=True)
    assert follow(camera, posed, pose(x=0.1)) is World.NEW and follow(camera, posed) is World.SAME
    np.testing.assert_array_equal(camera.world, pose(x=0.4))


def test_a_pose_that_is_late_does_not_end_the_world(room):
    camera, unposed = Whereabouts(), view(room, pose())
    follow(camera, view(room, pose(x=0.4), with_pose=True))
    assert follow(camera, unposed, pose(x=0.1)) is World.SAME
    np.testing.assert_allclose(camera.world, pose(x=0.5))
    away = view(Room(seed=8), pose())
    assert follow(camera, away) is World.ASTRAY and follow(camera, away) is World.SAME
    assert follow(camera, view(room, pose(x=0.6), with_pose=True)) is World.FOUND


def test_without_depth_and_pose_there_is_no_world(room):
    camera, blind = Whereabouts(), view(room, pose(), with_depth=False)
    assert [follow(camera, blind) for _ in range(3)] == [World.SAME] * 3
    assert camera.world is None
    assert follow(camera, view(room, pose())) is World.NEW


def test_a_frame_without_depth_does_not_end_the_world(room):
    camera = Whereabouts()
    follow(camera, view(room, pose()))
    assert follow(camera, view(room, pose(), with_depth=False)) is World.ASTRAY
    assert follow(camera, view(room, pose(), with_depth=False)) is World.SAME
    assert follow(camera, view(room, pose(x=0.05))) is World.FOUND
    np.testing.assert_allclose(camera.world[:3, 3], [0.05, 0, 0], atol=0.05)
