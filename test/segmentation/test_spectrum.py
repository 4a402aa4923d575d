from diffseg_ros.segmentation.spectrum import (
    certainly_above,
    DENSE_UP_TO,
    second_eigenvector,
)
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scipy.linalg import eigh, lapack


def random_graph(size, seed):
    """Return the features' affinity of random tokens, its row sums, and its exact spectrum."""
    points = np.random.default_rng(seed).standard_normal((size, 3))
    affinity = np.exp(-((points[:, None] - points) ** 2).sum(axis=2)).astype(np.float32)
    degree = affinity.sum(axis=1)
    exact = affinity.astype(np.float64)
    values, vectors = eigh(np.diag(exact.sum(axis=1)) - exact, np.diag(exact.sum(axis=1)))
    return affinity, degree, values, vectors


@pytest.mark.parametrize('size', [2, 20, DENSE_UP_TO, DENSE_UP_TO + 1, 200, 350])
def test_the_second_eigenvector_is_lapacks(size):
    affinity, degree, values, vectors = random_graph(size, size)
    found = second_eigenvector(affinity, degree)
    assert found.value == pytest.approx(values[1], abs=1e-5)
    exact = vectors[:, 1] / np.linalg.norm(vectors[:, 1])
    assert abs(found.vectors[0] @ exact) > 1 - 1e-5


def test_a_like_graph_saves_steps_and_gives_the_same():
    affinity, degree, _, _ = random_graph(400, 1)
    cold = second_eigenvector(affinity, degree)
    changed = affinity * np.float32(0.98) + np.float32(0.0005)
    fresh = second_eigenvector(changed, changed.sum(axis=1))
    warm = second_eigenvector(changed, changed.sum(axis=1), cold.vectors)
    assert warm.steps < fresh.steps
    assert abs(warm.vectors[0] @ fresh.vectors[0]) > 1 - 1e-5


def path(size, reach):
    """Return the affinity of tokens in a row, whose small eigenvalues crowd near 0."""
    apart = np.subtract.outer(np.arange(size), np.arange(size)) / reach
    return np.exp(-apart ** 2).astype(np.float32)


def exact_spectrum(affinity):
    """Return all eigenvalues and, in columns, eigenvectors x of length 1, in float64."""
    weights = affinity.astype(np.float64)
    degree = np.diag(weights.sum(axis=1))
    values, vectors = eigh(degree - weights, degree)
    return values, vectors / np.linalg.norm(vectors, axis=0)


@pytest.mark.parametrize(('size', 'reach'), [(400, 1.0), (600, 1.5), (500, 2.0)])
def test_what_a_run_of_lanczos_leaves_open_is_settled_by_another(size, reach):
    affinity = path(size, reach)
    values, vectors = exact_spectrum(affinity)
    found = second_eigenvector(affinity, affinity.sum(axis=1))
    assert 160 < found.steps <= 5 * 160
    assert found.value == pytest.approx(values[1], abs=1e-6)
    assert abs(found.vectors[0] @ vectors[:, 1]) > 1 - 1e-5


def test_the_number_of_runs_is_bounded():
    affinity = path(2000, 1.0)
    assert second_eigenvector(affinity, affinity.sum(axis=1)).steps <= 5 * 160


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('blocks', [(12, 4, 4, 4), (7, 12, 3), (5, 9, 13, 6, 4)])
def test_separate_blocks_have_a_second_eigenvector_of_value_zero(blocks):
    truth = np.repeat(np.arange(len(blocks)), blocks)
    affinity = np.equal.outer(truth, truth).astype(np.float32)
    found = second_eigenvector(affinity, affinity.sum(axis=1))
    assert found.value == pytest.approx(0, abs=1e-5)
    for block in range(len(blocks)):
        assert np.ptp(found.vectors[0][truth == block]) < 1e-4
    assert np.ptp(found.vectors[0]) > 0.1


@pytest.mark.filterwarnings('error')
def test_no_answer_of_lapack_is_no_answer(monkeypatch):
    affinity, degree, values, vectors = random_graph(40, 7)
    whole = lapack.ssyevr

    def nothing(*arguments, **keywords):
        found = whole(*arguments, **keywords)
        return (np.full_like(found[0], np.nan), np.full_like(found[1], np.nan), 0, found[3], 0)

    monkeypatch.setattr(lapack, 'ssyevr', nothing)
    found = second_eigenvector(affinity, degree)
    assert found.value == pytest.approx(values[1], abs=1e-5)
    exact = vectors[:, 1] / np.linalg.norm(vectors[:, 1])
    assert abs(found.vectors[0] @ exact) > 1 - 1e-5


@given(seed=strategies.integers(0, 10_000), size=strategies.integers(2, 80),
       tau=strategies.floats(0.05, 1.5))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_the_second_eigenvalue(seed, size, tau):
    affinity, degree, values, _ = random_graph(size, seed)
    if abs(values[1] - tau) > 1e-4:
        assert certainly_above(affinity, degree, tau) == (values[1] > tau)


@pytest.mark.parametrize('near', [
    np.zeros((1, 200)), np.ones((2, 200)), np.eye(3, 200), np.tile(np.arange(200), (4, 1))])
def test_vectors_that_are_no_help_do_no_harm(near):
    affinity, degree, values, vectors = random_graph(200, 5)
    found = second_eigenvector(affinity, degree, near.astype(np.float32))
    assert found.value == pytest.approx(values[1], abs=1e-5)
    exact = vectors[:, 1] / np.linalg.norm(vectors[:, 1])
    assert abs(found.vectors[0] @ exact) > 1 - 1e-5
