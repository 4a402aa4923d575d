"""
Recursive normalised cut of a dense affinity graph.

Source: Shi and Malik, "Normalized Cuts and Image Segmentation", PAMI 2000, with the split rule
of DiffCut (Couairon et al., NeurIPS 2024): 100 thresholds of the second eigenvector, the one of
lowest cost wins, and a part is split while that cost is below tau. Parts are split cheapest
first, which gives the recursion's partition and makes `max_segments` keep the clearest splits.

The arithmetic differs from the published recursion, which solves a dense eigenproblem at every
node: only the second eigenvector is computed, from a start that the part above it gives; parts
whose second eigenvalue, a lower bound of every cut's cost, exceeds tau are left alone; and tokens
are kept in the order of the eigenvector, so that cumulative sums give the costs of all thresholds
and every part is a diagonal block of one matrix.
"""

from __future__ import annotations

from functools import lru_cache
import heapq
from typing import NamedTuple

from diffseg_ros.segmentation.affinity_check import check_affinity, renumber
from diffseg_ros.segmentation.spectrum import (
    certainly_above,
    DENSE_UP_TO,
    second_eigenvector,
    Spectrum,
)
import numpy as np
import numpy.typing as npt

_FRACTIONS = np.linspace(0, 1, 100, dtype=np.float32)

FloatArray = npt.NDArray[np.float32]


class CutState:
    """
    What the cut of one frame passes on to the next.

    Its eigenvectors are where the search for the next frame's begins. They only save a little
    time: the partition is that of the affinity alone, to the eigenvectors' tolerance.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.found: Spectrum | None = None


class _Part(NamedTuple):
    """
    A split of the tokens from `begin` on.

    Attributes
    ----------
    sides
        The affinities within the two sides, in the tokens' order.
    found
        Eigenvectors near those of the two sides, or None.

    """

    cost: float
    serial: int
    begin: int
    sides: tuple[FloatArray, FloatArray]
    found: Spectrum | None


def normalized_cut(affinity: FloatArray, tau: float, max_segments: int | None = None, *,
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
        That of the frame before, which is brought up to date; one of another size is ignored.

    Returns
    -------
    numpy.ndarray
        (n,) int32 labels from 0, numbered by first occurrence.

    Raises
    ------
    DiffsegError
        The affinity is not square or holds NaN, infinity or negative values.

    """
    check_affinity(affinity)
    cut = _Cut(len(affinity), tau)
    start = None if state is None else state.found
    if start is not None and start.vectors.shape[1] != len(affinity):
        start = None
    cut.consider(0, affinity.astype(np.float32, order='C', copy=False), start)
    if state is not None and cut.queue and cut.queue[0].found is not None:
        state.found = cut.queue[0].found.of(np.argsort(cut.order))
    bounds = cut.run(len(affinity) if max_segments is None else max_segments)
    labels = np.empty(len(affinity), np.int32)
    for number, (begin, end) in enumerate(bounds):
        labels[cut.order[begin:end]] = number
    return renumber(labels)


