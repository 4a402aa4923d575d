from dataclasses import replace

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import Frame, Segments, TrackState
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from tracking_scenes import id_of, pose, Room, step

BOARDS = range(5)


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def tracker():
    return Tracker(TrackingConfig())


def walk(tracker, room, places, **options):
    """Return labels and truth of the room seen from each place, every frame segmented."""
    seen = []
    for place in places:
        frame, truth = room.frame(place, **options)
        seen.append((step(tracker, frame, room.segments(truth)), truth))
    return seen


def sideways(count, reach=0.3):
    return [pose(x=x) for x in np.linspace(0, reach, count)]


def test_ids_begin_at_one_and_every_pixel_is_labelled(tracker, room):
    (labels, truth), = walk(tracker, room, [pose()])
    assert sorted(np.unique(labels)) == [1, 2, 3, 4, 5] and labels.dtype == np.int32
    assert labels.shape == truth.shape and tracker.started == 5


@pytest.mark.parametrize('cues', [{}, {'with_pose': False}, {'with_depth': False}])
def test_ids_stay_while_the_camera_moves(tracker, room, cues):
    seen = walk(tracker, room, sideways(10), **cues)
    for board in BOARDS:
        assert len({id_of(labels, truth, board) for labels, truth in seen}) == 1
    first = {id_of(*seen[0], board): board for board in BOARDS}
    labels, truth = seen[-1]
    agree = np.vectorize(lambda identity: first.get(identity, -1))(labels) == truth
    assert agree.mean() > 0.97 and tracker.started == 5


def test_frames_between_segmented_ones_are_complete_and_right(room):
    tracker = Tracker(TrackingConfig(keyframe_interval=20, keyframe_change=1.0))
    names, asked = {}, 0
    for place in sideways(12):
        frame, truth = room.frame(place)
        prediction = tracker.predict(frame)
        asked += prediction.keyframe
        labels, _ = tracker.update(prediction, None if names else room.segments(truth))
        names = names or {board: id_of(labels, truth, board) for board in BOARDS}
        expected = np.vectorize(names.get)(truth)
        assert (labels > 0).all() and (labels == expected).mean() > 0.98
    assert asked == 1


def test_new_content_asks_for_segments(room):
    tracker = Tracker(TrackingConfig())
    step(tracker, *(lambda frame, truth: (frame, room.segments(truth)))(*room.frame(pose())))
    prediction = tracker.predict(room.frame(pose())[0])
    tracker.update(prediction)
    assert not prediction.keyframe
    assert tracker.predict(room.frame(pose(yaw=0.3))[0]).keyframe


def test_a_still_camera_asks_for_segments_at_the_interval(room):
    tracker = Tracker(TrackingConfig(keyframe_interval=4))
    frame, truth = room.frame(pose())
    asked = []
    for _ in range(9):
        prediction = tracker.predict(frame)
        asked.append(prediction.keyframe)
        tracker.update(prediction, room.segments(truth) if asked[-1] else None)
    assert asked == [True, False, False, False] * 2 + [True]


def test_segments_that_join_objects_for_a_moment_change_no_id(tracker, room):
    seen = walk(tracker, room, sideways(5, 0.1))
    frame, truth = room.frame(pose(x=0.12))
    under = step(tracker, frame, room.segments(truth, groups=[(1, 0), (2, 3)]))
    for board in BOARDS:
        assert id_of(under, truth, board) == id_of(*seen[-1], board)
    assert tracker.started == 5


def test_segments_that_cut_an_object_for_a_moment_change_no_id(tracker, room):
    seen = walk(tracker, room, sideways(5, 0.1))
    frame, truth = room.frame(pose(x=0.12))
    good = room.segments(truth)
    cut = good.labels.copy()
    cut[:60][good.labels[:60] == 0] = good.labels.max() + 1
    pieces = Segments(cut, good.confidence, np.concatenate([good.embeddings, good.embeddings[:1]]))
    over = step(tracker, frame, pieces)
    assert id_of(over, truth, 0) == id_of(*seen[-1], 0)
    # Corners are rounded by a pixel.
    assert np.mean(over[truth == 0] == id_of(over, truth, 0)) > 0.999 and tracker.started == 5


def test_objects_that_stay_joined_become_one_and_cut_ones_two(room):
    tracker = Tracker(TrackingConfig(split_after=3, merge_after=3, keyframe_interval=1))
    groups = [(2, 3)]
    for number, place in enumerate(sideways(24, 1.2)):
        frame, truth = room.frame(place)
        segments = room.segments(truth, groups if 4 < number < 12 else None)
        labels = step(tracker, frame, segments)
        if number == 11:
            assert id_of(labels, truth, 2) == id_of(labels, truth, 3)
    assert id_of(labels, truth, 2) != id_of(labels, truth, 3)


def test_an_occluded_object_gets_its_id_back(tracker):
    board = (-0.2, -0.15, 0.2, 0.15, 2.0)
    labels, seen, hidden = [], [], []
    for left in np.r_[[-9.0] * 4, np.linspace(-0.9, 0.7, 25), [9.0] * 4]:
        room = Room([board, (left - 0.3, -0.4, left + 0.3, 0.4, 1.0)])
        frame, truth = room.frame(pose())
        labels.append(step(tracker, frame, room.segments(truth)))
        seen.append(truth)
        states = {track.id: track.state for track in tracker.tracks}
        hidden.append(states[id_of(labels[0], seen[0], 1)] is TrackState.LOST
                      and not (truth == 1).any())
    assert any(hidden) and id_of(labels[-1], seen[-1], 1) == id_of(labels[0], seen[0], 1)


