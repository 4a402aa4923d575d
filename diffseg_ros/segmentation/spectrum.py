"""
Leading eigenvectors of small and medium dense graphs, without solving for all of them.

The second eigenvector of (D - W) x = lambda D x is D^-1/2 y with y the second of the largest
eigenvalues of N = D^-1/2 W D^-1/2, whose first eigenvector D^1/2 1 is known. Sources: Shi and
Malik, "Normalized Cuts and Image Segmentation", PAMI 2000; Parlett, "The Symmetric Eigenvalue
Problem", SIAM 1998, for Lanczos' method with full orthogonalisation and for the law of inertia.
"""

from __future__ import annotations

from typing import NamedTuple

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

DENSE_UP_TO = 112
"""Nodes up to which LAPACK's solver for one eigenvector takes less time than Lanczos'."""

KEPT = 3
"""Eigenvectors kept of a graph: in them, those of its parts are nearly contained."""

_STEPS = 160
_FIRST_CHECK = 8
_LEAST_WAIT, _LONGEST_WAIT = 2, 10
_ANGLE = 0.0003
_LEAST_RESIDUAL = 1e-6
_BREAKDOWN = 1e-6
_CANCELLED = 0.05

FloatArray = npt.NDArray[np.float32]
FloatVector = npt.NDArray[np.float64]


class Spectrum(NamedTuple):
    """
    What is known of the smallest eigenvalues above the first.

    Attributes
    ----------
    value
        The second eigenvalue, in [0, 2].
    vectors
        (k, n) float32: the second and following eigenvectors x, of length 1 each.
    steps
        Products of the affinity with a vector that it took; 0 for LAPACK's solver.

    """

    value: float
    vectors: FloatArray
    steps: int

    def of(self, tokens: slice | npt.NDArray[np.intp]) -> Spectrum:
        """Return the vectors of some tokens, or of all in another order."""
        return self._replace(vectors=self.vectors[:, tokens])


def certainly_above(affinity: FloatArray, degree: FloatArray, tau: float) -> bool:
    """
    Return whether the second eigenvalue of (n, n) `affinity` with row sums `degree` is over tau.

    By the law of inertia one Cholesky factorisation decides, a fraction of an eigenvector's cost.
    """
    shifted = _normalised(affinity, degree)
    first = np.sqrt(degree / degree.sum())
    shifted -= np.multiply.outer((1 + tau) * first, first)
    np.negative(shifted, out=shifted)
    shifted.ravel()[::len(shifted) + 1] += 1 - tau
    return bool(lapack.spotrf(shifted.T, clean=0, overwrite_a=1)[1] == 0)


def second_eigenvector(affinity: FloatArray, degree: FloatArray,
                       near: Spectrum | None = None, tau: float = 2.0) -> Spectrum:
    """
    Return the second eigenvector, and those after it as far as they were found.

    Parameters
    ----------
    affinity
        (n, n) float32, symmetric, n >= 2; rows may be parts of longer ones.
    degree
        (n,) row sums, above 0.
    near
        That of a graph that was much alike; it saves steps.
    tau
        Once the eigenvalue is certain to be higher, its vector is not refined further.

    """
    if len(affinity) <= DENSE_UP_TO:
        return _by_lapack(affinity, degree)
    return _by_lanczos(affinity, degree, near, tau)


def _normalised(affinity: FloatArray, degree: FloatArray) -> FloatArray:
    scale = 1 / np.sqrt(degree)
    normalised = np.multiply(affinity, scale, dtype=np.float32)
    normalised *= scale[:, None]
    return normalised


def _by_lapack(affinity: FloatArray, degree: FloatArray) -> Spectrum:
    size = len(affinity)
    values, vectors, _, _, info = lapack.ssyevr(
        _normalised(affinity, degree).T, range='I', il=size - 1, iu=size - 1, overwrite_a=1)
    if info:
        raise DiffsegError(f'affinity: LAPACK found no eigenvector of a part of {size} tokens')
    vector = vectors[:, 0] / np.sqrt(degree)
    return Spectrum(1 - float(values[0]), (vector / np.linalg.norm(vector))[None], 0)


