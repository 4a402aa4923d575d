"""Points that lie where the camera saw through before, with known truth."""

from dataclasses import replace

from diffseg_ros.tracking.free_space import FreeSpace
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from tracking_scenes import pose, Room

SECOND = 10**9
BOARD = (-0.2, -0.3, 0.3, 0.2, 2.0)


def view(x, where=None, seconds=0.0, boards=1, shape=None):
    """Return a frame with a board moved by x, its truth, and the camera's pose."""
    left, top, right, bottom, far = BOARD
    where = pose() if where is None else where
    moved = [(left + x, top, right + x, bottom, far)][:boards]
    frame, truth = Room(moved).frame(where, round(seconds * SECOND))
    return TrackingFrame.from_frame(frame, 640), truth, where


def moved_between(*views):
    space, found = FreeSpace(), None
    for frame, _, where in views:
        found = space.update(frame, where)
    return found


@pytest.mark.parametrize('where', [pose(), pose(x=0.1, yaw=0.05), pose(z=0.15, yaw=-0.04)])
def test_what_moved_is_marked_and_the_rest_is_not(where):
    now = view(0.7, where, 1.0)
    found = moved_between(view(0.0), now)
    thing = now[1] == 1
    assert found.moved.shape == thing.shape
    assert found.moved[thing].mean() > 0.9 and found.sure[thing].mean() > 0.9
    assert not found.moved[~thing].any()
    assert found.stayed[~thing].mean() > 0.5 and not found.stayed[thing].any()


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.2, 0.2), st.floats(-0.1, 0.2), st.floats(-0.1, 0.1))
def test_where_only_the_camera_moves_nothing_does(x, z, yaw):
    found = moved_between(view(0.0), view(0.0, pose(x=x, z=z, yaw=yaw), 1.0))
    assert not found.moved.any()


def test_what_was_hidden_or_out_of_view_is_left_open():
    space = FreeSpace()
    (before, _, where), (now, truth, _) = view(0.7), view(0.0, seconds=1.0)
    blind = before.depth.copy()
    blind[:, :80] = np.nan
    space.update(replace(before, depth=blind), where)
    found = space.update(now, where)
    assert not (found.moved | found.stayed)[:, :79].any()
    behind = view(0.7)[1] == 1
    assert not (found.moved | found.stayed)[behind & (truth == 0)].any()


def test_there_is_no_answer_too_soon_after_the_last_and_nothing_moves_at_first():
    space = FreeSpace()
    first = space.update(view(0.0)[0], pose())
    assert not first.moved.any() and not first.stayed.any()
    assert space.update(view(0.7, seconds=0.1)[0], pose()) is None
    assert not space.update(view(0.7, seconds=0.2)[0], pose()).moved.any()
    assert space.update(view(0.7, seconds=0.4)[0], pose()).moved.any()


def test_a_wrong_pose_moves_nothing():
    assert not moved_between(view(0.0), view(0.0, pose(z=-0.5), 1.0)[:2] + (pose(),)).moved.any()


def test_stamps_that_jump_back_begin_again():
    found = moved_between(view(0.0, seconds=9.0), view(0.7, seconds=1.0))
    assert not found.moved.any()
    space = FreeSpace()
    space.update(view(0.0)[0], pose())
    space.clear()
    assert not space.update(view(0.7, seconds=1.0)[0], pose()).moved.any()
