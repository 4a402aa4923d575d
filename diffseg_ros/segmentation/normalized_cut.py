"""
Recursive normalised cut of a dense affinity graph.

Source: Shi and Malik, "Normalized Cuts and Image Segmentation", PAMI 2000, with the split rule
of DiffCut (Couairon et al., NeurIPS 2024): 100 thresholds of the second eigenvector, the one of
lowest cost wins, and a part is split while that cost is below tau. Parts are split cheapest
first, which gives the recursion's partition and makes `max_segments` keep the clearest splits.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

_DENSE_BELOW = 96
_THRESHOLDS = 100

FloatMatrix = npt.NDArray[np.float32]


class _Split(NamedTuple):
    cost: float
    order: int
    members: npt.NDArray[np.intp]
    side: npt.NDArray[np.bool_]


def normalized_cut(affinity: FloatMatrix, tau: float,
                   max_segments: int | None = None) -> npt.NDArray[np.int32]:
    """
    Partition a graph by recursive normalised cut.

    Parameters
    ----------
    affinity
        (n, n) float32, symmetric, not negative.
    tau
        A part is split while its best two-way cut costs less; costs lie in [0, 2].
    max_segments
        No further splits beyond this number of segments.

    Returns
    -------
    numpy.ndarray
        (n,) int32 labels from 0, numbered by first occurrence.

    Raises
    ------
    DiffsegError
        The affinity is not square or holds NaN, infinity or negative values.

    """
    _check(affinity)
    count = len(affinity)
    labels = np.zeros(count, np.int32)
    limit = count if max_segments is None else max_segments
    queue: list[_Split] = []
    serial = 0

    def consider(members: npt.NDArray[np.intp]) -> None:
        nonlocal serial
        split = _best_split(affinity[np.ix_(members, members)])
        if split is not None and split[0] < tau:
            heapq.heappush(queue, _Split(split[0], serial, members, split[1]))
            serial += 1

    consider(np.arange(count))
    segments = 1
    while queue and segments < limit:
        best = heapq.heappop(queue)
        labels[best.members[best.side]] = segments
        segments += 1
        consider(best.members[best.side])
        consider(best.members[~best.side])
    return _renumber(labels)


def _check(affinity: FloatMatrix) -> None:
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or not len(affinity):
        raise DiffsegError(f'affinity: got shape {affinity.shape}; a square matrix is needed')
    lowest, highest = affinity.min(), affinity.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise DiffsegError('affinity: holds NaN, infinity or negative values; check the features')


def _best_split(affinity: FloatMatrix) -> tuple[float, npt.NDArray[np.bool_]] | None:
    """Return (cost, side) of the second eigenvector's best threshold, None without one."""
    if len(affinity) < 2:
        return None
    degree = affinity.sum(axis=1)
    if degree.min() <= 0:
        isolated = degree <= 0
        return None if isolated.all() else (0.0, isolated)
    vector = _second_eigenvector(affinity, degree)
    # DiffCut's 0.99 keeps the extreme tokens from standing alone.
    levels = np.linspace(0.99 * vector.min(), 0.99 * vector.max(), _THRESHOLDS, dtype=np.float32)
    sides = (vector[:, None] > levels).astype(np.float32)
    inside = np.einsum('nt,nt->t', sides, affinity @ sides)
    volume = degree @ sides
    total = degree.sum()
    cut = np.maximum(volume - inside, 0)
    with np.errstate(divide='ignore', invalid='ignore'):
        cost = cut / volume + cut / (total - volume)
    counts = sides.sum(axis=0)
    cost[(counts == 0) | (counts == len(vector)) | ~np.isfinite(cost)] = np.inf
    best = int(np.argmin(cost))
    return None if np.isinf(cost[best]) else (float(cost[best]), sides[:, best] > 0)


def _second_eigenvector(affinity: FloatMatrix,
                        degree: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the second eigenvector of (D - W) x = lambda D x, its largest entry positive."""
    scale = 1 / np.sqrt(degree)
    normalised = affinity * scale[:, None] * scale
    size = len(affinity)
    if size < _DENSE_BELOW:
        _, vectors = eigh(normalised.astype(np.float64), subset_by_index=(size - 2, size - 1))
        vector = vectors[:, 0]
    else:
        vector = _second_by_lanczos(normalised, 1 / scale)
    vector = vector * scale
    return (vector * np.sign(vector[np.argmax(np.abs(vector))])).astype(np.float32)


def _second_by_lanczos(normalised: npt.NDArray[np.floating],
                       first: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    # The first eigenvector is known: moved to the bottom of the spectrum, the second leads.
    first = first / np.linalg.norm(first)
    deflated = normalised - 2 * np.outer(first, first)
    start = np.random.default_rng(0).standard_normal(len(first)).astype(np.float32)
    try:
        _, vectors = eigsh(deflated, k=1, which='LA', v0=start, tol=1e-4, maxiter=300)
    except ArpackNoConvergence:
        _, vectors = eigh(deflated, subset_by_index=(len(first) - 1, len(first) - 1))
    return vectors[:, 0]


def _renumber(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int32)
