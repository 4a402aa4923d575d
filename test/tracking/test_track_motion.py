"""Tracks that move by themselves: state, speed and time since, and what motion joins or cuts."""

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.tracker import Tracker
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from tracking_scenes import id_of, Passage, pose, Room, step

TENTH = 10**8
RATE = 10


def moving_room(x, seed=0):
    """Return a room in which board 1 is moved by x metres and board 2 stands still."""
    return Room([(-0.9 + x, -0.5, -0.4 + x, 0.0, 2.0), (-0.2, 0.2, 0.3, 0.6, 1.9)], seed)


def play(places, *, walk=0.0, groups=None, tracker=None, first=0, options=None):
    """Track board 1 at these places, 0.1 s apart; return the tracks of all frames and truths."""
    tracker = tracker or Tracker(TrackingConfig(min_share=0.002, **(options or {})))
    history = []
    for number, x in enumerate(places, first):
        room = moving_room(float(x))
        frame, truth = room.frame(pose(x=walk * number), number * TENTH)
        labels = step(tracker, frame, room.segments(truth, groups), always=False)
        history.append((labels, truth, {track.id: track for track in tracker.tracks}))
    return history, tracker


def track_of(moment, board):
    labels, truth, tracks = moment
    return tracks[id_of(labels, truth, board)]


@pytest.mark.parametrize('walk', [0.0, 0.01])
@pytest.mark.parametrize(('speed', 'frames'), [(0.3, 34), (0.5, 24), (0.8, 15)])
def test_a_thing_that_moves_is_known_with_its_velocity(speed, frames, walk):
    history, _ = play(np.arange(frames) * speed / RATE, walk=walk)
    thing, other, wall = (track_of(history[-1], board) for board in (1, 2, 0))
    assert thing.moving and thing.since_moved == 0
    np.testing.assert_allclose(thing.velocity, [speed, 0, 0], atol=0.08)
    for still in (other, wall):
        assert (still.moving, still.since_moved, still.velocity) == (False, None, None)


def test_velocity_is_along_the_axes_of_the_camera():
    tracker = Tracker(TrackingConfig())
    turned = pose(yaw=0.3)
    for number in range(22):
        room = moving_room(0.05 * number)
        frame, truth = room.frame(turned, number * TENTH)
        labels = step(tracker, frame, room.segments(truth), always=False)
    thing = next(track for track in tracker.tracks if track.id == id_of(labels, truth, 1))
    np.testing.assert_allclose(turned[:3, :3] @ thing.velocity, [0.5, 0, 0], atol=0.06)


def test_what_stops_is_at_rest_after_a_second_and_remembers_when_it_moved():
    places = [*np.arange(12) * 0.06, *[0.66] * 30]
    history, _ = play(places)
    states = [track_of(moment, 1) for moment in history]
    moving = [state.moving for state in states]
    start, stop = moving.index(True), len(moving) - moving[::-1].index(True)
    assert start <= 7 and all(moving[start:stop]) and 12 <= stop <= 27
    assert states[-1].since_moved == pytest.approx((len(places) - stop) / RATE, abs=0.11)
    assert states[-1].velocity is None
    assert track_of(history[-1], 2).since_moved is None


@settings(max_examples=6, deadline=None)
@given(st.floats(-0.02, 0.02), st.floats(-0.01, 0.01), st.integers(0, 99))
def test_nothing_moves_where_only_the_camera_does(x, yaw, seed):
    tracker, room = Tracker(TrackingConfig()), moving_room(0.2, seed)
    for number in range(12):
        frame, truth = room.frame(pose(x=x * number, yaw=yaw * number), number * TENTH)
        step(tracker, frame, room.segments(truth), always=False)
    assert not any(track.moving or track.since_moved is not None for track in tracker.tracks)


def test_what_moves_comes_apart_from_what_segments_join_it_to():
    history, _ = play(np.arange(20) * 0.05, groups=[(0, 1)])
    moved, wall = track_of(history[-1], 1), track_of(history[-1], 0)
    assert moved.moving and not wall.moving and moved.id != wall.id
    labels, truth, _ = history[-1]
    inside = labels[truth == 1] == moved.id
    assert inside.mean() > 0.7 and (labels == moved.id).sum() < 1.3 * (truth == 1).sum()


def test_what_moved_is_not_merged_with_what_never_did():
    _, tracker = play(np.arange(14) * 0.05)
    history, _ = play([0.65] * 60, groups=[(0, 1)], tracker=tracker, first=14)
    assert track_of(history[-1], 1).id != track_of(history[-1], 0).id


def test_without_depth_motion_in_the_image_counts():
    tracker, passage = Tracker(TrackingConfig()), Passage()
    for number in range(16):
        frame, truth = passage.frame(number, 40 + 3 * number, number * TENTH)
        labels = step(tracker, frame, passage.segments(truth))
    tracks = {track.id: track for track in tracker.tracks}
    thing, wall = (tracks[id_of(labels, truth, name)] for name in (3, 0))
    assert thing.moving and thing.since_moved == 0 and thing.velocity is None
    assert not wall.moving and wall.since_moved is None


def test_it_is_off_without_common_motion():
    history, _ = play(np.arange(14) * 0.05, options={'common_motion': False})
    assert not any(track.moving for track in history[-1][2].values())
