"""The object that is followed: its parts, where it is, and why it is not in view."""

from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.target import TargetFollower
from diffseg_ros.tracking.track_manager import TrackManager, update_appearance
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import SegmentKind, TargetState
import numpy as np
import pytest
from tracking_scenes import id_of, pose, Room, step

TRACKED, HIDDEN, LOST = TargetState
CHOSEN = 2  # a board


@pytest.fixture
def manager():
    return TrackManager()


def target_ids(manager):
    return sorted(track.id for track in manager.target)


def test_what_takes_a_followed_track_over_is_followed_in_its_place(manager):
    first, second, other = (manager.start() for _ in range(3))
    assert manager.follow(second.id)
    manager.merge(first, second)
    assert target_ids(manager) == [first.id]
    assert manager.present_id(second.id) == first.id and manager.present_id(other.id) == other.id
    manager.merge(other, first)
    assert target_ids(manager) == [other.id] and manager.present_id(second.id) == other.id
    assert not manager.follow(first.id) and not manager.follow(99)


@pytest.mark.parametrize('chosen', [0, 1])
def test_tracks_that_share_an_id_are_followed_together_until_one_is_given_another(manager, chosen):
    parts = [manager.start() for _ in range(2)]
    manager.follow(parts[chosen].id)
    manager.join_ids(*parts)
    piece = manager.start(part_of=parts[1])
    assert manager.target == [*parts, piece] and manager.present_id(2) == 1
    manager.split_id(parts[1])
    assert manager.target == [parts[0], piece]
    manager.unfollow()
    assert not manager.target


def test_a_followed_track_outlives_all_others(manager):
    tracks = [manager.start() for _ in range(4)]
    manager.follow(tracks[1].id)
    manager.observe(np.zeros(CAPACITY, int), np.ones(CAPACITY, bool))
    for _ in range(3):
        manager.count_misses()
    manager.prune(TrackingConfig(max_lost=0, max_misses=0))
    assert list(manager) == [tracks[1]]
    while (started := manager.start()) is not None:
        started.pixels = 9
    assert tracks[1] in list(manager) and len(manager) == CAPACITY


class Watch:
    """A tracker that follows a board of a room, and what it says of it."""

    def __init__(self, room, **options):
        self.room, self.options = room, options
        self.tracker = Tracker(TrackingConfig())
        for _ in range(4):
            frame, truth = room.frame(pose(), **options)
            self.labels = step(self.tracker, frame, room.segments(truth))
        self.truth = truth
        chosen = id_of(self.labels, truth, CHOSEN)
        self.target = self.tracker.follow(chosen, self.labels)

    def see(self, place=None, room=None):
        room = room or self.room
        frame, self.truth = room.frame(pose() if place is None else place, **self.options)
        self.labels = step(self.tracker, frame, room.segments(self.truth))
        self.target = self.tracker.target(self.labels)
        return self.target.state

    @property
    def iou(self):
        truth = self.truth == CHOSEN
        return (self.target.mask & truth).sum() / (self.target.mask | truth).sum()


def turning(first, last, count=12):
    return [pose(yaw=yaw) for yaw in np.linspace(first, last, count)]


def test_the_target_is_its_board_while_the_camera_moves():
    watch = Watch(Room())
    assert watch.target.state is TRACKED and watch.iou > 0.9
    for x in np.linspace(0, 0.3, 8):
        assert watch.see(pose(x=x)) is TRACKED and watch.iou > 0.85


def test_a_target_out_of_view_is_hidden_and_found_again():
    watch = Watch(Room())
    states = [watch.see(place) for place in turning(0, 1.2)]
    assert states[0] is TRACKED and states[-1] is HIDDEN
    assert not watch.target.mask.any() and watch.target.unseen > 0
    for _ in range(20):
        assert watch.see(pose(yaw=1.2)) is HIDDEN
    assert watch.target.unseen > 20
    states = [watch.see(place) for place in turning(1.2, 0)]
    assert states[-1] is TRACKED and watch.iou > 0.85 and watch.target.unseen == 0


def test_without_depth_a_target_out_of_view_is_lost_in_time_and_found_again_by_its_looks():
    watch = Watch(Room(), with_depth=False, with_pose=False)
    for place in turning(0, 1.2):
        watch.see(place)
    states = [watch.see(pose(yaw=1.2)) for _ in range(12)]
    assert HIDDEN in states and states[-1] is LOST
    for place in turning(1.2, 0):
        watch.see(place)
    assert watch.see() is TRACKED and watch.iou > 0.8


