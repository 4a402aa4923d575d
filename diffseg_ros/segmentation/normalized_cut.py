"""
Recursive normalised cut of a dense affinity graph.

Source: Shi and Malik, "Normalized Cuts and Image Segmentation", PAMI 2000, with the split rule
of DiffCut (Couairon et al., NeurIPS 2024): 100 thresholds of the second eigenvector, the one of
lowest cost wins, and a part is split while that cost is below tau. Parts are split cheapest
first, which gives the recursion's partition and makes `max_segments` keep the clearest splits.

The arithmetic differs from the published recursion, which solves a dense eigenproblem at every
node: only the second eigenvector is computed, from a start that the part above it gives; parts
whose second eigenvalue, a lower bound of every cut's cost, exceeds tau are left alone; and the
affinities between the groups of tokens that lie between two thresholds, summed once, give the
costs of all thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
import heapq
from typing import NamedTuple

from diffseg_ros.geometry.label_images import renumber
from diffseg_ros.segmentation.graph_utils import check_affinity, membership
from diffseg_ros.segmentation.spectrum import (
    certainly_above,
    DENSE_UP_TO,
    second_eigenvector,
)
import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

_THRESHOLDS = 100
_FRACTIONS = np.linspace(0, 1, _THRESHOLDS, dtype=np.float32)
# Of two groups each affinity counts twice in their union, that within a group once.
_PAIRS = (2 * np.tri(_THRESHOLDS + 1, k=-1) + np.eye(_THRESHOLDS + 1)).astype(np.float32)

FloatArray = npt.NDArray[np.float32]
Side = npt.NDArray[np.bool_]
Tokens = npt.NDArray[np.intp]


class CutState:
    """
    What the cut of one frame passes on to the next.

    The search for the whole graph's eigenvectors begins with them; those of the parts begin with
    the eigenvectors of the part above and gain nothing from the frame before. The partition is
    that of the affinity alone, to the eigenvectors' tolerance.
    """

    def __init__(self) -> None:
        self.vectors: FloatArray | None = None


class _Part(NamedTuple):
    """
    A part that is worth splitting, and how.

    Attributes
    ----------
    begin
        Where its tokens begin in the order of all.
    affinity
        The affinities of its tokens.
    above
        Whether each lies on the second side.
    vectors
        (k, n) eigenvectors, or None.

    """

    cost: float
    serial: int
    begin: int
    affinity: FloatArray
    above: Side
    vectors: FloatArray | None


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
        That of the frame before, which is brought up to date; one of another size is ignored.

    Returns
    -------
    numpy.ndarray
        (n,) int32 labels from 0, numbered by first occurrence.

    Raises
    ------
    DiffsegError
        The affinity is not square or holds NaN, infinity or negative values.

    Notes
    -----
    The partition is not unique where a part's second eigenvalue is a multiple one, as on a
    square grid whose affinity is that of the positions alone: any vector of its space is a
    second eigenvector, each has a cheapest threshold of its own, and which of them a solver
    returns, this one or the published recursion's, is its accident.

    """
    check_affinity(affinity)
    near = None if state is None else state.vectors
    if near is not None and near.shape[1] != len(affinity):
        near = None
    cut = _Cut(len(affinity), tau)
    cut.consider(0, affinity.astype(np.float32, order='C', copy=False), near)
    if state is not None and cut.queue and cut.queue[0].vectors is not None:
        state.vectors = cut.queue[0].vectors
    return renumber(cut.run(len(affinity) if max_segments is None else max_segments))