class _Cut:
    """
    The recursion; every part is a range of `order`.

    The parts' affinities lie in one piece of memory, the sides of a part where the part was.
    """

    def __init__(self, count: int, tau: float) -> None:
        self.order = np.arange(count)
        self.queue: list[_Part] = []
        self._tau = tau
        self._serial = 0
        self._memory = np.empty(count * count, np.float32)
        self._scratch = np.empty((2, count * count), np.float32)

    def run(self, limit: int) -> list[tuple[int, int]]:
        """Split until nothing cheap is left, or `limit` parts are there; return their ranges."""
        bounds = {0: len(self.order)}
        while self.queue and len(bounds) < limit:
            part = heapq.heappop(self.queue)
            size, behind = (len(side) for side in part.sides)
            begin, middle = part.begin, part.begin + size
            bounds[begin], bounds[middle] = middle, middle + behind
            if len(bounds) < limit:
                near = part.found
                self.consider(begin, part.sides[0],
                              None if near is None else near.of(slice(None, size)))
                self.consider(middle, part.sides[1],
                              None if near is None else near.of(slice(size, None)))
        return list(bounds.items())

    def consider(self, begin: int, affinity: FloatArray, near: Spectrum | None) -> None:
        """
        Queue the best split of the tokens from `begin` on, if it costs less than tau.

        `near` is what the part above had for these tokens.
        """
        size = len(affinity)
        if size < 2:
            return
        degree = affinity.sum(axis=1)
        if degree.min() <= 0:
            self._set_apart(begin, affinity, degree <= 0)
            return
        dense = size <= DENSE_UP_TO
        if dense and certainly_above(affinity, degree, self._tau):
            return
        found = second_eigenvector(affinity, degree, near, self._tau)
        if found.value >= self._tau:
            return
        vector = found.vectors[0]
        rank = np.argsort(vector, kind='stable')
        ranked = self._ranked(affinity, rank)
        cost, middle = _best_threshold(ranked, degree[rank], vector[rank])
        if cost < self._tau:
            self._push(cost, begin, middle, ranked, rank, None if dense else found)

    def _set_apart(self, begin: int, affinity: FloatArray,
                   isolated: npt.NDArray[np.bool_]) -> None:
        """Queue a split of tokens without any affinity from the others."""
        alone = int(isolated.sum())
        if alone < len(affinity):
            rank = np.argsort(isolated, kind='stable')
            self._push(0.0, begin, len(rank) - alone, self._ranked(affinity, rank), rank, None)

    def _ranked(self, affinity: FloatArray, rank: npt.NDArray[np.intp]) -> FloatArray:
        size = len(rank)
        rows, both = self._scratch[:, :size * size].reshape(2, size, size)
        affinity.take(rank, axis=0, out=rows, mode='clip')
        return rows.take(rank, axis=1, out=both, mode='clip')

    def _push(self, cost: float, begin: int, middle: int, ranked: FloatArray,
              rank: npt.NDArray[np.intp], found: Spectrum | None) -> None:
        order = self.order[begin:begin + len(rank)]
        order[:] = order[rank]
        sides = ranked[:middle, :middle], ranked[middle:, middle:]
        kept, start = [], begin * len(self.order)
        for side in sides:
            place = self._memory[start:start + side.size].reshape(side.shape)
            place[...] = side
            kept.append(place)
            start += side.size
        near = None if found is None else found.of(rank)
        heapq.heappush(self.queue,
                       _Part(cost, self._serial, begin, (kept[0], kept[1]), near))
        self._serial += 1


def _best_threshold(affinity: FloatArray, degree: FloatArray,
                    vector: FloatArray) -> tuple[float, int]:
    """Return the cost of the cheapest threshold and the number of tokens below it."""
    size = len(vector)
    # DiffCut's 0.99 keeps the extreme tokens from standing alone.
    levels = 0.99 * vector[0] + _FRACTIONS * (0.99 * (vector[-1] - vector[0]))
    below = np.searchsorted(vector, levels, side='right')
    below = below[(below > 0) & (below < size)]
    if not len(below):
        return np.inf, 0
    inside = np.vecdot(affinity, _below_diagonal(size)).astype(np.float64)
    inside *= 2
    inside += affinity.diagonal()
    volume = degree.cumsum(dtype=np.float64)
    cut = np.maximum(volume - inside.cumsum(), 0)[below - 1]
    chosen = volume[below - 1]
    cost = cut / chosen + cut / (volume[-1] - chosen)
    best = int(np.argmin(cost))
    return float(cost[best]), int(below[best])


def _below_diagonal(size: int) -> FloatArray:
    """Return a (size, size) matrix of 1 below the diagonal and 0 elsewhere."""
    rounded = -(-size // 256) * 256
    return _triangle(rounded)[:size, :size]


@lru_cache(maxsize=16)
def _triangle(size: int) -> FloatArray:
    return np.tri(size, k=-1, dtype=np.float32)
