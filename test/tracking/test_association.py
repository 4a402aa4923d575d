from diffseg_ros.tracking.association import associate, tabulate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np


def says(table, likeness=None):
    return associate(np.array(table), likeness).says.tolist()


def test_segments_continue_the_tracks_they_cover():
    assert says([[90, 10], [5, 95], [0, 0]]) == [[0, 1], [0, 1], [0, 1]]


def test_pieces_of_a_track_all_speak_for_it():
    assert says([[50, 40], [0, 0]]) == [[0, 0], [0, 0]]


def test_swallowed_tracks_keep_their_pixels():
    assert says([[80], [20], [5]]) == [[0], [1], [0]]


def test_a_segment_on_unknown_ground_begins_a_track():
    joined = associate(np.array([[90, 0], [0, 50]]))
    assert joined.says.tolist() == [[0, 2], [0, 2]] and joined.new.tolist() == [0, 50]


def test_a_track_may_grow_into_new_ground_if_it_looks_the_same():
    table = [[25], [75]]
    assert says(table, np.array([[1.0]])) == [[0], [0]]
    assert says(table, np.array([[0.0]]))[-1] == [1]


def test_looks_decide_between_tracks_of_nearly_the_same_overlap():
    table = [[30, 40], [32, 40], [0, 0]]
    likeness = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert says(table, likeness)[-1] == [0, 1]


def test_without_tracks_every_segment_begins_one():
    joined = associate(np.array([[10, 20, 0]]))
    assert joined.says.tolist() == [[0, 1, 2]] and joined.new.tolist() == [10, 20, 0]


def test_tabulation_counts_known_pixels_by_track():
    slots = np.array([[7, 7, 9], [9, 9, 9]], np.uint16)
    known = np.array([[True, False, True], [True, True, False]])
    cells = tabulate(slots, known, np.array([[0, 0, 1], [1, 1, 1]]), 2)
    assert cells.slots.tolist() == [7, 9]
    assert cells.table.tolist() == [[1, 0], [0, 3], [1, 1]]
    assert cells.rows.tolist() == [[0, 2, 1], [1, 1, 2]]


@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)),
              elements=st.integers(0, 100)))
def test_every_cell_speaks_for_its_own_track_or_what_its_segment_stands_for(table):
    tracks, segments = table.shape[0] - 1, table.shape[1]
    joined = associate(table)
    main = joined.says[-1]
    own = np.arange(tracks)[:, None]
    assert ((joined.says[:-1] == own) | (joined.says[:-1] == main)).all()
    begun = main >= tracks
    assert (main[begun] == (np.arange(segments) + tracks)[begun]).all()
    spoken = np.where(joined.says == np.arange(segments) + tracks, table, 0).sum(axis=0)
    assert (joined.new == spoken).all()