class _Cut:
    """
    The recursion; every part is a range of `order`.

    The parts' affinities lie in one piece of memory, the sides of a part where the part was.
    """

    def __init__(self, count: int, tau: float) -> None:
        self.queue: list[_Part] = []
        self._order = np.arange(count)
        self._ones = np.ones(count, np.float32)
        self._tau = tau
        self._serial = 0
        self._memory, self._scratch = np.empty((2, count * count), np.float32)

    def run(self, limit: int) -> npt.NDArray[np.int32]:
        """Split until nothing cheap is left, or `limit` parts are there; return all labels."""
        labels = np.zeros(len(self._order), np.int32)
        parts = 1
        while self.queue and parts < limit:
            part = heapq.heappop(self.queue)
            rank = part.above.argsort(kind='stable')
            middle = len(rank) - int(np.count_nonzero(part.above))
            tokens = self._order[part.begin:part.begin + len(rank)]
            tokens[:] = tokens[rank]
            labels[tokens[middle:]] = parts
            parts += 1
            if parts < limit:
                begin, sides = part.begin, (rank[:middle], rank[middle:])
                for side, affinity in zip(sides, self._apart(part, rank, sides), strict=True):
                    near = None if part.vectors is None else part.vectors[:, side]
                    self.consider(begin, affinity, near)
                    begin += len(side)
        return labels

    def _apart(self, part: _Part, rank: Tokens, sides: Sequence[Tokens]) -> list[FloatArray]:
        """Return the affinities within both sides, which take the place of the part's."""
        size = len(rank)
        rows = self._scratch[:size * size].reshape(size, size)
        part.affinity.take(rank, 0, out=rows, mode='clip')
        first = 0
        within: list[FloatArray] = []
        for side in sides:
            count, start = len(side), (part.begin + first) * len(self._order)
            place = self._memory[start:start + count * count].reshape(count, count)
            within.append(rows[first:first + count].take(side, 1, out=place, mode='clip'))
            first += count
        return within

    def consider(self, begin: int, affinity: FloatArray, near: FloatArray | None) -> None:
        """
        Queue the best split of the tokens from `begin` on, if it costs less than tau.

        `near` are vectors in whose space theirs nearly lies.
        """
        size = len(affinity)
        if size < 2:
            return
        degree = affinity @ self._ones[:size]
        if degree.min() <= 0:
            isolated = degree <= 0
            if not isolated.all():
                self._push(0.0, begin, affinity, isolated, None)
            return
        dense = size <= DENSE_UP_TO
        if dense and certainly_above(affinity, degree, self._tau):
            return
        value, vectors, _ = second_eigenvector(affinity, degree, near, self._tau)
        if value >= self._tau:
            return
        cost, above = _best_threshold(affinity, degree, vectors[0])
        if cost < self._tau:
            self._push(cost, begin, affinity, above, None if dense else vectors)

    def _push(self, cost: float, begin: int, affinity: FloatArray, above: Side,
              vectors: FloatArray | None) -> None:
        heapq.heappush(self.queue, _Part(cost, self._serial, begin, affinity, above, vectors))
        self._serial += 1


def _best_threshold(affinity: FloatArray, degree: FloatArray,
                    vector: FloatArray) -> tuple[float, Side]:
    """Return the cost of the cheapest threshold and which tokens lie above it."""
    low, high = vector.min(), vector.max()
    # DiffCut's 0.99 keeps the extreme tokens from standing alone.
    levels = _FRACTIONS * (0.99 * (high - low))
    levels += 0.99 * low
    group = levels.searchsorted(vector)
    number = (np.bincount(group, minlength=_THRESHOLDS + 1) > 0).cumsum()
    count = int(number[-1])
    if count < 2:
        return np.inf, np.zeros(len(vector), np.bool_)
    number -= 1
    group = number[group]
    members = _members(group, count)
    between = members @ (members @ affinity).T
    inside = np.vecdot(between, _PAIRS[:count, :count]).cumsum(dtype=np.float64)
    volume = np.bincount(group, degree).cumsum()
    chosen, rest = volume[:-1], volume[-1] - volume[:-1]
    cost = np.maximum(chosen - inside[:-1], 0) * volume[-1]
    cost /= chosen * rest
    best = int(cost.argmin())
    return float(cost[best]), group > best


def _members(group: Tokens, count: int) -> FloatArray | csc_array:
    """Return the (count, n) matrix with a 1 where a token is in a group."""
    if len(group) <= DENSE_UP_TO:
        return np.equal(group, np.arange(count)[:, None]).astype(np.float32)
    return membership(group, count)
