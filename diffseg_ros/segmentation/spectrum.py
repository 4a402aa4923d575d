"""
The second eigenvector of dense graphs, without solving for all of them.

The second eigenvector of (D - W) x = lambda D x is D^-1/2 y with y the second of the largest
eigenvalues of N = D^-1/2 W D^-1/2, whose first eigenvector D^1/2 1 is known. Sources: Shi and
Malik, "Normalized Cuts and Image Segmentation", PAMI 2000; Parlett, "The Symmetric Eigenvalue
Problem", SIAM 1998, for the law of inertia.
"""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, lapack
from scipy.sparse.linalg import ArpackError, eigsh, LinearOperator

DENSE_UP_TO = 112
"""Nodes up to which LAPACK's solver for one eigenvector takes less time than ARPACK's."""

_TOLERANCE = 1e-6
_BASIS, _RESTARTS = 12, 60
_NOISE = 1e-4

FloatArray = npt.NDArray[np.float32]


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
                       near: FloatArray | None = None) -> tuple[float, FloatArray]:
    """
    Return the second eigenvalue, in [0, 2], and its (n,) eigenvector x of length 1.

    `affinity` is (n, n) float32, symmetric, n >= 2, with row sums `degree` above 0. A vector
    `near` saves steps. Where the eigenvalue is a multiple one, the start decides which vector is
    returned. NaN raises DiffsegError.
    """
    root = np.sqrt(degree)
    found = None
    if len(affinity) > DENSE_UP_TO:
        found = _by_arpack(affinity, degree, None if near is None else near * root)
    value, vector = found or _by_lapack(affinity, degree)
    vector = vector / root
    return 1 - value, (vector / np.linalg.norm(vector)).astype(np.float32)


def _normalised(affinity: FloatArray, degree: FloatArray) -> FloatArray:
    scale = 1 / np.sqrt(degree)
    normalised = np.multiply(affinity, scale, dtype=np.float32)
    normalised *= scale[:, None]
    return normalised


def _by_arpack(affinity: FloatArray, degree: FloatArray,
               near: FloatArray | None) -> tuple[float, FloatArray] | None:
    """Return the second largest eigenvalue of N and its vector, None if it does not converge."""
    root = np.sqrt(degree.astype(np.float64))
    first, scale = root / np.linalg.norm(root), 1 / root

    def without_first(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Half of a symmetric matrix is enough to read; scaling vectors is cheaper than N.
        product = blas.ssymv(1.0, affinity.T, (scale * vector).astype(np.float32))
        return scale * product - (first @ vector) * first

    start = np.random.default_rng(0).standard_normal(len(first)).astype(np.float32)
    if near is not None:
        start *= _NOISE
        start += near
    try:
        values, vectors = eigsh(
            LinearOperator(affinity.shape, without_first, dtype=np.float64), 1, which='LA',
            v0=start, ncv=_BASIS, tol=_TOLERANCE, maxiter=_RESTARTS)
    except ArpackError:  # eigenvalues that nearly coincide
        return None
    return float(values[0]), vectors[:, 0]


def _by_lapack(affinity: FloatArray, degree: FloatArray) -> tuple[float, FloatArray]:
    size = len(affinity)
    values, vectors, found, _, info = lapack.ssyevr(
        _normalised(affinity, degree).T, range='I', il=size - 1, iu=size - 1, overwrite_a=1)
    if info or not found:
        # Eigenvalues that crowd below 1 (parts that hardly hang together) can escape it.
        values, vectors, info = lapack.dsyevd(_normalised(affinity, degree).astype(np.float64))
        if info or not np.isfinite(values).all():
            raise DiffsegError(f'affinity: LAPACK found no eigenvector of a part of {size} tokens')
        values, vectors = values[-2:-1], vectors[:, -2:-1]
    return float(values[0]), vectors[:, 0]
