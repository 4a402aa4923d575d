from diffseg_ros.tracking.flow import Flow
from diffseg_ros.tracking.object_motion import own_motion
from diffseg_ros.tracking.tracking_frame import view_of
from diffseg_ros.tracking.warp import rigid_source
import numpy as np
import pytest
from scenes import Passage, pose, Room


def seen(before, now, with_pose=False):
    earlier, later = view_of(before, 640), view_of(now, 640)
    if not with_pose:
        return own_motion(later, earlier, Flow().between(later, earlier))
    rigid, _ = rigid_source(later, earlier, np.linalg.inv(earlier.pose) @ later.pose)
    return own_motion(later, earlier, Flow().towards(later, earlier), rigid)


def on_grid(truth, own):
    rows, columns = (np.arange(side) * whole // side
                     for side, whole in zip(own.moving.shape, truth.shape, strict=True))
    return truth[rows[:, None], columns]


@pytest.mark.parametrize('pan', [0, 3, -2])
def test_a_thing_is_told_from_the_wall_that_the_camera_pans_along(pan):
    passage = Passage()
    before, _ = passage.frame(0, 60)
    now, truth = passage.frame(pan, 66)
    own = seen(before, now)
    thing = on_grid(truth, own) > 1
    assert own.moving[thing].mean() > 0.5 and own.still[thing].mean() < 0.1
    assert own.still[~thing].mean() > 0.85 and own.moving[~thing].mean() < 0.05
    step = np.median(own.steps[thing & own.moving], axis=0) * truth.shape[1]
    np.testing.assert_allclose(step, [6 + pan, 0], atol=0.8)


def test_with_depth_and_pose_the_step_is_against_the_world():
    passage = Passage()
    (before, _), (now, truth) = (passage.frame(0, at, with_depth=True) for at in (60, 66))
    own = seen(before, now, with_pose=True)
    thing = on_grid(truth, own) > 1
    assert own.moving[thing].mean() > 0.5
    assert own.still[~thing].mean() > 0.8 and own.moving[~thing].mean() < 0.03
    np.testing.assert_allclose(np.median(own.steps[thing & own.moving], axis=0) * 320, [6, 0],
                               atol=0.8)


def test_with_depth_and_pose_parallax_is_no_motion():
    room = Room()
    (before, _), (now, _) = (room.frame(pose(x=x, yaw=x)) for x in (0, 0.04))
    own = seen(before, now, with_pose=True)
    assert own.moving.mean() < 0.03 and own.still.mean() > 0.5


def test_a_change_of_light_is_no_motion():
    frame, _ = Passage().frame()
    dim = (frame.rgb * 0.9).astype(np.uint8)
    own = seen(frame, type(frame)(dim, 1, 'camera'))
    assert own is None or own.moving.mean() < 0.02


def test_where_most_of_the_margin_moves_nothing_is_said():
    # The wall passes by behind a thing that fills the middle: it could be either that moves.
    passage = Passage(parts=6)
    passage.thing = np.tile(passage.thing, (3, 1, 1))[:150]
    (before, _), (now, _) = passage.frame(0, 40), passage.frame(9, 40)
    own = seen(before, now)
    assert own is None or own.still[0].mean() > own.moving[0].mean()


@pytest.mark.parametrize('size', [(8, 8), (17, 33)])
def test_images_too_small_or_blank_say_nothing(size):
    frame = Passage().frame()[0]
    blank = type(frame)(np.zeros((*size, 3), np.uint8), 0, 'camera')
    own = seen(blank, blank)
    assert own is None or not own.moving.any()
