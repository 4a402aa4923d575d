from diffseg_ros.tracking.association import Appearance, associate, count_overlap, reidentify
from diffseg_ros.tracking.track_manager import TrackManager, update_appearance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest


@pytest.mark.parametrize(('table', 'similarity', 'wanted'), [
    pytest.param([[90, 10], [5, 95], [0, 0]], None, [[0, 1]] * 3, id='segments continue tracks'),
    pytest.param([[50, 40], [0, 0]], None, [[0, 0]] * 2, id='over-segmentation'),
    pytest.param([[80], [20], [5]], None, [[0], [1], [0]], id='swallowed tracks keep pixels'),
    pytest.param([[90, 0], [0, 50]], None, [[0, 2]] * 2, id='new ground starts a track'),
    pytest.param([[25], [75]], [[1.0]], [[0], [0]], id='grows into ground that looks the same'),
    pytest.param([[25], [75]], [[0.0]], [[0], [1]], id='not into ground that looks different'),
    pytest.param([[30, 40], [32, 40], [0, 0]], np.eye(2), [[0, 0], [0, 1], [0, 1]],
                 id='appearance decides between similar overlaps'),
    pytest.param([[10, 20, 0]], None, [[0, 1, 2]], id='no tracks')])
def test_segments_are_assigned(table, similarity, wanted):
    similarity = None if similarity is None else np.array(similarity)
    assert associate(np.array(table), similarity).tolist() == wanted


def test_overlap_counts_known_pixels_by_track():
    slots = np.array([[7, 7, 9], [9, 9, 9]], np.uint16)
    known = np.array([[True, False, True], [True, True, False]])
    overlap = count_overlap(slots, known, np.array([[0, 0, 1], [1, 1, 1]]), 2)
    assert overlap.slots.tolist() == [7, 9]
    assert overlap.table.tolist() == [[1, 0], [0, 3], [1, 1]]
    assert overlap.rows.tolist() == [[0, 2, 1], [1, 1, 2]]


@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)),
              elements=st.integers(0, 100)))
def test_every_cell_is_assigned_to_its_own_track_or_what_its_segment_stands_for(table):
    tracks, segments = table.shape[0] - 1, table.shape[1]
    found = associate(table)
    main = found[-1]
    own = np.arange(tracks)[:, None]
    assert ((found[:-1] == own) | (found[:-1] == main)).all()
    started = main >= tracks
    assert (main[started] == (np.arange(segments) + tracks)[started]).all()


def appearance(vector, centre=None):
    vector = np.asarray(vector, np.float32)
    position = None if centre is None else np.array([centre, np.full(3, 0.1)])
    return Appearance(vector / np.linalg.norm(vector), position)


def lost(*looks):
    tracks = TrackManager()
    for look in looks:
        track = tracks.start()
        update_appearance([track], look.embedding[None])
        track.position = look.position
    return list(tracks)


def test_something_like_a_lost_track_is_that_track():
    known = lost(appearance([1, 0, 0]), appearance([0, 1, 0]))
    found = reidentify([appearance([0.05, 1, 0]), appearance([0, 0, 1])], known, 0.9)
    assert found == [known[1], None]


def test_twins_are_nobody():
    known = lost(appearance([1, 0, 0]), appearance([1, 0.01, 0]))
    assert reidentify([appearance([1, 0, 0])], known, 0.9) == [None]
    known = lost(appearance([1, 0, 0]))
    assert reidentify([appearance([1, 0, 0]), appearance([1, 0.01, 0])], known, 0.9) == [None] * 2


@pytest.mark.parametrize('centre, wanted', [([0, 0, 2], True), ([3, 0, 2], False), (None, False)])
def test_the_right_place_makes_up_for_looks_and_the_wrong_one_rules_out(centre, wanted):
    known = lost(appearance([1, 0, 0], [0.1, 0, 2]))
    found = reidentify([appearance([1, 0.55, 0], centre)], known, 0.9)
    assert (found == [known[0]]) is wanted


def test_parts_of_one_thing_are_no_rivals():
    known = lost(appearance([1, 0, 0]), appearance([1, 0.01, 0]))
    known[1].id = known[0].id
    found, = reidentify([appearance([1, 0, 0])], known, 0.9)
    assert found.id == known[0].id


def test_what_moved_may_be_anywhere():
    known = lost(appearance([1, 0, 0], [0.1, 0, 2]))
    seen_elsewhere = [appearance([1, 0.1, 0], [3, 0, 2])]
    assert reidentify(seen_elsewhere, known, 0.9) == [None]
    known[0].dynamic = True
    assert reidentify(seen_elsewhere, known, 0.9) == [known[0]]


def test_other_feature_sizes_match_nothing():
    assert reidentify([appearance([1, 0])], lost(appearance([1, 0, 0])), 0.5) == [None]
    assert reidentify([], lost(appearance([1, 0, 0])), 0.5) == []