@pytest.mark.parametrize('cues', [{}, {'with_pose': False}, {'with_depth': False}])
def test_ids_come_back_after_a_look_away(tracker, room, cues):
    before = walk(tracker, room, [pose(yaw=0.02 * n) for n in range(6)], **cues)
    turns = np.r_[np.linspace(0.1, 1.4, 40), np.full(75, 1.4), np.linspace(1.4, 0.1, 40)]
    away = walk(tracker, room, [pose(yaw=yaw) for yaw in turns[:-1]], **cues)
    assert not np.isin([1, 2, 4], np.unique(away[60][1])).any()
    after, = walk(tracker, room, [pose(yaw=0.1)], **cues)
    back = [id_of(*after, board) == id_of(*before[-1], board) for board in range(1, 5)]
    assert np.mean(back) >= 0.8


def test_reset_forgets_tracks_but_not_the_count(tracker, room):
    (first, _), = walk(tracker, room, [pose()])
    tracker.reset()
    (second, _), = walk(tracker, room, [pose()])
    assert second.min() > first.max() and tracker.epoch == 1 and len(tracker.tracks) == 5


def test_segments_finer_than_what_is_counted_leave_nothing_unlabelled(tracker):
    frame, _ = Room().frame(pose())
    checks = (np.indices((120, 160)).sum(axis=0) % 3).astype(np.int32)
    segments = Segments(checks, np.full(checks.shape, 9, np.uint8), np.eye(3, dtype=np.float32))
    for number in range(6):
        if number == 3:
            tracker.reset()
        labels = step(tracker, frame, segments)
        assert (labels > 0).all() and set(np.unique(labels)) <= {
            track.id for track in tracker.tracks}


def test_images_may_change_size(tracker, room):
    first, = walk(tracker, room, [pose()])
    frame, truth = room.frame(pose())
    large = Frame(frame.rgb.repeat(2, axis=0).repeat(2, axis=1))
    truth = truth.repeat(2, axis=0).repeat(2, axis=1)
    second = step(tracker, large, room.segments(truth))
    assert second.shape == truth.shape
    for board in BOARDS:
        assert id_of(second, truth, board) == id_of(*first, board)


def test_a_frame_that_fails_between_prediction_and_update_changes_no_id(tracker, room):
    first, = walk(tracker, room, [pose()])
    tracker.predict(room.frame(pose(x=0.05))[0])
    last, = walk(tracker, room, [pose(x=0.1)])
    for board in BOARDS:
        assert id_of(*last, board) == id_of(*first, board)


def test_images_wider_than_the_setting_come_back_at_their_own_size(room):
    tracker = Tracker(TrackingConfig(width=80))
    seen = walk(tracker, room, sideways(4))
    for labels, truth in seen:
        assert labels.shape == truth.shape
        assert id_of(labels, truth, 0) == id_of(*seen[0], 0)


def test_depth_and_pose_may_come_and_go(tracker, room):
    seen = []
    for number, place in enumerate(sideways(12)):
        frame, truth = room.frame(place)
        frame = replace(frame, depth=frame.depth if number % 3 else None,
                        pose=frame.pose if number % 4 else None)
        seen.append((step(tracker, frame, room.segments(truth)), truth))
    for board in BOARDS:
        assert len({id_of(labels, truth, board) for labels, truth in seen}) == 1


@pytest.mark.parametrize('change', [
    {'depth': np.full((120, 160), np.nan, np.float32)},
    {'depth': np.zeros((120, 160), np.float32)},
    {'depth': np.ones((1, 1), np.float32)},
    {'rgb': np.zeros((120, 160, 3), np.uint8), 'depth': None},
    {'rgb': np.zeros((2, 2, 3), np.uint8), 'depth': None},
    {'pose': np.full((4, 4), np.nan)},
    {'intrinsics': None},
])
def test_poor_input_leaves_complete_labels(tracker, room, change):
    walk(tracker, room, [pose()])
    frame, _ = room.frame(pose(x=0.05))
    frame = replace(frame, **change)
    nothing = Segments(np.zeros(frame.rgb.shape[:2], np.int32),
                       np.zeros(frame.rgb.shape[:2], np.uint8), room.embeddings[:1])
    for _ in range(3):
        labels = step(tracker, frame, nothing)
        assert labels.shape == frame.rgb.shape[:2] and (labels > 0).all()


def test_same_frames_same_ids(room):
    runs = [walk(Tracker(TrackingConfig()), room, sideways(6), with_pose=False)
            for _ in range(2)]
    for (one, _), (other, _) in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-1.5, 1.5), st.integers(0, 5),
                          st.booleans()), min_size=1, max_size=12))
def test_ids_are_never_reused_and_live_tracks_bounded(path):
    room = Room()
    tracker = Tracker(TrackingConfig(max_lost=3, confirm_after=1))
    gone, last = set(), set()
    for x, yaw, joined, again in path:
        if again:
            tracker.reset()
            gone |= last
            last = set()
        frame, truth = room.frame(pose(x=x, yaw=yaw))
        labels = step(tracker, frame, room.segments(truth, [(0, joined)] if joined else None))
        alive = {track.id for track in tracker.tracks}
        gone |= last - alive
        last = alive
        seen = set(np.unique(labels).tolist())
        assert not seen & gone and max(seen) < tracker.next_id
        assert sum(track.state is TrackState.LOST for track in tracker.tracks) <= 3
