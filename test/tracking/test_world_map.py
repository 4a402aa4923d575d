from diffseg_ros.tracking.world_map import VOXEL_SIZE, VoxelLabelMap
from hypothesis import given
from hypothesis import strategies as st
import numpy as np


def cells(count, seed=0):
    """Return centres of distinct voxels."""
    rng = np.random.default_rng(seed)
    grid = np.unique(rng.integers(-100, 100, (2 * count, 3)), axis=0)
    return (rng.permutation(grid)[:count] + 0.5) * VOXEL_SIZE


def test_the_majority_is_recalled():
    voxels, places = VoxelLabelMap(), cells(500)
    ids = np.arange(500, dtype=np.int32)
    for said in (ids, ids, ids, ids + 1000):
        voxels.vote(places, said)
    found, votes = voxels.recall(places)
    held = votes > 0
    assert held.mean() > 0.99 and (found == ids)[held].all() and votes.max() == 2


def test_unseen_places_have_no_votes():
    voxels = VoxelLabelMap()
    voxels.vote(cells(100), np.ones(100, np.int32))
    _, votes = voxels.recall(cells(100, seed=1) + 50.0)
    assert not votes.any()


def test_a_voxel_votes_once_a_frame():
    voxels = VoxelLabelMap()
    voxels.vote(np.full((50, 3), 0.01), np.full(50, 7, np.int32))
    assert voxels.recall(np.full((1, 3), 0.02))[1] == 1


def test_newer_places_take_the_room_of_older_ones_in_the_end():
    voxels, places, ones = VoxelLabelMap(), cells(20000), np.ones(20000, np.int32)
    for seed in range(40):
        voxels.vote(places + 20.0 * seed, ones * seed)
    found, votes = voxels.recall(places + 780.0)
    assert (votes > 0).mean() > 0.3 and (found[votes > 0] == 39).all()


def test_renaming_and_clearing():
    voxels, places = VoxelLabelMap(), cells(10)
    voxels.vote(places, np.full(10, 4, np.int32))
    voxels.rename(4, 9)
    found, votes = voxels.recall(places)
    assert set(found[votes > 0]) == {9}
    voxels.clear()
    assert not voxels.recall(places)[1].any()


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 3), min_size=1, max_size=30))
def test_any_place_can_be_remembered(places):
    voxels, points = VoxelLabelMap(), np.array(places)
    voxels.vote(points, np.full(len(points), 3, np.int32))
    found, votes = voxels.recall(points)
    assert (votes > 0).any() and (found[votes > 0] == 3).all()
