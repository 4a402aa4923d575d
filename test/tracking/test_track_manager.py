from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.label_map import CAPACITY
from diffseg_ros.tracking.track_manager import TrackManager
from diffseg_ros.types import SegmentKind, TrackState
import numpy as np
import pytest


def seen(manager, slots, frame, expected=()):
    pixels, before = (np.bincount(list(numbers), minlength=CAPACITY) * 9
                      for numbers in (slots, expected))
    manager.frame = frame
    manager.observe(pixels, before > 0)


def test_ids_rise_and_slots_are_used_again():
    manager = TrackManager(5)
    first, second = manager.start(), manager.start()
    manager.remove(first)
    third = manager.start()
    assert [second.id, third.id] == [6, 7] and third.slot == first.slot
    assert manager.ids()[third.slot] == 7 and len(manager) == 2
    assert manager.slots_of(np.array([5, 6, 7, 99], np.int32)).tolist() == [
        -1, second.slot, third.slot, -1]


def test_tracks_that_are_one_thing_share_an_id():
    manager = TrackManager()
    trunk, leg, other = (manager.start() for _ in range(3))
    manager.join_ids(trunk, leg)
    assert [track.id for track in manager] == [1, 1, 3] and manager.next_id == 4
    seen(manager, [trunk.slot, trunk.slot, leg.slot, leg.slot, leg.slot], 5)
    leg.confirmed = True
    first, second = manager.summaries()
    assert (first.id, first.state, first.age, first.pixels) == (1, TrackState.CONFIRMED, 5, 45)
    assert second.id == other.id and second.state is TrackState.LOST
    assert manager.slots_of(np.array([1, 2, 3], np.int32)).tolist() == [leg.slot, -1, other.slot]
    assert {manager.ids()[track.slot] for track in (trunk, leg)} == {1}
    manager.remove(trunk)
    assert manager.summaries()[0].id == 1


def test_joining_takes_along_who_shared_the_id_and_leaving_gives_a_new_one():
    manager = TrackManager()
    tracks = [manager.start() for _ in range(4)]
    manager.join_ids(tracks[2], tracks[3])
    manager.join_ids(tracks[0], tracks[3])
    assert [track.id for track in tracks] == [1, 2, 1, 1]
    manager.split_id(tracks[3])
    part = manager.start(part_of=tracks[0])
    assert [track.id for track in manager] == [1, 2, 1, 5, 1] and manager.next_id == 6
    assert part.id == 1 and len(set(manager.track_numbers()[[one.slot for one in manager]])) == 5
    assert sorted(map(len, manager.by_id().values())) == [1, 1, 3]


@pytest.mark.parametrize(('confirmed', 'shift', 'survives'), [
    (True, 0.0, 3), (False, 0.0, 0), (True, 0.5, 6), (False, 0.5, 6)])
def test_displaced_tracks_are_removed_if_their_place_stays_in_view(confirmed, shift, survives):
    manager = TrackManager()
    track = manager.start()
    track.confirmed = confirmed
    seen(manager, [], 1, expected=[track.slot])
    manager.advance(shift)
    alive = 0
    for _ in range(6):
        manager.count_misses()
        manager.prune(TrackingConfig(max_misses=3))
        alive += len(manager)
    assert alive == survives


def test_what_leaves_the_view_is_lost_but_not_missed():
    manager = TrackManager()
    track = manager.start()
    track.confirmed = True
    seen(manager, [track.slot], 0)
    for frame in range(1, 200):
        seen(manager, [], frame)
        manager.count_misses()
        manager.prune(TrackingConfig(max_misses=3))
    assert track.state is TrackState.LOST and len(manager) == 1
    manager.frame = 200
    summary, = manager.summaries()
    assert (summary.unseen, summary.age, summary.pixels) == (200, 200, 0)


def test_the_longest_lost_make_room():
    manager = TrackManager()
    tracks = [manager.start() for _ in range(6)]
    for frame, track in enumerate(tracks):
        track.confirmed = True
        seen(manager, [other.slot for other in tracks[frame:]], frame)
    seen(manager, [], 9)
    manager.prune(TrackingConfig(max_lost=2))
    assert [track.id for track in manager] == [5, 6]


def test_more_tracks_than_slots_are_refused_while_all_are_in_view():
    manager = TrackManager()
    tracks = [manager.start() for _ in range(CAPACITY)]
    seen(manager, range(CAPACITY), 0)
    assert manager.start() is None
    seen(manager, range(1, CAPACITY), 1)
    assert manager.start().id == CAPACITY + 1
    assert tracks[0].id not in [track.id for track in manager]


def test_a_track_is_what_most_keyframes_see_in_it():
    tracks = TrackManager()
    one = tracks.start()
    one.pixels = 100
    shares = {kind: np.array([kind is other for other in SegmentKind], float)
              for kind in SegmentKind}
    assert tracks.summaries()[0].kind is SegmentKind.UNKNOWN
    for seen, expected in ((SegmentKind.OBJECT, SegmentKind.OBJECT),
                           (SegmentKind.TABLE, SegmentKind.OBJECT),
                           (SegmentKind.OBJECT, SegmentKind.OBJECT)):
        one.update_kinds(shares[seen])
        assert tracks.summaries()[0].kind is expected
    for _ in range(10):
        one.update_kinds(shares[SegmentKind.FLOOR])
    assert tracks.summaries()[0].kind is SegmentKind.FLOOR


def test_parts_of_one_object_are_what_the_larger_is():
    tracks = TrackManager()
    large, small = tracks.start(), tracks.start()
    large.pixels, small.pixels = 100, 10
    tracks.join_ids(large, small)
    for part, kind in ((large, SegmentKind.OBJECT), (small, SegmentKind.WALL)):
        part.update_kinds(np.array([kind is other for other in SegmentKind], float))
    assert [track.kind for track in tracks.summaries()] == [SegmentKind.OBJECT]


def test_a_track_has_the_position_of_its_largest_part_where_the_world_is_known():
    manager = TrackManager()
    first, second, other = (manager.start() for _ in range(3))
    manager.join_ids(first, second)
    seen(manager, [first.slot, second.slot, second.slot], 5)
    for track, x in ((first, 1.0), (second, 2.0)):
        track.position = np.array([[x, 3.0, 4.0], [0.1, 0.1, 0.1]])
    assert [track.position for track in manager.summaries(placed=True)] == [(2.0, 3.0, 4.0), None]
    assert [track.position for track in manager.summaries()] == [None, None]
    assert other.position is None
