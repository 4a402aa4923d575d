"""
DiffCut's recursive normalised cut as published: a dense eigenproblem at every node.

Source: Couairon et al., NeurIPS 2024, after Shi and Malik, "Normalized Cuts and Image
Segmentation", PAMI 2000. Slow, to check and to time `normalized_cut` against.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

THRESHOLDS = 100

FloatMatrix = npt.NDArray[np.floating]


def reference_cut(affinity: FloatMatrix, tau: float,
                  dtype: npt.DTypeLike = np.float64) -> npt.NDArray[np.int32]:
    """
    Partition a graph by recursive normalised cut.

    At every node (D - W) x = lambda D x is solved in full by LAPACK, the second eigenvector is
    cut at 100 thresholds between 0.99 of its least and 0.99 of its largest entry, and the part
    is split at the cheapest if that costs less than tau, 0 to 2.

    The affinity is (n, n), symmetric and not negative, and every row has a positive sum; `dtype`
    is float64 for equality, float32 for timing. Returns (n,) int32 labels from 0, in the order in
    which parts were found final.
    """
    weights = np.asarray(affinity, dtype)
    labels = np.zeros(len(weights), np.int32)
    found = 0

    def split(members: npt.NDArray[np.intp]) -> None:
        nonlocal found
        cost, side = best_cut(weights[np.ix_(members, members)])
        if cost < tau:
            split(members[side])
            split(members[~side])
        else:
            labels[members] = found
            found += 1

    split(np.arange(len(weights)))
    return labels


def best_cut(affinity: FloatMatrix) -> tuple[float, npt.NDArray[np.bool_]]:
    """Return (cost, side) of the cheapest threshold; the cost is infinite without any."""
    if len(affinity) < 2:
        return np.inf, np.zeros(len(affinity), np.bool_)
    degree = affinity.sum(axis=1)
    return best_threshold(affinity, degree, second_eigenvector(affinity, degree))


def best_threshold(affinity: FloatMatrix, degree: FloatMatrix,
                   vector: FloatMatrix) -> tuple[float, npt.NDArray[np.bool_]]:
    """Return (cost, side) of the cheapest threshold of `vector`, by every one's own sums."""
    levels = np.linspace(0.99 * vector.min(), 0.99 * vector.max(), THRESHOLDS)
    sides = vector[:, None] > levels
    costs = ncut(affinity, degree, sides)
    best = int(np.argmin(costs))
    if np.isfinite(costs[best]):
        return float(costs[best]), sides[:, best]
    return np.inf, np.zeros(len(affinity), np.bool_)


def second_eigenvector(affinity: FloatMatrix, degree: FloatMatrix) -> FloatMatrix:
    """Return the second eigenvector of (D - W) x = lambda D x; its largest entry is positive."""
    root = 1 / np.sqrt(degree)
    laplacian = np.eye(len(affinity), dtype=affinity.dtype) - root[:, None] * affinity * root
    _, vectors = eigh(laplacian, driver='evd', check_finite=False)
    vector = root * vectors[:, 1]
    return vector * np.sign(vector[np.argmax(np.abs(vector))])


def ncut(affinity: FloatMatrix, degree: FloatMatrix,
         sides: npt.NDArray[np.bool_]) -> FloatMatrix:
    """Return what each column of (n, t) `sides` costs to separate; infinite if it is empty."""
    inside = sides.astype(affinity.dtype)
    cut = ((affinity @ inside) * (1 - inside)).sum(axis=0)
    volume, rest = degree @ inside, degree @ (1 - inside)
    with np.errstate(divide='ignore', invalid='ignore'):
        costs = cut / volume + cut / rest
    return np.where(sides.all(axis=0) | ~sides.any(axis=0), np.inf, costs)
