"""
Recursive normalised cut of a dense affinity graph.

Source: Shi and Malik, "Normalized Cuts and Image Segmentation", PAMI 2000, with the split rule of
DiffCut (Couairon et al., NeurIPS 2024): the cheapest of 100 thresholds of the second eigenvector,
while it costs less than tau. Parts are split cheapest first, which gives the recursion's partition
and makes `max_segments` keep the clearest splits.

The published recursion solves a dense eigenproblem at every node. Here only the second eigenvector
is computed, from the start that the part above gives; parts whose second eigenvalue, a lower bound
of every cut's cost, exceeds tau are left alone; and the affinities between the groups of tokens
between two thresholds, summed once, give the costs of all thresholds.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import NamedTuple

from diffseg_ros.geometry.label_images import renumber
from diffseg_ros.segmentation.graph_utils import check_affinity, membership
from diffseg_ros.segmentation.spectrum import (
    certainly_above,
    DENSE_UP_TO,
    second_eigenvector,
)
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

_THRESHOLDS = 100
_FRACTIONS = np.linspace(0, 1, _THRESHOLDS, dtype=np.float32)
# Of two groups each affinity counts twice in their union, that within a group once.
_PAIRS = (2 * np.tri(_THRESHOLDS + 1, k=-1) + np.eye(_THRESHOLDS + 1)).astype(np.float32)

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


class CutState:
    """
    The eigenvector of one frame's whole graph: the search for the next one's begins there.

    The partition is that of the affinity alone, to the eigenvectors' tolerance.
    """

    def __init__(self) -> None:
        self.vector: FloatArray | None = None


class _Part(NamedTuple):
    """A part worth splitting: its tokens, their affinities, which lie above, eigenvector."""

    cost: float
    serial: int
    tokens: Indices
    affinity: FloatArray
    above: Mask
    vector: FloatArray | None


def normalized_cut(affinity: FloatArray, tau: float, max_segments: int | None = None,
                   state: CutState | None = None) -> npt.NDArray[np.int32]:
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
    state
        That of the last frame, which is updated; one of another size is ignored.

    Returns
    -------
    numpy.ndarray
        (n,) int32 labels from 0, numbered by first occurrence. They are not unique where a
        part's second eigenvalue is a multiple one, as on a square grid with the affinity of the
        positions alone: any vector of its space may be cut.

    Raises
    ------
    DiffsegError
        The affinity is not square or holds NaN, infinity or negative values.

    """
    check_affinity(affinity)
    affinity = affinity.astype(np.float32, order='C', copy=False)
    near = None if state is None else state.vector
    if near is not None and len(near) != len(affinity):
        near = None
    serial = count()
    queue: list[_Part] = []

    def consider(tokens: Indices, affinity: FloatArray, near: FloatArray | None) -> None:
        found = _best_cut(affinity, tau, near)
        if found is not None:
            cost, above, vector = found
            heapq.heappush(queue, _Part(cost, next(serial), tokens, affinity, above, vector))

    consider(np.arange(len(affinity)), affinity, near)
    if state is not None and queue and queue[0].vector is not None:
        state.vector = queue[0].vector
    limit = len(affinity) if max_segments is None else max_segments
    labels = np.zeros(len(affinity), np.int32)
    parts = 1
    while queue and parts < limit:
        part = heapq.heappop(queue)
        labels[part.tokens[part.above]] = parts
        parts += 1
        if parts < limit:
            for side in (np.flatnonzero(~part.above), np.flatnonzero(part.above)):
                consider(part.tokens[side], part.affinity.take(side, 0).take(side, 1),
                         None if part.vector is None else part.vector[side])
    return renumber(labels)


def _best_cut(affinity: FloatArray, tau: float, near: FloatArray | None,
              ) -> tuple[float, Mask, FloatArray | None] | None:
    """Return the best split, if it costs less than tau, and the eigenvector, if it helps below."""
    size = len(affinity)
    if size < 2:
        return None
    degree = affinity @ np.ones(size, np.float32)
    if degree.min() <= 0:
        isolated = degree <= 0
        return None if isolated.all() else (0.0, isolated, None)
    dense = size <= DENSE_UP_TO
    if dense and certainly_above(affinity, degree, tau):
        return None
    value, vector = second_eigenvector(affinity, degree, near)
    if value >= tau:
        return None
    cost, above = _best_threshold(affinity, degree, vector)
    return (cost, above, None if dense else vector) if cost < tau else None


def _best_threshold(affinity: FloatArray, degree: FloatArray,
                    vector: FloatArray) -> tuple[float, Mask]:
    """Return the cost of the cheapest threshold and which tokens lie above it."""
    low, high = vector.min(), vector.max()
    # DiffCut's 0.99 keeps the extreme tokens from standing alone.
    levels = _FRACTIONS * (0.99 * (high - low))
    levels += 0.99 * low
    group = levels.searchsorted(vector)
    number = (np.bincount(group, minlength=_THRESHOLDS + 1) > 0).cumsum()
    groups = int(number[-1])
    if groups < 2:
        return np.inf, np.zeros(len(vector), np.bool_)
    number -= 1
    group = number[group]
    members = _members(group, groups)
    between = members @ (members @ affinity).T
    inside = np.vecdot(between, _PAIRS[:groups, :groups]).cumsum(dtype=np.float64)
    volume = np.bincount(group, degree).cumsum()
    chosen, rest = volume[:-1], volume[-1] - volume[:-1]
    cost = np.maximum(chosen - inside[:-1], 0) * volume[-1]
    cost /= chosen * rest
    best = int(cost.argmin())
    return float(cost[best]), group > best


def _members(group: Indices, count: int) -> FloatArray | csc_array:
    """Return the (count, n) matrix with a 1 where a token is in a group."""
    if len(group) <= DENSE_UP_TO:
        return np.equal(group, np.arange(count)[:, None]).astype(np.float32)
    return membership(group, count)
