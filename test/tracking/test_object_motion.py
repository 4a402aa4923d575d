from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.object_motion import MotionGrouper, object_motion, ObjectMotion
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import OpticalFlow, rigid_source
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from tracking_scenes import id_of, Passage, pose, Room, step

SHAPE = 24, 32
FRAMES = 12


def stripes(count=4):
    """Return (24, 32) slots: upright stripes of equal width."""
    return np.tile(np.arange(32) * count // 32, (24, 1)).astype(np.uint16)


def evidence(slots, steps, noise=0.0, measured=False):
    """Return what object_motion would say if each slot moved by its step; (0, 0) stands still."""
    table = np.zeros((CAPACITY, 2), np.float32)
    for slot, way in steps.items():
        table[slot] = way
    field = table[slots]
    moving = field.any(axis=-1)
    if noise:
        moving |= np.random.default_rng(0).random(slots.shape) < noise
    errors = np.where(moving, 2.0, 4.0), np.where(moving, 12.0, 4.0)
    return ObjectMotion(field, moving, ~moving, np.stack(errors).astype(np.float32),
                     measured)


def joined(steps, slots=None, frames=FRAMES, numbers=None, **options):
    grouper, found = MotionGrouper(), []
    slots = stripes() if slots is None else slots
    numbers = np.arange(CAPACITY, dtype=np.int32) if numbers is None else numbers
    for number in range(frames):
        found += grouper.update(evidence(slots, steps, **options), slots,
                              numbers(number) if callable(numbers) else numbers)
    return set(found), grouper


def test_neighbours_that_move_alike_are_one_after_some_frames():
    steps = {1: (0.01, 0), 2: (0.0105, 0.0005)}
    assert joined(steps)[0] == {(1, 2)}
    assert joined(steps, frames=6)[0] == set()


@pytest.mark.parametrize('steps', [
    {},
    {1: (0.01, 0)},
    {1: (0.01, 0), 2: (-0.01, 0)},
    {1: (0.01, 0), 2: (0.004, 0)},
    {1: (0.01, 0), 2: (0, 0.01)},
    {0: (0.01, 0), 2: (0.01, 0)},
])
def test_others_are_not(steps):
    assert joined(steps)[0] == set()


def test_neighbours_that_touch_at_a_corner_are_not():
    slots = np.zeros(SHAPE, np.uint16)
    slots[2:10, 2:10], slots[9:17, 10:18] = 1, 2
    assert joined({1: (0.01, 0), 2: (0.01, 0)}, slots)[0] == set()
    slots[2:10, 10:18] = 2
    assert joined({1: (0.01, 0), 2: (0.01, 0)}, slots)[0] == {(1, 2)}


def test_where_much_else_moves_it_is_taken_for_the_camera():
    assert joined({1: (0.01, 0), 2: (0.01, 0)}, noise=0.02)[0] == {(1, 2)}
    assert joined({1: (0.01, 0), 2: (0.01, 0)}, noise=0.2)[0] == set()


@pytest.mark.parametrize('measured', [True, False])
def test_without_depth_several_that_go_one_way_are_taken_for_near_ones(measured):
    slots = stripes(8)
    steps = dict.fromkeys((0, 1), (0.01, 0)) | dict.fromkeys((5, 6), (0.006, 0))
    wanted = {(0, 1), (5, 6)}
    assert joined(steps, slots, measured=measured)[0] == (wanted if measured else set())
    steps |= dict.fromkeys((5, 6), (-0.006, 0))
    assert joined(steps, slots, measured=measured)[0] == wanted


def test_a_new_track_in_a_slot_inherits_nothing():
    def numbers(number):
        return np.arange(CAPACITY, dtype=np.int32) + CAPACITY * (number // 6)

    assert joined({1: (0.01, 0), 2: (0.01, 0)}, numbers=numbers)[0] == set()


def test_what_moves_what_stands_and_what_gets_old():
    _, grouper = joined({1: (0.01, 0)})
    assert np.flatnonzero(grouper.moving).tolist() == [1]
    assert np.flatnonzero(grouper.still).tolist() == [0, 2, 3]
    for _ in range(20):
        grouper.skip()
    assert not grouper.moving.any() and not grouper.still.any()


def test_brightness_that_motion_does_not_explain_is_no_motion():
    slots, numbers = stripes(), np.arange(CAPACITY, dtype=np.int32)
    grouper, own = MotionGrouper(), evidence(stripes(), {1: (0.01, 0), 2: (0.01, 0)})
    own.errors[0] = 10
    assert not any(grouper.update(own, slots, numbers) for _ in range(FRAMES))


@pytest.mark.parametrize(('clear', 'vague', 'one'), [(2, 8, True), (8, 8, False), (2, 11, False)])
def test_of_two_parts_one_may_be_explained_less_well(clear, vague, one):
    slots, numbers = stripes(32), np.arange(CAPACITY, dtype=np.int32)
    grouper, own = MotionGrouper(), evidence(slots, {1: (0.01, 0), 2: (0.01, 0)})
    own.errors[0][slots == 1], own.errors[0][slots == 2] = clear, vague
    assert any(grouper.update(own, slots, numbers) for _ in range(FRAMES)) == one


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.004, 0.01, -0.01]),
                          st.sampled_from([0.0, 0.01])), min_size=4, max_size=4))
