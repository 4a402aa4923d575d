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


def assert_second(found, values, vectors, tolerance=1e-5):
    assert found[0] == pytest.approx(values[1], abs=1e-5)
    assert abs(found[1] @ vectors[:, 1]) / np.linalg.norm(vectors[:, 1]) > 1 - tolerance


@pytest.mark.parametrize('size', [2, 20, DENSE_UP_TO, DENSE_UP_TO + 1, 200, 350])
def test_the_second_eigenvector_is_lapacks(size):
    affinity, degree, values, vectors = random_graph(size, size)
    assert_second(second_eigenvector(affinity, degree), values, vectors)


def test_the_vector_of_a_similar_graph_as_start_gives_the_same():
    affinity, degree, _, _ = random_graph(400, 1)
    _, cold = second_eigenvector(affinity, degree)
    changed = affinity * np.float32(0.98) + np.float32(0.0005)
    values, vectors = exact_spectrum(changed)
    assert_second(second_eigenvector(changed, changed.sum(axis=1), cold), values, vectors)


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
def test_eigenvalues_that_nearly_coincide_are_told_apart(size, reach):
    affinity = path(size, reach)
    found = second_eigenvector(affinity, affinity.sum(axis=1))
    # float32 tells vectors apart whose values differ by 1e-4 up to about this angle.
    assert_second(found, *exact_spectrum(affinity), 1e-4)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('blocks', [(12, 4, 4, 4), (7, 12, 3), (5, 9, 13, 6, 4)])
def test_separate_blocks_have_a_second_eigenvector_of_value_zero(blocks):
    truth = np.repeat(np.arange(len(blocks)), blocks)
    affinity = np.equal.outer(truth, truth).astype(np.float32)
    value, vector = second_eigenvector(affinity, affinity.sum(axis=1))
    assert value == pytest.approx(0, abs=1e-5)
    for block in range(len(blocks)):
        assert np.ptp(vector[truth == block]) < 1e-5
    assert np.ptp(vector) > 0.1


@pytest.mark.filterwarnings('error')
def test_no_answer_of_lapack_is_no_answer(monkeypatch):
    affinity, degree, values, vectors = random_graph(40, 7)
    whole = lapack.ssyevr

    def nothing(*arguments, **keywords):
        found = whole(*arguments, **keywords)
        return (np.full_like(found[0], np.nan), np.full_like(found[1], np.nan), 0, found[3], 0)

    monkeypatch.setattr(lapack, 'ssyevr', nothing)
    assert_second(second_eigenvector(affinity, degree), values, vectors)


@given(seed=strategies.integers(0, 10_000), size=strategies.integers(2, 80),
       tau=strategies.floats(0.05, 1.5))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_the_second_eigenvalue(seed, size, tau):
    affinity, degree, values, _ = random_graph(size, seed)
    if abs(values[1] - tau) > 1e-4:
        assert certainly_above(affinity, degree, tau) == (values[1] > tau)


@pytest.mark.parametrize('near', [
    np.zeros(200), np.ones(200), np.eye(200)[3], np.arange(200)])
def test_a_useless_start_does_no_harm(near):
    affinity, degree, values, vectors = random_graph(200, 5)
    assert_second(second_eigenvector(affinity, degree, near.astype(np.float32)), values, vectors)
