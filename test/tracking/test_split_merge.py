from diffseg_ros.tracking.association import tabulate
from diffseg_ros.tracking.split_merge import MergeWatch, SplitWatch
import numpy as np
import pytest


def halves(edge):
    segments = np.zeros((40, 60), int)
    segments[:, edge:] = 1
    return segments


class Cutter:
    """One track on slot 5, cut as it is told."""

    def __init__(self, **options):
        self.watch, self.pieces = SplitWatch(), np.zeros((40, 60), np.uint8)
        self.options = {'least': 20, 'after': 3, **options}

    def cut(self, segments, **options):
        cells = tabulate(np.full((40, 60), 5, np.uint16), None, segments, int(segments.max()) + 1)
        self.pieces, found = self.watch.update(self.pieces, cells, segments,
                                               **{**self.options, **options})
        return found


def test_a_cut_that_lasts_splits_the_track():
    cutter = Cutter()
    found = [cutter.cut(halves(edge)) for edge in (40, 41, 39)]
    assert [len(masks) for masks in found] == [0, 0, 1]
    assert found[-1][0].mean() == pytest.approx(21 / 60, abs=0.02) and not cutter.pieces.any()


def test_cuts_in_other_places_each_time_split_nothing():
    cutter = Cutter()
    for number in range(12):
        assert not cutter.cut(halves((12, 30, 50)[number % 3]))


def test_a_cut_that_comes_and_goes_splits_nothing():
    cutter = Cutter()
    for _ in range(6):
        assert not cutter.cut(halves(40))
        assert not cutter.cut(np.zeros((40, 60), int))


def test_votes_count_by_their_weight():
    cutter = Cutter()
    found = [cutter.cut(halves(40), weight=0.5) for _ in range(6)]
    assert [len(masks) for masks in found] == [0] * 5 + [1]


def test_slivers_are_no_pieces():
    cutter = Cutter()
    for _ in range(6):
        assert not cutter.cut(halves(59))


def test_pieces_of_a_track_that_is_gone_are_forgotten():
    cutter = Cutter()
    cutter.cut(halves(40))
    segments = halves(40)
    cells = tabulate(np.full((40, 60), 8, np.uint16), None, segments, 2)
    pieces, found = cutter.watch.update(cutter.pieces, cells, segments, least=20, after=2)
    assert not found and set(np.unique(pieces)) == {0, 1}


def pair(together):
    slots = np.where(halves(30), 3, 4).astype(np.uint16)
    return tabulate(slots, None, np.zeros((40, 60), int) if together else halves(30), 2)


def test_tracks_that_stay_in_one_segment_merge():
    watch = MergeWatch()
    assert [watch.update(pair(True), after=3) for _ in range(3)] == [[], [], [(3, 4)]]


def test_tracks_that_are_seen_apart_as_often_do_not():
    watch = MergeWatch()
    for number in range(20):
        assert not watch.update(pair(number % 2 == 0), after=3)


def test_pairs_of_a_dropped_track_are_forgotten():
    watch = MergeWatch()
    watch.update(pair(True), after=3)
    watch.update(pair(True), after=3)
    watch.drop({4})
    assert not watch.update(pair(True), after=3)
