"""Recursive normalised cut of some dozens of regions: one tree for all granularities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int32]

_SHARE_POWER = 0.3


@dataclass(frozen=True)
class CutTree:
    """
    A binary tree of n regions, as the order of its leaves.

    `order` is the (n,) int32 regions, `level` the (n - 1,) cost above which neighbours in that
    order come apart. Groups at a smaller cost are unions of those at a larger one.
    """

    order: Groups
    level: FloatArray

    def groups(self, threshold: float) -> Groups:
        """Return the group, from 0, of each place in the order."""
        return np.concatenate([[0], np.cumsum(self.level < threshold)]).astype(np.int32)

    def bounded(self, most: int) -> CutTree:
        """Return the tree with infinite levels where more than `most` groups would come."""
        if len(self.level) < most:
            return self
        largest = np.sort(self.level)[most - 1]
        return CutTree(self.order, np.where(self.level < largest, self.level, np.inf))


def cut_tree(affinity: FloatArray, size: FloatArray) -> CutTree:
    """
    Return the tree that cutting a graph in two, again and again, gives.

    `affinity` is (n, n), symmetric and not negative with a positive diagonal, `size` the (n,)
    sizes of the regions. Each part is cut where its normalised cut is least. That cost, over the
    part's share of the whole to the power 0.3, is the level of the split, or that of the split
    above if it is higher: small parts must be clearer to be cut. Source: Shi and Malik,
    "Normalized Cuts and Image Segmentation", TPAMI 2000, with all thresholds of the second
    eigenvector tried; the power is ours.
    """
    order = np.arange(len(size), dtype=np.int32)
    level = np.zeros(max(len(size) - 1, 0))
    whole = size.sum()
    parts = [(0, len(size), 0.0)]
    while parts:
        start, end, above = parts.pop()
        if end - start < 2:
            continue
        part = order[start:end]
        cost, ranked, count = _best_cut(affinity[part[:, None], part])
        order[start:end] = part = part[ranked]
        middle = start + count
        level[middle - 1] = above = max(above, cost * (size[part].sum() / whole)**-_SHARE_POWER)
        parts += [(start, middle, above), (middle, end, above)]
    return CutTree(order, level)


def _best_cut(affinity: FloatArray) -> tuple[float, npt.NDArray[np.intp], int]:
    """Return the cost of the best cut, the order along the eigenvector, and where it is cut."""
    degree = affinity.sum(axis=1)
    ranked = np.arange(len(degree))
    if len(degree) > 2:
        scale = 1 / np.sqrt(degree)
        second = np.linalg.eigh(scale[:, None] * affinity * scale)[1][:, -2]
        ranked = (second * scale).argsort(kind='stable')
        affinity = affinity[ranked[:, None], ranked]
    inside = affinity.cumsum(axis=0).cumsum(axis=1).diagonal()[:-1]
    volume = degree[ranked].cumsum()
    cut = volume[:-1] - inside
    cost = cut / volume[:-1] + cut / (volume[-1] - volume[:-1])
    best = int(cost.argmin())
    return max(float(cost[best]), 0.0), ranked, best + 1
