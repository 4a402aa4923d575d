import tracemalloc

from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.normalized_cut import CutState, normalized_cut
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scenes import same_partition
from scipy.linalg import eigh


def block_affinity(sizes, between, seed=0):
    """Return an affinity with bright diagonal blocks and the true block of every row."""
    truth = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(seed).uniform(0.8, 1, (len(truth),) * 2)
    affinity = np.where(truth[:, None] == truth, 1.0, between) * (noise + noise.T) / 2
    return affinity.astype(np.float32), truth


def literal_cut(affinity, tau):
    """Recurse as the paper says: dense float64 eigenproblem, every threshold by its own sums."""
    labels = np.zeros(len(affinity), int)

    def recurse(members):
        part = affinity[np.ix_(members, members)].astype(np.float64)
        if len(part) < 2:
            return
        degree = part.sum(axis=1)
        _, vectors = eigh(np.diag(degree) - part, np.diag(degree))
        vector = vectors[:, 1]
        best, side = np.inf, None
        for level in np.linspace(0.99 * vector.min(), 0.99 * vector.max(), 100):
            chosen = vector > level
            if chosen.all() or not chosen.any():
                continue
            cut = part[chosen][:, ~chosen].sum()
            cost = cut / degree[chosen].sum() + cut / degree[~chosen].sum()
            if cost < best:
                best, side = cost, chosen
        if best < tau:
            labels[members[side]] = labels.max() + 1
            recurse(members[side])
            recurse(members[~side])

    recurse(np.arange(len(affinity)))
    return labels


@pytest.mark.parametrize('sizes', [(5, 5), (40, 30, 50), (100, 60, 20, 80), (1, 30)])
def test_blocks_are_found_exactly(sizes):
    affinity, truth = block_affinity(sizes, between=0.001)
    assert same_partition(normalized_cut(affinity, 0.3), truth)


@given(seed=strategies.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_equals_the_literal_recursion(seed):
    sizes = np.random.default_rng(seed).integers(20, 60, 4)
    affinity, _ = block_affinity(sizes, between=0.02, seed=seed)
    assert same_partition(normalized_cut(affinity, 0.4), literal_cut(affinity, 0.4))


def test_order_of_rows_does_not_matter():
    affinity, _ = block_affinity((50, 70, 30), between=0.01)
    order = np.random.default_rng(1).permutation(len(affinity))
    plain, shuffled = normalized_cut(affinity, 0.4), normalized_cut(affinity[order][:, order], 0.4)
    assert same_partition(plain[order], shuffled)


def test_higher_tau_never_gives_fewer_segments():
    affinity, _ = block_affinity((30, 30, 30, 30), between=0.15)
    counts = [normalized_cut(affinity, tau).max() + 1 for tau in (0, 0.2, 0.4, 0.6, 0.8)]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] >= 4


def test_max_segments_keeps_the_clearest_splits():
    affinity, truth = block_affinity((40, 40), between=0.001)
    affinity[:20, 20:40] *= 0.3
    affinity[20:40, :20] *= 0.3
    assert normalized_cut(affinity, 1.0).max() + 1 > 2
    assert same_partition(normalized_cut(affinity, 1.0, max_segments=2), truth)


def test_uniform_affinity_stays_whole():
    assert not normalized_cut(np.ones((150, 150), np.float32), 0.5).any()


def test_single_token():
    assert normalized_cut(np.ones((1, 1), np.float32), 0.5).tolist() == [0]


def test_the_frame_before_changes_nothing_but_the_time():
    state = CutState()
    for seed in range(3):
        affinity, _ = block_affinity((150, 90, 60, 120), between=0.05 + 0.02 * seed, seed=seed)
        assert same_partition(normalized_cut(affinity, 0.6, state=state),
                              normalized_cut(affinity, 0.6))
    smaller, truth = block_affinity((20, 30), between=0.01)
    assert same_partition(normalized_cut(smaller, 0.4, state=state), truth)


def test_the_same_frame_again_gives_the_same():
    affinity, _ = block_affinity((150, 90, 60, 120), between=0.1)
    state = CutState()
    first = normalized_cut(affinity, 0.6, state=state)
    assert (normalized_cut(affinity, 0.6, state=state) == first).all()


def test_memory_grows_with_the_square_of_the_tokens():
    peaks = []
    for size in (50, 100, 200):
        affinity, _ = block_affinity((2 * size, size, size), between=0.05)
        tracemalloc.start()
        normalized_cut(affinity, 0.5)
        peaks.append(tracemalloc.get_traced_memory()[1] / affinity.nbytes)
        tracemalloc.stop()
    assert peaks[2] < peaks[0] and peaks[2] < 3.5


def test_the_affinity_is_left_as_it_was():
    affinity, _ = block_affinity((150, 20, 40), between=0.01)
    before = affinity.copy()
    normalized_cut(affinity, 0.5)
    assert (affinity == before).all()


def test_many_separate_blocks_among_which_eigenvectors_are_degenerate():
    affinity, truth = block_affinity((60, 60, 60, 60, 60, 60), between=0.0)
    assert same_partition(normalized_cut(affinity, 0.3), truth)


@pytest.mark.parametrize('size', [2, 3, 112, 113])
def test_any_size_is_cut_by_either_solver(size):
    affinity, truth = block_affinity((size // 2, size - size // 2), between=0.001)
    assert same_partition(normalized_cut(affinity, 0.5), truth)


def test_tokens_without_any_affinity_are_set_apart():
    affinity = np.ones((10, 10), np.float32)
    affinity[3] = affinity[:, 3] = 0
    labels = normalized_cut(affinity, 0.5)
    assert (np.delete(labels, 3) == labels[0]).all() and labels[3] != labels[0]


def test_same_input_same_labels():
    affinity, _ = block_affinity((60, 80, 90), between=0.2)
    assert (normalized_cut(affinity, 0.9) == normalized_cut(affinity.copy(), 0.9)).all()


@pytest.mark.parametrize('value', [np.nan, np.inf, -1])
def test_unusable_values_are_refused(value):
    affinity = np.ones((4, 4), np.float32)
    affinity[1, 2] = value
    with pytest.raises(DiffsegError, match='NaN, infinity or negative'):
        normalized_cut(affinity, 0.5)


def test_other_shapes_are_refused():
    with pytest.raises(DiffsegError, match='square'):
        normalized_cut(np.ones((3, 4), np.float32), 0.5)