def test_behind_something_it_is_hidden_and_where_its_place_is_empty_it_is_lost():
    room = Room()
    covered = Room([*room.boards, (-0.3, -0.6, 0.8, 0.4, 1.5)])
    gone = Room([(-9.0, -9.0, -8.9, -8.9, 2.0) if number == CHOSEN - 1 else board
                 for number, board in enumerate(room.boards)])
    watch = Watch(room)
    for _ in range(20):
        assert watch.see(room=covered) is HIDDEN
    assert watch.see() is TRACKED and watch.iou > 0.9
    states = [watch.see(room=gone) for _ in range(8)]
    assert states[0] is HIDDEN and states[-1] is LOST
    watch.see()
    assert watch.see() is TRACKED and watch.iou > 0.8


def test_a_second_click_adds_a_part_and_a_reset_forgets_all():
    watch = Watch(Room())
    other = id_of(watch.labels, watch.truth, 4)
    target = watch.tracker.follow(other, watch.labels)
    assert len(target.ids) == 2
    np.testing.assert_array_equal(target.mask, np.isin(watch.labels, target.ids))
    watch.tracker.unfollow()
    assert watch.tracker.target(watch.labels) is None
    watch.tracker.follow(other, watch.labels)
    watch.tracker.reset()
    assert watch.tracker.target(watch.labels) is None


class Sight:
    """Tracks that look like directions in a plane, of which the first is followed."""

    def __init__(self, *degrees):
        self.manager = TrackManager()
        self.follower = TargetFollower(self.manager)
        self.target, *self.others = [self.start(angle) for angle in degrees]
        self.manager.follow(self.target.id)

    def start(self, degrees):
        track = self.manager.start()
        angle = np.radians(degrees)
        update_appearance([track], np.array([[np.cos(angle), np.sin(angle)]], np.float32))
        return track

    def keyframe(self, *in_view):
        """Look at tracks; return those that are followed by now."""
        for track in self.manager:
            track.pixels = 100 * (track in in_view)
        self.follower.search(50, 0.9)
        return self.manager.target


def test_what_looks_like_the_target_twice_is_the_target_while_that_is_away():
    sight = Sight(0, 30, 60)
    target, alike, other = sight.target, *sight.others
    assert sight.keyframe(target, alike, other) == [target]
    assert sight.keyframe(alike, other) == [target]
    assert sight.keyframe(other) == [target] == sight.keyframe(other)
    assert sight.keyframe(alike, other) == [target]
    assert sight.keyframe(alike, other) == [target, alike]
    for _ in range(4):
        assert sight.keyframe(alike, other) == [target, alike]
    assert sight.keyframe(target, alike, other) == [target, alike]


@pytest.mark.parametrize('degrees', [(40, 80), (20, -21), (-25, 24)])
def test_what_looks_different_or_like_another_one_too_is_not_the_target(degrees):
    sight = Sight(0, *degrees)
    for _ in range(4):
        assert sight.keyframe(*sight.others) == [sight.target]


def test_what_was_found_by_its_looks_is_dropped_where_these_contradict():
    sight = Sight(0, 30, 80)
    target, alike, other = sight.target, *sight.others
    for _ in range(2):
        found = sight.keyframe(alike, other)
    assert found == [target, alike]
    alike.embedding = other.embedding
    assert sight.keyframe(alike, other) == [target, alike]
    assert sight.keyframe(alike, other) == [target]


def test_a_surface_is_not_found_as_a_thing_nor_what_stands_elsewhere():
    sight = Sight(0, 20)
    sight.others[0].kind = SegmentKind.WALL
    for _ in range(3):
        assert sight.keyframe(*sight.others) == [sight.target]
    sight.others[0].kind = SegmentKind.OBJECT
    sight.target.position, sight.others[0].position = np.ones((2, 3)), np.full((2, 3), 4.0)
    for _ in range(3):
        assert sight.keyframe(*sight.others) == [sight.target]
    sight.target.dynamic = True
    for _ in range(2):
        found = sight.keyframe(*sight.others)
    assert found == [sight.target, *sight.others]