def test_only_alike_neighbours_in_motion_are_ever_joined(ways):
    found, _ = joined(dict(enumerate(ways)))
    for first, second in found:
        assert second == first + 1
        assert ways[first] == ways[second] != (0.0, 0.0)


def follow(tracker, passage, frames=16, speed=3, pan=0, **options):
    for number in range(frames):
        frame, truth = passage.frame(pan * number, 40 + speed * number, number, **options)
        labels = step(tracker, frame, passage.segments(truth))
    return labels, truth


def ids_of(labels, truth):
    return [id_of(labels, truth, name) for name in np.unique(truth)]


@pytest.mark.parametrize(('pan', 'options'), [
    (0, {}), (2, {}), (-1, {}), (0, {'with_depth': True})], ids=str)
@pytest.mark.parametrize('seed', [0, 1])
def test_a_thing_of_many_colours_gets_one_id_when_it_moves(pan, options, seed):
    tracker = Tracker(TrackingConfig())
    passage = Passage(seed=seed)
    left, right, *parts = ids_of(*follow(tracker, passage, pan=pan, **options))
    assert len(set(parts)) == 1 and left != right and {left, right}.isdisjoint(parts)
    assert sorted(track.id for track in tracker.tracks) == sorted({left, right, parts[0]})


def test_a_slow_thing_gets_one_id_too():
    # One pixel of 640 per frame: between two frames it seems to stand still.
    passage = Passage(width=640, height=480)
    ids = ids_of(*follow(Tracker(TrackingConfig()), passage, frames=20, speed=1))
    assert len(set(ids[2:])) == 1 and len(set(ids)) == 3


@pytest.mark.parametrize('options', [{'speed': 0}, {'speed': 0, 'pan': 3},
                                     {'speed': -2, 'pan': 2}], ids=str)
def test_what_stands_still_stays_in_parts(options):
    ids = ids_of(*follow(Tracker(TrackingConfig()), Passage(), **options))
    # A thing that keeps its place in the image while the wall passes by does move.
    if options == {'speed': 0, 'pan': 3}:
        assert len(set(ids[2:])) == 1
    else:
        assert len(set(ids)) == 5


def test_the_setting_turns_it_off():
    ids = ids_of(*follow(Tracker(TrackingConfig(common_motion=False)), Passage()))
    assert len(set(ids)) == 5


def test_one_id_outlives_the_motion_and_segments_that_cut():
    tracker, passage = Tracker(TrackingConfig()), Passage()
    labels, truth = follow(tracker, passage)
    moved = ids_of(labels, truth)
    for number in range(30):
        frame, truth = passage.frame(0, 85, 16 + number)
        labels = step(tracker, frame, passage.segments(truth))
    assert ids_of(labels, truth) == moved


@pytest.mark.parametrize('cues', [{}, {'with_pose': False}, {'with_depth': False}], ids=str)
@pytest.mark.parametrize('way', [{'x': 0.02}, {'z': 0.025}, {'x': 0.03, 'yaw': -0.011}], ids=str)
@pytest.mark.parametrize('seed', [1, 2])
def test_parallax_joins_nothing(cues, way, seed):
    # Boards beside each other in pairs, at several distances, seen from a moving camera.
    rng = np.random.default_rng(seed)
    boards = []
    for x in (-0.8, -0.1, 0.6):
        far, top = rng.uniform(1.5, 2.6), rng.uniform(-0.6, 0.0)
        boards += [(x, top, x + 0.25, top + 0.5, far), (x + 0.25, top, x + 0.5, top + 0.5, far)]
    room, tracker = Room(boards, seed), Tracker(TrackingConfig())
    for number in range(16):
        frame, truth = room.frame(pose(**{name: value * number for name, value in way.items()}),
                                  number, **cues)
        labels = step(tracker, frame, room.segments(truth))
    seen = [name for name, count in zip(*np.unique(truth, return_counts=True)) if count > 100]
    assert len({id_of(labels, truth, name) for name in seen}) == len(seen) >= 5


def seen(before, now, with_pose=False):
    earlier, later = TrackingFrame.from_frame(before, 640), TrackingFrame.from_frame(now, 640)
    if not with_pose:
        return object_motion(later, earlier, [OpticalFlow().checked(later, earlier)])
    rigid, _ = rigid_source(later, earlier, np.linalg.inv(earlier.pose) @ later.pose)
    flow = OpticalFlow().checked(later, earlier, quick=True)
    return object_motion(later, earlier, [flow], rigid)


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


def test_what_a_thing_uncovers_does_not_move():
    passage = Passage()
    # A grain along the way that the thing goes: what lies beside a place looks like it.
    passage.wall = 0.3 * passage.wall + 0.7 * passage.wall[:, :1]
    (before, earlier), (now, truth) = passage.frame(0, 60), passage.frame(0, 70)
    own = seen(before, now)
    uncovered = on_grid((truth < 2) & (earlier >= 2), own)
    assert own.moving[uncovered].mean() < 0.15 < 0.9 < own.moving[on_grid(truth, own) > 1].mean()


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
