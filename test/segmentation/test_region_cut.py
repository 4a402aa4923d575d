from diffseg_ros.segmentation.region_cut import cut_tree
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from scenes import same_partition


def random_affinity(count, seed):
    random = np.random.default_rng(seed)
    affinity = random.random((count, count)) ** 4
    return affinity + affinity.T + np.eye(count), random.random(count) + 0.1


def blocks(sizes, between=0.01):
    """Return the affinity of groups of regions that are alike within, and each one's group."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(group[:, None] == group, 1.0, between), group


def groups(tree, threshold, most=99):
    found = np.empty(len(tree.order), int)
    found[tree.order] = tree.bounded(most).groups(threshold)
    return found


def cost(affinity, side):
    """Return the normalised cut of Shi and Malik as they define it."""
    cut = affinity[np.ix_(side, ~side)].sum()
    return cut / affinity[side].sum() + cut / affinity[~side].sum()


def test_blocks_come_apart():
    affinity, group = blocks([4, 3, 5])
    mixed = np.random.default_rng(0).permutation(12)
    tree = cut_tree(affinity[np.ix_(mixed, mixed)], np.ones(12))
    assert same_partition(groups(tree, 0.3), group[mixed])


def test_the_first_level_is_the_cost_of_the_best_threshold():
    affinity, size = random_affinity(9, 3)
    tree = cut_tree(affinity, size)
    side = groups(tree, 1e9, most=2) == 1
    assert np.isclose(tree.level.min(), cost(affinity, side))
    degree = affinity.sum(axis=1)
    second = np.linalg.eigh(affinity / np.sqrt(np.outer(degree, degree)))[1][:, -2]
    ranked = np.argsort(second / np.sqrt(degree))
    costs = []
    for count in range(1, 9):
        side = np.zeros(9, bool)
        side[ranked[:count]] = True
        costs.append(cost(affinity, side))
    assert np.isclose(tree.level.min(), min(costs))


def test_small_parts_must_be_clearer():
    affinity, _ = blocks([1, 1, 1, 1], between=0.1)
    affinity[:2, :2] = affinity[2:, 2:] = [[1, 0.3], [0.3, 1]]
    level = cut_tree(affinity, np.array([5.0, 5.0, 1.0, 1.0])).level
    assert level[1] == level.min()
    assert level[0] != level[2]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 99))
def test_groups_at_every_threshold_are_nested(count, seed):
    tree = cut_tree(*random_affinity(count, seed))
    assert sorted(tree.order) == list(range(count))
    coarser = groups(tree, 0.0)
    assert coarser.max() == 0
    for threshold in np.sort(tree.level) + 1e-9:
        finer = groups(tree, threshold)
        assert len(set(zip(finer, coarser, strict=True))) == finer.max() + 1
        coarser = finer
    assert coarser.max() + 1 == count


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 30), st.integers(0, 99), st.integers(1, 12))
def test_there_are_at_most_so_many_groups(count, seed, most):
    tree = cut_tree(*random_affinity(count, seed))
    assert groups(tree, 1e9, most).max() + 1 == min(count, most)


def test_regions_that_nothing_joins_do_not_divide_by_zero():
    tree = cut_tree(np.eye(5), np.ones(5))
    assert np.isfinite(tree.level).all()
    assert groups(tree, 0.1).max() == 4
