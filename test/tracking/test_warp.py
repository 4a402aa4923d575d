import cv2
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import flow_source, OpticalFlow, rigid_source
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from tracking_scenes import pose, Room


def views(places, **options):
    frames, truths = zip(*(Room().frame(place, **options) for place in places))
    return [TrackingFrame.from_frame(frame, 640) for frame in frames], truths


@pytest.mark.parametrize('place', [pose(x=0.1), pose(z=0.3), pose(yaw=0.1),
                                   pose(0.1, 0.05, 0.2, -0.1)])
def test_knobject_motion_finds_the_same_surface_again(place):
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


@pytest.mark.parametrize('quick', [False, True])
def test_flow_follows_a_shift(quick):
    rng = np.random.default_rng(0)
    large = cv2.GaussianBlur(rng.uniform(0, 255, (260, 360)).astype(np.float32), (0, 0), 3)
    large = cv2.normalize(large, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    before, now = (TrackingFrame((240, 320), large[10:250, left:left + 320].copy())
                   for left in (10, 22))
    motion = OpticalFlow().checked(now, before, quick=quick)
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
    noise = [TrackingFrame((120, 160), rng.integers(0, 255, (120, 160), np.uint8))
             for _ in range(2)]
    assert OpticalFlow().checked(*noise).consistent.mean() < 0.3
    tiny = TrackingFrame((3, 3), np.zeros((3, 3), np.uint8))
    assert not OpticalFlow().checked(tiny, tiny).consistent.any()


def test_views_shrink_and_leave_out_what_is_not_wanted():
    frame, _ = Room().frame(pose(), camera=Intrinsics(320, 240, 280.0, 280.0, 159.5, 119.5))
    view = TrackingFrame.from_frame(frame, 160)
    assert view.shape == (120, 160) and view.depth.shape == (120, 160)
    assert view.intrinsics.fx == pytest.approx(140.0) and view.has_points
    bare = TrackingFrame.from_frame(frame, 160, depth=False, pose=False)
    assert bare.depth is None and bare.pose is None and not bare.has_points
    assert view.resized((60, 80)).depth.shape == (60, 80)
