import cv2
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.benchmark.stages import scene_frames
from diffseg_ros.config import BackboneConfig, SegmentationConfig
from diffseg_ros.model_defaults import with_model_defaults
from diffseg_ros.segmentation.affinity import feature_affinity, token_affinity
from diffseg_ros.segmentation.cues import CutSettings
from diffseg_ros.segmentation.normalized_cut import CutState, normalized_cut
from diffseg_ros.segmentation.spectrum import second_eigenvector
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scipy.linalg import eigh
from studies.agreement import adjusted_rand_index
from studies.reference_cut import best_cut, best_threshold, ncut, reference_cut
from studies.segmentation_speed import affinities
import torch


def clustered(seed, clusters, spread, size=120):
    """Return the affinity of random features round `clusters` directions."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, 12))
    features = centres[rng.integers(0, clusters, size)] + spread * rng.standard_normal((size, 12))
    return feature_affinity(torch.from_numpy(features.T.astype(np.float32)), 5.0).numpy()


@given(seed=strategies.integers(0, 10_000), clusters=strategies.integers(2, 9),
       spread=strategies.floats(0.05, 0.6), tau=strategies.floats(0.2, 0.8))
@settings(max_examples=40)
def test_fast_cut_gives_the_literal_partition(seed, clusters, spread, tau):
    affinity = clustered(seed, clusters, spread)
    literal = reference_cut(affinity, tau)
    assert adjusted_rand_index(literal, normalized_cut(affinity, tau)) >= 0.99


@given(seed=strategies.integers(0, 10_000), clusters=strategies.integers(5, 25))
@settings(max_examples=8, deadline=None)
def test_parts_of_any_size_give_the_literal_partition(seed, clusters):
    affinity = clustered(seed, clusters, 0.4, size=420)
    with one_blas_thread():
        literal = reference_cut(affinity, 0.7)
        assert adjusted_rand_index(literal, normalized_cut(affinity, 0.7)) >= 0.99


@given(seed=strategies.integers(0, 10_000), tau=strategies.sampled_from([0.2, 0.35, 0.5]))
@settings(max_examples=10, deadline=None)
def test_clusters_with_stray_tokens_give_the_literal_partition(seed, tau):
    rng = np.random.default_rng(seed)
    points = np.concatenate([
        rng.normal(rng.uniform(0, 10, 3), rng.uniform(0.1, 1.5), (rng.integers(5, 60), 3))
        for _ in range(14)])
    apart = ((points[:, None] - points) ** 2).sum(axis=2)
    affinity = np.exp(-apart * rng.uniform(0.3, 3)).astype(np.float32)
    with one_blas_thread():
        literal = reference_cut(affinity, tau)
        assert adjusted_rand_index(literal, normalized_cut(affinity, tau)) >= 0.99


@pytest.mark.parametrize(('cut', 'tau'), [
    (CutSettings(), 0.35),
    (CutSettings(alpha=10.0, colour=0.0, position=0.0, geometry=0.0), 0.5)])
def test_consecutive_frames_give_the_literal_partition_with_and_without_the_last(cut, tau):
    config = with_model_defaults(SegmentationConfig(cut=cut), 'embedded', section='segmentation.')
    backbone = load_backbone(BackboneConfig(device='cpu', tokens=500))
    state = CutState()
    with one_blas_thread():
        for affinity in affinities(scene_frames(3), backbone, config):
            literal = reference_cut(affinity, tau)
            assert literal.max() + 1 >= 4
            assert adjusted_rand_index(literal, normalized_cut(affinity, tau)) >= 0.99
            warm = normalized_cut(affinity, tau, state=state)
            assert adjusted_rand_index(literal, warm) >= 0.99


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('tau', [0.25, 0.5])
def test_parts_that_hardly_hang_together_are_split_as_by_the_literal_recursion(seed, tau):
    rgb = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    features = torch.randn(5, 12, 16, generator=torch.Generator().manual_seed(seed))
    cues = CutSettings(alpha=5.0, colour=1000.0, position=1000.0, geometry=0.0)
    affinity = token_affinity(Frame(rgb), features, cues).numpy()
    with one_blas_thread():
        literal, found = reference_cut(affinity, tau), normalized_cut(affinity, tau)
    assert found.max() == literal.max() >= 100
    assert adjusted_rand_index(literal, found) >= 0.99


def square_grid(side, position):
    """Return the affinity of positions alone, whose second eigenvalue is a double one."""
    cues = CutSettings(alpha=0.0, colour=0.0, position=position, geometry=0.0)
    frame = Frame(np.zeros((2 * side, 2 * side, 3), np.uint8))
    return token_affinity(frame, torch.zeros(4, side, side), cues).numpy()


@pytest.mark.parametrize('side', [12, 16, 24, 32])
@pytest.mark.parametrize('position', [100.0, 300.0, 1000.0])
def test_of_a_double_eigenvalue_one_vector_is_cut_at_its_literal_cost(side, position):
    affinity = square_grid(side, position)
    exact = affinity.astype(np.float64)
    degree = exact.sum(axis=1)
    with one_blas_thread():
        values, vectors = eigh(np.diag(degree) - exact, np.diag(degree), subset_by_index=(1, 3))
        assert values[1] - values[0] < 1e-6 and values[2] > 1.5 * values[0]
        value, vector = second_eigenvector(affinity, affinity.sum(axis=1))
        split = normalized_cut(affinity, 2.0, max_segments=2) == 1
    # The exact eigenvector that is nearest.
    nearest = vectors[:, :2] @ (vectors[:, :2].T @ (degree * vector))
    assert value == pytest.approx(values[0], abs=1e-6)
    assert np.linalg.norm(vector - nearest) < 1e-3
    literal = best_threshold(exact, degree, nearest)[0]
    assert ncut(exact, degree, split[:, None])[0] == pytest.approx(literal, abs=1e-6)


@pytest.mark.parametrize('position', [100.0, 300.0, 1000.0])
def test_on_a_square_grid_the_first_cut_costs_no_more_than_the_literal_one(position):
    affinity = square_grid(32, position)
    exact = affinity.astype(np.float64)
    with one_blas_thread():
        split = normalized_cut(affinity, 2.0, max_segments=2) == 1
        assert ncut(exact, exact.sum(axis=1), split[:, None])[0] <= best_cut(exact)[0] + 1e-6


def test_both_precisions_agree_on_real_features():
    image = np.full((96, 128, 3), 90, np.uint8)
    cv2.circle(image, (40, 50), 30, (200, 60, 40), -1)
    cv2.rectangle(image, (80, 20), (120, 90), (40, 90, 220), -1)
    cv2.line(image, (0, 90), (127, 70), (240, 240, 230), 5)
    features = load_backbone(BackboneConfig(device='cpu', tokens=300)).features(image)
    features = features - features.mean(dim=(1, 2), keepdim=True)
    affinity = feature_affinity(features.flatten(1), 5.0).numpy()
    exact = reference_cut(affinity, 0.5)
    assert exact.max() + 1 >= 4
    assert adjusted_rand_index(exact, reference_cut(affinity, 0.5, np.float32)) >= 0.99
    assert adjusted_rand_index(exact, normalized_cut(affinity, 0.5)) >= 0.99


def test_cost_is_that_of_the_definition():
    affinity = clustered(1, 3, 0.3, 30).astype(np.float64)
    sides = np.random.default_rng(0).random((30, 4)) > 0.5
    sides[:, 3] = True
    costs = ncut(affinity, affinity.sum(axis=1), sides)
    for side, cost in zip(sides.T[:3], costs[:3], strict=True):
        cut = affinity[np.ix_(side, ~side)].sum()
        expected = cut / affinity[side].sum() + cut / affinity[~side].sum()
        assert cost == pytest.approx(expected)
    assert np.isinf(costs[3])


def test_two_groups_are_parted_at_their_border():
    affinity = np.full((9, 9), 0.01)
    affinity[:4, :4] = affinity[4:, 4:] = 1
    cost, side = best_cut(affinity)
    assert adjusted_rand_index(side, np.arange(9) < 4) == 1
    assert cost == pytest.approx(0.2 / (16 + 0.2) + 0.2 / (25 + 0.2))
    assert adjusted_rand_index(reference_cut(affinity, 0.1), np.arange(9) < 4) == 1


def test_single_token_and_uniform_graph_stay_whole():
    assert reference_cut(np.ones((1, 1)), 0.5).tolist() == [0]
    assert not reference_cut(np.ones((20, 20)), 0.5).any()


def test_adjusted_rand_index_is_that_of_known_partitions():
    one = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand_index(one, one[::-1]) == 1
    assert adjusted_rand_index(np.zeros(5, int), np.zeros(5, int)) == 1
    assert adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])) \
        == pytest.approx(4 / 7)
    assert adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) \
        == pytest.approx(-0.5)