def _by_lanczos(affinity: FloatArray, degree: FloatArray, near: Spectrum | None,
                tau: float) -> Spectrum:
    size = len(affinity)
    root = np.sqrt(degree)
    scale = 1 / root
    limit = min(_STEPS, size - 1)
    basis = np.empty((limit + 2, size), np.float32)
    basis[0] = root / np.linalg.norm(root)
    begin = (np.random.default_rng(0).standard_normal(size).astype(np.float32) if near is None
             else near.vectors.sum(axis=0) * root)
    begin -= (basis[0] @ begin) * basis[0]
    basis[1] = begin / np.linalg.norm(begin)
    diagonal, beside = np.zeros(limit), np.zeros(limit)
    convergence = _Convergence(tau)
    check = min(_FIRST_CHECK if near is None else max(_FIRST_CHECK, near.steps * 2 // 3), limit)
    for step in range(1, limit + 1):
        product = np.dot(affinity, basis[step] * scale)
        product *= scale
        diagonal[step - 1], rest = _orthogonalise(product, basis[:step + 1])
        beside[step - 1] = rest
        if rest < _BREAKDOWN or step == limit:
            break
        if step == check:
            wait = convergence.steps_left(diagonal[:step], beside[:step], rest)
            if not wait:
                break
            check = min(step + wait, limit)
        np.multiply(product, 1 / rest, out=basis[step + 1])
    values, ritz = _largest(diagonal[:step], beside[:step], KEPT)
    vectors = ritz[:, ::-1].T.astype(np.float32) @ basis[1:step + 1]
    vectors *= scale
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Spectrum(1 - float(values[-1]), vectors, step)


def _orthogonalise(vector: FloatArray, basis: FloatArray) -> tuple[float, float]:
    """Take off what is in the (k, n) basis, in place; return the last part and what remains."""
    parts = np.dot(basis, vector)
    vector -= np.dot(parts, basis)
    rest = float(np.dot(vector, vector)) ** 0.5
    if rest < _CANCELLED:
        vector -= np.dot(np.dot(basis, vector), basis)
        rest = float(np.dot(vector, vector)) ** 0.5
    return float(parts[-1]), rest


def _largest(diagonal: FloatVector, beside: FloatVector,
             count: int) -> tuple[FloatVector, FloatVector]:
    """Return a tridiagonal matrix's largest eigenvalues, ascending, and vectors in columns."""
    size = len(diagonal)
    count = min(count, size)
    _, values, vectors, _ = lapack.dstemr(diagonal, beside.copy(), 2, 0.0, 0.0, size - count + 1,
                                          size)
    return values[:count], vectors[:, :count]


class _Convergence:
    """Watches the residual of the leading eigenvector."""

    def __init__(self, tau: float) -> None:
        self._tau = tau
        self._step = 0
        self._residual = 0.0

    def steps_left(self, diagonal: FloatVector, beside: FloatVector, rest: float) -> int:
        """
        Return after how many steps to look again; 0 if the vector is good enough.

        It is once its angle to the true one is small, or its eigenvalue certain to be over tau.
        """
        step = len(diagonal)
        values, vectors = _largest(diagonal, beside, 2)
        gap = float(values[-1] - values[-2])
        residual = rest * abs(float(vectors[-1, -1]))
        enough = max(_ANGLE * gap, _LEAST_RESIDUAL)
        if residual < enough or (1 - values[-1] - residual > self._tau and residual < gap):
            return 0
        wait = _LEAST_WAIT
        if self._step and residual < self._residual:
            rate = np.log(self._residual / residual) / (step - self._step)
            wait = int(np.clip(np.log(residual / enough) / rate, _LEAST_WAIT, _LONGEST_WAIT))
        self._step, self._residual = step, residual
        return wait
