"""Ids of two replays are matched by the pixels that they have in common."""

from diffseg_ros.comparison.matching import (
    frame_overlaps,
    LEAST_IOU,
    match_ids,
    Overlaps,
    summed,
)
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from scipy.optimize import linear_sum_assignment


def table_of(total):
    """Return the pixels of all labelled ids as a table, and the ids."""
    old, new = np.unique(total.old[total.old >= 0]), np.unique(total.new[total.new >= 0])
    table = np.zeros((len(old), len(new)), np.int64)
    for one, other, pixels, iou in zip(total.old, total.new, total.pixels, total.iou):
        if one >= 0 and other >= 0 and iou >= LEAST_IOU:
            table[np.searchsorted(old, one), np.searchsorted(new, other)] = pixels
    return table


def test_overlaps_count_every_pixel_of_a_frame():
    old = np.array([[3, 3, -1], [3, 70000, 70000]], np.int32)
    new = np.array([[5, -1, -1], [5, 5, 9]], np.int32)
    found = frame_overlaps(old, new)
    assert dict(zip(zip(found.old.tolist(), found.new.tolist()), found.pixels.tolist())) == {
        (-1, -1): 1, (3, -1): 1, (3, 5): 2, (70000, 5): 1, (70000, 9): 1}
    total = summed([found, found])
    assert total.pixels.sum() == 12 and set(total.old.tolist()) == {-1, 3, 70000}
    index = list(zip(total.old.tolist(), total.new.tolist())).index((3, 5))
    assert total.iou[index] == 4 / (6 + 6 - 4)


@given(st.lists(st.integers(0, 40), min_size=48, max_size=48), st.integers(0, 9))
def test_the_matching_is_the_best_assignment(pixels, seed):
    shape = 6, 8
    pixels = np.array(pixels).reshape(shape) * 100
    np.random.default_rng(seed).shuffle(pixels)
    rows, columns = np.nonzero(pixels)
    total = Overlaps(rows + 10, columns + 20, pixels[rows, columns])
    match = match_ids(total)
    assert len(set(match.old.tolist())) == len(set(match.new.tolist())) == len(match.old)
    common = dict(zip(zip(total.old.tolist(), total.new.tolist()), total.pixels.tolist()))
    reached = sum(common[pair] for pair in zip(match.old.tolist(), match.new.tolist()))
    table = table_of(total)
    assert reached == table[linear_sum_assignment(table, maximize=True)].sum()


def test_moved_share_counts_what_left_its_match_and_what_lost_its_label():
    old = np.array([[1, 1, 1, 1, 2, 2, 2, 2, -1, -1]], np.int32)
    new = np.array([[7, 7, 7, 8, 8, 8, 8, -1, -1, 7]], np.int32)
    frame = frame_overlaps(old, new)
    match = match_ids(frame)
    assert match.old.tolist() == [1, 2] and match.new.tolist() == [7, 8]
    # One pixel from 1 to 8, one of 2 without a label, one label where there was none.
    assert match.moved_share(frame) == 0.3


def test_slivers_are_no_match():
    old = np.zeros((10, 10), np.int32)
    new = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    match = match_ids(frame_overlaps(old, new))
    assert len(match.old) == 0
    assert match.moved_share(frame_overlaps(old, new)) == 1.0


def test_nothing_labelled_moves_nothing():
    nothing = np.full((4, 4), -1, np.int32)
    frame = frame_overlaps(nothing, nothing)
    assert match_ids(frame).moved_share(frame) == 0.0
