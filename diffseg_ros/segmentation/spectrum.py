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
from scipy.linalg import blas, lapack

DENSE_UP_TO = 112
"""Nodes up to which LAPACK's solver for one eigenvector takes less time than Lanczos'."""

KEPT = 3
"""Eigenvectors kept of a graph: in them, those of its parts are nearly contained."""

_STEPS = 160
_RESTARTS = 4
_FIRST_CHECK = 8
_BREAKDOWN = 1e-6
_INDEPENDENT = 1e-4
_TINY = 1e-10
_ANGLE = 0.00005
_CERTAIN = 0.25
_LEAST_RESIDUAL = 1e-6

FloatArray = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]


class Spectrum(NamedTuple):
    """
    What is known of the smallest eigenvalues above the first.

    `value` is the second eigenvalue, in [0, 2]; `vectors` the (k, n) float32 second and following
    eigenvectors x, of length 1 each; `steps` the products of the affinity with a vector that it
    took, 0 for LAPACK's solver.
    """

    value: float
    vectors: FloatArray
    steps: int


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
                       near: FloatArray | None = None, tau: float = 2.0) -> Spectrum:
    """
    Return the second eigenvector, and those after it as far as they were found.

    Lanczos' method takes 160 steps at most, then begins again from the best vectors found, four
    times at most; what is still not exact then (eigenvalues that nearly coincide) is returned as
    it is. Where the second eigenvalue is a multiple one, any vector of its space is a second
    eigenvector, and which one is returned depends on the start.

    Parameters
    ----------
    affinity
        (n, n) float32, symmetric, n >= 2, in C order; another order costs a copy.
    degree
        (n,) row sums, above 0.
    near
        (k, n) vectors in whose space it nearly lies; they save steps.
    tau
        Once the eigenvalue is certain to be higher, its vector is not refined further.

    Raises
    ------
    DiffsegError
        LAPACK finds no eigenvector: the affinity holds NaN.

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
    values, vectors, found, _, info = lapack.ssyevr(
        _normalised(affinity, degree).T, range='I', il=size - 1, iu=size - 1, overwrite_a=1)
    if info or not found:
        # Eigenvalues that crowd below 1 (parts that hardly hang together) can escape it.
        values, vectors, info = lapack.dsyevd(_normalised(affinity, degree).astype(np.float64))
        if info or not np.isfinite(values).all():
            raise DiffsegError(f'affinity: LAPACK found no eigenvector of a part of {size} tokens')
        values, vectors = values[-2:-1], vectors[:, -2:-1]
    vector = (vectors[:, 0] / np.sqrt(degree)).astype(np.float32)
    vector /= blas.snrm2(vector)
    return Spectrum(1 - float(values[0]), vector[None], 0)


def _by_lanczos(affinity: FloatArray, degree: FloatArray, near: FloatArray | None,
                tau: float) -> Spectrum:
    spectrum, done = _lanczos(affinity, degree, near, tau)
    steps = spectrum.steps
    for _ in range(_RESTARTS):
        if done:
            break
        spectrum, done = _lanczos(affinity, degree, spectrum.vectors, tau)
        steps += spectrum.steps
    return spectrum._replace(steps=steps)


def _lanczos(affinity: FloatArray, degree: FloatArray, near: FloatArray | None,
             tau: float) -> tuple[Spectrum, bool]:
    """Return what one run of at most 160 steps finds, and whether it is good enough."""
    size = len(affinity)
    root = np.sqrt(degree)
    scale = 1 / root
    limit = min(_STEPS, size - 1)
    basis = np.empty((limit + 2, size), np.float32)
    basis[0] = root / blas.snrm2(root)
    begin, third = _start(affinity, root, basis[0], near)
    begin -= (basis[0] @ begin) * basis[0]
    basis[1] = begin / blas.snrm2(begin)
    diagonal, beside = np.zeros(limit), np.zeros(limit)
    convergence = _Convergence(tau, third)
    check, done = min(_FIRST_CHECK, limit), False
    for step in range(1, limit + 1):
        product = blas.ssymv(1.0, affinity.T, basis[step] * scale)
        product *= scale
        diagonal[step - 1], rest = _orthogonalise(product, basis[:step + 1])
        beside[step - 1] = rest
        done = rest < _BREAKDOWN
        if done:
            break
        if step == check:
            wait = convergence.steps_left(diagonal[:step], beside[:step], rest)
            done = not wait
            if done or step == limit:
                break
            check = min(step + wait, limit)
        np.multiply(product, 1 / rest, out=basis[step + 1])
    values, ritz = _largest(diagonal[:step], beside[:step], KEPT)
    vectors = ritz[:, ::-1].T.astype(np.float32) @ basis[1:step + 1]
    vectors *= scale
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Spectrum(1 - float(values[-1]), vectors, step), done


def _start(affinity: FloatArray, root: FloatArray, first: FloatArray,
           near: FloatArray | None) -> tuple[FloatArray, float]:
    """
    Return a vector near the second eigenvector, and a bound of the third eigenvalue.

    They are the best (Rayleigh, Ritz) in the space of the (k, n) vectors `near`.
    """
    if near is not None:
        space = near * root
        space -= np.multiply.outer(space @ first, first)
        lengths = space @ space.T
        longest = lengths.max()
        if longest > _TINY * root.max() ** 2:
            # Directions that the vectors hardly have are left out.
            lengths.ravel()[::len(lengths) + 1] += _INDEPENDENT * longest
            scaled = space / root
            values, vectors, _ = lapack.ssygvd(scaled @ affinity @ scaled.T, lengths)
            return vectors[:, -1] @ space, float(values[-2]) if len(values) > 1 else -1.0
    return np.random.default_rng(0).standard_normal(len(root)).astype(np.float32), -1.0


def _orthogonalise(vector: FloatArray, basis: FloatArray) -> tuple[float, float]:
    """
    Take off what is in the (k, n) basis, in place; return the last part and what remains.

    Twice: after one pass what is left of the basis grows from step to step.
    """
    parts = basis @ vector
    blas.sgemv(-1.0, basis.T, parts, 1.0, vector, overwrite_y=1)
    blas.sgemv(-1.0, basis.T, basis @ vector, 1.0, vector, overwrite_y=1)
    return float(parts[-1]), blas.snrm2(vector)


def _largest(diagonal: Vector, beside: Vector,
            count: int) -> tuple[Vector, Vector]:
    """Return a tridiagonal matrix's largest eigenvalues, ascending, and vectors in columns."""
    size = len(diagonal)
    count = min(count, size)
    _, values, vectors, _ = lapack.dstemr(diagonal, beside.copy(), 2, 0.0, 0.0, size - count + 1,
                                          size)
    return values[:count], vectors[:, :count]


class _Convergence:
    """Watches the residual of the leading eigenvector."""

    def __init__(self, tau: float, third: float) -> None:
        self._tau = tau
        self._third = third
        self._step = 0
        self._residual = 0.0

    def steps_left(self, diagonal: Vector, beside: Vector, rest: float) -> int:
        """
        Return after how many steps to look again; 0 if the vector is good enough.

        It is once its angle to the true one is small, or its eigenvalue certain to be over tau.
        """
        step = len(diagonal)
        values, vectors = _largest(diagonal, beside, 2)
        gap = float(values[-1] - max(values[-2], self._third))
        residual = rest * abs(float(vectors[-1, -1]))
        enough = max(_ANGLE * gap, _LEAST_RESIDUAL)
        if residual < enough or (1 - values[-1] - residual > self._tau
                                  and residual < _CERTAIN * gap):
            return 0
        least, longest = 2 + step // 8, 5 + step // 4
        wait = least
        if self._step and residual < self._residual:
            rate = np.log(self._residual / residual) / (step - self._step)
            wait = int(np.clip(np.log(residual / enough) / rate, least, longest))
        self._step, self._residual = step, residual
        return wait
