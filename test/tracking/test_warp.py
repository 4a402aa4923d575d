from dataclasses import replace

import cv2
from diffseg_ros.tracking.flow import Flow, flow_source, ImageMotion
from diffseg_ros.tracking.odometry import camera_motion
from diffseg_ros.tracking.tracking_frame import View, view_of
from diffseg_ros.tracking.warp import grid, moved_points, project, rigid_source, world_points
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from scenes import CAMERA, pose, Room

LENS = replace(CAMERA, distortion=(0.2624, -0.9531, -0.0054, 0.0026, 1.1633))


def views(places, **options):
    room = Room()
    made = [room.frame(place, **options) for place in places]
    return [view_of(frame, 640) for frame, _ in made], [truth for _, truth in made]


@pytest.mark.parametrize('place', [pose(x=0.1), pose(z=0.3), pose(yaw=0.1),
                                   pose(0.1, 0.05, 0.2, -0.1)])
def test_known_motion_finds_the_same_surface_again(place):
    (before, now), (old, new) = views([pose(), place])
    source, share = rigid_source(now, before, place)
    carried = old.ravel()[source.index]
    # Half a pixel of rounding shows at outlines only.
    assert (carried == new)[source.known].mean() > 0.98 and share > 0.9
    lost = ~source.known
    assert 0.01 < lost.mean() < 0.35


def test_hidden_surfaces_are_not_known():
    (before, now), (old, new) = views([pose(x=0.3), pose()])
    source, _ = rigid_source(now, before, np.linalg.inv(pose(x=0.3)))
    carried = old.ravel()[source.index]
    uncovered = (carried != new) & (new == 0)
    assert uncovered.sum() > 100 and source.known[uncovered].mean() < 0.1


def test_wrong_motion_explains_little():
    (before, now), _ = views([pose(), pose(x=0.1)])
    assert rigid_source(now, before, pose(z=0.5))[1] < 0.1


@pytest.mark.parametrize('camera', [CAMERA, LENS])
def test_points_project_where_opencv_says(camera):
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 3, (camera.height, camera.width)).astype(np.float32)
    motion = pose(0.05, -0.02, 0.04, 0.03)
    x, y, z = moved_points(depth, camera, motion)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3).astype(float)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix,
                                 np.array(camera.distortion or [0.0] * 4))[0][:, 0]
    columns, rows = project(camera, x, y, z)
    inside = ((expected > 1) & (expected < [camera.width - 2, camera.height - 2])).all(axis=1)
    error = np.hypot(columns.ravel() - expected[:, 0], rows.ravel() - expected[:, 1])
    assert inside.mean() > 0.5 and error[inside].max() < 0.1


def test_world_points_are_those_of_the_depth():
    (view,), _ = views([pose(0.1, 0.2, 0.3, 0.4)])
    rows, columns = grid(view.depth[::7, ::7] > 0, 7)
    points = world_points(view, view.pose, rows, columns)
    expected = np.stack(moved_points(view.depth, view.intrinsics, view.pose), axis=-1)
    np.testing.assert_allclose(points, expected[rows, columns], atol=1e-5)


@pytest.mark.parametrize('place', [pose(x=0.06), pose(z=0.15), pose(yaw=0.08),
                                   pose(0.03, 0.02, 0.05, -0.05)])
def test_odometry_recovers_the_motion(place):
    (before, now), _ = views([pose(), place])
    found = camera_motion(now, before, Flow().between(now, before))
    turn = cv2.Rodrigues(found[:3, :3].T @ place[:3, :3])[0]
    assert np.linalg.norm(found[:3, 3] - place[:3, 3]) < 0.02
    assert np.degrees(np.linalg.norm(turn)) < 0.4


def test_odometry_pairs_features_where_flow_is_lost():
    place = pose(x=0.1, yaw=0.3)
    large = Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5)
    (before, now), _ = views([pose(), place], camera=large)
    lost = ImageMotion(np.zeros((*now.grey.shape, 2), np.float32), np.zeros(now.grey.shape, bool))
    found = camera_motion(now, before, lost)
    turn = cv2.Rodrigues(found[:3, :3].T @ place[:3, :3])[0]
    assert np.linalg.norm(found[:3, 3] - place[:3, 3]) < 0.05
    assert np.degrees(np.linalg.norm(turn)) < 1.0


def test_odometry_gives_up_where_nothing_agrees():
    (before, now), _ = views([pose(), pose()])
    rng = np.random.default_rng(0)
    scrambled = replace(before, depth=rng.uniform(1, 9, before.shape).astype(np.float32))
    assert camera_motion(now, scrambled, Flow().between(now, before)) is None
    blind = replace(before, depth=np.full(before.shape, np.nan, np.float32))
    assert camera_motion(now, blind, Flow().between(now, before)) is None


@pytest.mark.parametrize('coarse', [False, True])
def test_flow_follows_a_shift(coarse):
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.uniform(0, 255, (260, 360)).astype(np.float32), (0, 0), 3)
    large = cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    before, now = (View((240, 320), large[10:250, left:left + 320]) for left in (10, 22))
    motion = Flow().between(now, before, coarse=coarse)
    index, known = (part.reshape(240, 320) for part in
                    flow_source(motion, (240, 320), np.arange(240 * 320)))
    step = index % 320 - np.arange(320)
    inside = known[8:-8, 8:-20]
    assert inside.mean() > 0.9 and np.median(step[8:-8, 8:-20][inside]) == 12
    assert not known[:, -11:].any()
    some = np.array([5000, 123, 70000])
    few, sure = flow_source(motion, (240, 320), some)
    assert (few == index.ravel()[some]).all() and (sure == known.ravel()[some]).all()


def test_flow_distrusts_other_pictures_and_tiny_ones():
    rng = np.random.default_rng(0)
    noise = [View((120, 160), rng.integers(0, 255, (120, 160), np.uint8)) for _ in range(2)]
    assert Flow().between(*noise).consistent.mean() < 0.3
    tiny = View((3, 3), np.zeros((3, 3), np.uint8))
    assert not Flow().between(tiny, tiny).consistent.any()


def test_views_shrink_and_leave_out_what_is_not_wanted():
    frame, _ = Room().frame(pose(), camera=Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5))
    view = view_of(frame, 160)
    assert view.shape == (120, 160) and view.depth.shape == (120, 160)
    assert view.intrinsics.fx == pytest.approx(140.0) and view.measured
    bare = view_of(frame, 160, depth=False, pose=False)
    assert bare.depth is None and bare.pose is None and not bare.measured
    assert view.resized((60, 80)).depth.shape == (60, 80)
