from diffseg_ros.config import TrackingConfig
from diffseg_ros.tracking.reidentification import Appearance, reidentify
from diffseg_ros.tracking.track import CAPACITY, look_like
from diffseg_ros.tracking.track_manager import TrackBook
from diffseg_ros.types import TrackState
import numpy as np
import pytest


def seen(book, slots, frame, expected=()):
    pixels, before = (np.bincount(list(numbers), minlength=CAPACITY) * 9
                      for numbers in (slots, expected))
    book.count_pixels(pixels, before > 0, frame)


def test_ids_rise_and_slots_are_used_again():
    book = TrackBook(5)
    first, second = book.start(0), book.start(0)
    book.remove(first)
    third = book.start(1)
    assert [second.identity, third.identity] == [6, 7] and third.slot == first.slot
    assert book.identities()[third.slot] == 7 and len(book) == 2
    assert book.slots_of(np.array([5, 6, 7, 99], np.int32)).tolist() == [
        -1, second.slot, third.slot, -1]


def test_tracks_that_are_one_thing_share_an_id():
    book = TrackBook(1)
    trunk, leg, other = (book.start(number) for number in range(3))
    book.join(trunk, leg)
    assert [track.identity for track in book] == [1, 1, 3] and book.next_id == 4
    seen(book, [trunk.slot, trunk.slot, leg.slot, leg.slot, leg.slot], 5)
    leg.confirmed = True
    first, second = book.summaries(5)
    assert (first.id, first.state, first.age, first.pixels) == (1, TrackState.CONFIRMED, 5, 45)
    assert second.id == other.identity and second.state is TrackState.LOST
    assert book.slots_of(np.array([1, 2, 3], np.int32)).tolist() == [leg.slot, -1, other.slot]
    assert {book.identities()[track.slot] for track in (trunk, leg)} == {1}
    book.remove(trunk)
    assert book.summaries(5)[0].id == 1


def test_joining_takes_along_who_shared_the_id_and_leaving_gives_a_new_one():
    book = TrackBook(1)
    tracks = [book.start(0) for _ in range(4)]
    book.join(tracks[2], tracks[3])
    book.join(tracks[0], tracks[3])
    assert [track.identity for track in tracks] == [1, 2, 1, 1]
    book.leave(tracks[3])
    part = book.start(0, part_of=tracks[0])
    assert [track.identity for track in book] == [1, 2, 1, 5, 1] and book.next_id == 6
    assert part.identity == 1 and len(set(book.births()[[one.slot for one in book]])) == 5
    assert sorted(map(len, book.by_identity().values())) == [1, 1, 3]


def test_a_place_that_left_the_view_says_nothing_of_its_track():
    book, config = TrackBook(1), TrackingConfig(max_misses=3)
    track = book.start(0)
    track.confirmed = True
    seen(book, [], 1, expected=[track.slot])
    book.travel(0.5)
    for _ in range(20):
        book.age()
        book.let_go(config)
    assert len(book) == 1
    seen(book, [], 2, expected=[track.slot])
    for _ in range(4):
        book.age()
        book.let_go(config)
    assert not len(book)


def test_what_leaves_view_sleeps_without_ageing():
    book = TrackBook(1)
    track = book.start(0)
    track.confirmed = True
    seen(book, [track.slot], 0)
    for frame in range(1, 200):
        seen(book, [], frame)
        book.age()
        book.let_go(TrackingConfig(max_misses=3))
    assert track.state is TrackState.LOST and len(book) == 1
    summary, = book.summaries(200)
    assert (summary.unseen, summary.age, summary.pixels) == (200, 200, 0)


def test_what_loses_its_place_to_others_is_removed_in_the_end():
    book = TrackBook(1)
    track = book.start(0)
    track.confirmed = True
    seen(book, [], 1, expected=[track.slot])
    alive = []
    for _ in range(6):
        book.age()
        book.let_go(TrackingConfig(max_misses=3))
        alive.append(len(book))
    assert alive == [1, 1, 1, 0, 0, 0]


def test_tentative_tracks_that_are_overruled_go_at_once():
    book = TrackBook(1)
    track = book.start(0)
    seen(book, [], 1, expected=[track.slot])
    book.age()
    book.let_go(TrackingConfig())
    assert not len(book)


def test_the_longest_asleep_make_room():
    book = TrackBook(1)
    tracks = [book.start(0) for _ in range(6)]
    for frame, track in enumerate(tracks):
        track.confirmed = True
        seen(book, [other.slot for other in tracks[frame:]], frame)
    seen(book, [], 9)
    book.let_go(TrackingConfig(max_sleeping=2))
    assert [track.identity for track in book] == [5, 6]


def test_more_tracks_than_slots_are_refused_while_all_are_in_view():
    book = TrackBook(1)
    tracks = [book.start(0) for _ in range(CAPACITY)]
    seen(book, range(CAPACITY), 0)
    assert book.start(1) is None
    seen(book, range(1, CAPACITY), 1)
    assert book.start(2).identity == CAPACITY + 1
    assert tracks[0].identity not in [track.identity for track in book]


def appearance(vector, centre=None):
    vector = np.asarray(vector, np.float32)
    centre = None if centre is None else np.asarray(centre, float)
    return Appearance(vector / np.linalg.norm(vector), centre,
                      None if centre is None else np.full(3, 0.1))


def asleep(*looks):
    book = TrackBook(1)
    for look in looks:
        track = book.start(0)
        look_like([track], look.embedding[None])
        if look.centre is not None:
            track.be_at(look.centre, look.extent)
    return list(book)


def test_something_like_a_sleeping_track_is_that_track():
    known = asleep(appearance([1, 0, 0]), appearance([0, 1, 0]))
    found = reidentify([appearance([0.05, 1, 0]), appearance([0, 0, 1])], known, 0.9)
    assert found == [known[1], None]


def test_twins_are_nobody():
    known = asleep(appearance([1, 0, 0]), appearance([1, 0.01, 0]))
    assert reidentify([appearance([1, 0, 0])], known, 0.9) == [None]
    known = asleep(appearance([1, 0, 0]))
    assert reidentify([appearance([1, 0, 0]), appearance([1, 0.01, 0])], known, 0.9) == [None] * 2


@pytest.mark.parametrize('centre, wanted', [([0, 0, 2], True), ([3, 0, 2], False), (None, False)])
def test_the_right_place_makes_up_for_looks_and_the_wrong_one_rules_out(centre, wanted):
    known = asleep(appearance([1, 0, 0], [0.1, 0, 2]))
    found = reidentify([appearance([1, 0.55, 0], centre)], known, 0.9)
    assert (found == [known[0]]) is wanted


def test_parts_of_one_thing_are_no_rivals():
    known = asleep(appearance([1, 0, 0]), appearance([1, 0.01, 0]))
    known[1].identity = known[0].identity
    found, = reidentify([appearance([1, 0, 0])], known, 0.9)
    assert found.identity == known[0].identity


def test_what_moved_may_be_anywhere():
    known = asleep(appearance([1, 0, 0], [0.1, 0, 2]))
    seen_elsewhere = [appearance([1, 0.1, 0], [3, 0, 2])]
    assert reidentify(seen_elsewhere, known, 0.9) == [None]
    known[0].mobile = True
    assert reidentify(seen_elsewhere, known, 0.9) == [known[0]]


def test_other_feature_sizes_match_nothing():
    assert reidentify([appearance([1, 0])], asleep(appearance([1, 0, 0])), 0.5) == [None]
    assert reidentify([], asleep(appearance([1, 0, 0])), 0.5) == []
