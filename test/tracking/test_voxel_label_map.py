from diffseg_ros.tracking.voxel_label_map import VOXEL_SIZE, WorldMemory
from hypothesis import given
from hypothesis import strategies as st
import numpy as np


def cells(count, seed=0):
    """Return centres of distinct voxels."""
    rng = np.random.default_rng(seed)
    grid = np.unique(rng.integers(-100, 100, (2 * count, 3)), axis=0)
    return (rng.permutation(grid)[:count] + 0.5) * VOXEL_SIZE


def test_the_majority_is_recalled():
    memory, places = WorldMemory(), cells(500)
    ids = np.arange(500, dtype=np.int32)
    for said in (ids, ids, ids, ids + 1000):
        memory.vote(places, said)
    found, votes = memory.recall(places)
    held = votes > 0
    assert held.mean() > 0.99 and (found == ids)[held].all() and votes.max() == 2


def test_unseen_places_have_no_votes():
    memory = WorldMemory()
    memory.vote(cells(100), np.ones(100, np.int32))
    _, votes = memory.recall(cells(100, seed=1) + 50.0)
    assert not votes.any()


def test_a_voxel_votes_once_a_frame():
    memory = WorldMemory()
    memory.vote(np.full((50, 3), 0.01), np.full(50, 7, np.int32))
    assert memory.recall(np.full((1, 3), 0.02))[1] == 1


def test_newer_places_take_the_room_of_older_ones_in_the_end():
    memory, places, ones = WorldMemory(), cells(20000), np.ones(20000, np.int32)
    for seed in range(40):
        memory.vote(places + 20.0 * seed, ones * seed)
    found, votes = memory.recall(places + 780.0)
    assert (votes > 0).mean() > 0.3 and (found[votes > 0] == 39).all()


def test_renaming_and_clearing():
    memory, places = WorldMemory(), cells(10)
    memory.vote(places, np.full(10, 4, np.int32))
    memory.rename(4, 9)
    found, votes = memory.recall(places)
    assert set(found[votes > 0]) == {9}
    memory.clear()
    assert not memory.recall(places)[1].any()


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 3), min_size=1, max_size=30))
def test_any_place_can_be_remembered(places):
    memory, points = WorldMemory(), np.array(places)
    memory.vote(points, np.full(len(points), 3, np.int32))
    found, votes = memory.recall(points)
    assert (votes > 0).any() and (found[votes > 0] == 3).all()
