from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation import kway_cut as kway
from diffseg_ros.segmentation.kway_cut import KwayState
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scenes import same_partition
from test_normalized_cut import block_affinity
import torch


def kway_cut(affinity, *arguments, **options):
    return kway.kway_cut(torch.from_numpy(affinity), *arguments, **options)


def segments_of(affinity, labels):
    return kway._segments(torch.from_numpy(affinity), torch.from_numpy(labels).long(),
                          int(labels.max()) + 1)


def kway_cost(affinity, labels):
    return segments_of(affinity, labels).cost


def refine(affinity, labels):
    return kway._refined(segments_of(affinity, labels), 8).labels.numpy()


@pytest.mark.parametrize('sizes', [(5, 5), (40, 30, 50), (100, 60, 20, 80), (16, 30), (64,)])
def test_blocks_are_found_exactly(sizes):
    affinity, truth = block_affinity(sizes, between=0.001)
    assert same_partition(kway_cut(affinity, 0.4), truth)


def test_cost_is_the_sum_of_cut_over_volume():
    affinity, truth = block_affinity((6, 9, 4), between=0.2)
    expected = 0.0
    for segment in range(3):
        inside = truth == segment
        expected += affinity[inside][:, ~inside].sum() / affinity[inside].sum()
    assert kway_cost(affinity, truth.astype(np.int32)) == pytest.approx(expected, rel=1e-5)


@given(seed=strategies.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_refinement_never_raises_the_cost_and_keeps_every_segment(seed):
    rng = np.random.default_rng(seed)
    size, count = int(rng.integers(4, 60)), int(rng.integers(1, 4))
    affinity = rng.random((size, size)).astype(np.float32)
    affinity += affinity.T
    labels = rng.permutation(np.arange(size) % count).astype(np.int32)
    refined = refine(affinity, labels)
    assert kway_cost(affinity, refined) <= kway_cost(affinity, labels) + 1e-6
    assert set(refined.tolist()) == set(range(count))


def test_refinement_repairs_misplaced_tokens():
    affinity, truth = block_affinity((30, 40), between=0.05)
    labels = truth.astype(np.int32)
    labels[[3, 50, 60]] = 1 - labels[[3, 50, 60]]
    assert (refine(affinity, labels) == truth).all()


def test_higher_tau_never_gives_fewer_segments():
    affinity, _ = block_affinity((30, 30, 30, 30), between=0.15)
    counts = [kway_cut(affinity, tau).max() + 1 for tau in (0, 0.2, 0.5, 0.8, 1.2)]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] >= 4


def test_max_segments_merges_what_belongs_together_most():
    affinity, truth = block_affinity((40, 40), between=0.001)
    affinity[:20, 20:40] *= 0.05
    affinity[20:40, :20] *= 0.05
    assert kway_cut(affinity, 0.9).max() + 1 > 2
    assert same_partition(kway_cut(affinity, 0.9, max_segments=2), truth)


def test_state_follows_a_moving_border_and_starts_afresh_in_another_scene():
    state = KwayState()
    for border in (40, 42, 45):
        affinity, truth = block_affinity((border, 100 - border), between=0.01)
        assert same_partition(kway_cut(affinity, 0.4, state=state), truth)
    order = np.random.default_rng(0).permutation(100)
    affinity, truth = affinity[order][:, order], truth[order]
    assert same_partition(kway_cut(affinity, 0.4, state=state), truth)
    smaller, truth = block_affinity((20, 30), between=0.01)
    assert same_partition(kway_cut(smaller, 0.4, state=state), truth)


def test_same_input_same_labels():
    affinity, _ = block_affinity((60, 80, 90), between=0.2)
    assert (kway_cut(affinity, 0.9) == kway_cut(affinity.copy(), 0.9)).all()


def test_single_token_and_tokens_without_affinity():
    assert kway_cut(np.ones((1, 1), np.float32), 0.5).tolist() == [0]
    affinity = np.ones((10, 10), np.float32)
    affinity[3] = affinity[:, 3] = 0
    labels = kway_cut(affinity, 0.5)
    assert len(set(labels.tolist())) == 2 and (labels == labels[3]).sum() == 1
    assert kway_cut(np.zeros((5, 5), np.float32), 0.5).shape == (5,)


def test_uniform_affinity_stays_whole():
    assert not kway_cut(np.ones((150, 150), np.float32), 0.5).any()


def test_unusable_values_are_refused():
    affinity = np.ones((4, 4), np.float32)
    affinity[1, 2] = np.nan
    with pytest.raises(DiffsegError, match='NaN, infinity or negative'):
        kway_cut(affinity, 0.5)


def by_matrix(rows, labels, count):
    """Sum as on devices where a sparse product has no fixed order."""
    return torch.nn.functional.one_hot(labels, count).T.to(rows.dtype) @ rows


def test_sums_of_groups_are_the_same_by_a_dense_product():
    rows = torch.randn(90, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(90) % 5
    expected = torch.stack([rows[labels == label].sum(dim=0) for label in range(5)])
    torch.testing.assert_close(kway.grouped_sums(rows, labels, 5), expected)
    torch.testing.assert_close(by_matrix(rows, labels, 5), expected)


def test_both_ways_of_summing_give_one_partition(monkeypatch):
    affinity, _ = block_affinity((60, 80, 90, 30), between=0.1)
    labels = kway_cut(affinity, 0.6)
    assert labels.max() == 3
    monkeypatch.setattr(kway, 'grouped_sums', by_matrix)
    assert (kway_cut(affinity, 0.6) == labels).all()
