"""Merging of regions: by contrast that adapts to the regions' own, and of small ones."""

from __future__ import annotations

from diffseg_ros.geometry.label_images import compact
from diffseg_ros.segmentation.graph_utils import connected_groups
from diffseg_ros.segmentation.superpixels import follow
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int32]
Pairs = npt.NDArray[np.integer]
Indices = npt.NDArray[np.intp]


def adaptive_merge(size: FloatArray, edges: Indices, weight: FloatArray, scale: float,
                   min_size: float) -> Groups:
    """
    Merge regions while the difference between them is below their internal variation.

    Two of n regions merge where the (e,) `weight` of their (e, 2) edge is at most each one's
    largest merged weight plus `scale` over its (n,) `size` in pixels. What stays below `min_size`
    joins the neighbour across its weakest border. The (n,) groups count from 0. Source:
    Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004, but on
    the regions' minimum spanning tree.
    """
    group = _merge_by_contrast(size, edges, weight, scale)
    pairs = group.take(edges)
    between = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    order = between[np.argsort(weight.take(between), kind='stable')]
    return absorb_small(group, size_of(group, size), pairs[order], min_size)


def _merge_by_contrast(size: FloatArray, edges: Indices, weight: FloatArray,
                       scale: float) -> Groups:
    # The sparse graph takes a weight of 0 for no edge.
    links = coo_matrix((weight + 1e-9, tuple(edges.T)), shape=(len(size),) * 2)
    tree = minimum_spanning_tree(links).tocoo()
    order = np.argsort(tree.data, kind='stable')
    parent = list(range(len(size)))
    grown = size.tolist()
    bound = (scale / size).tolist()
    for first, second, step in zip(tree.row[order].tolist(), tree.col[order].tolist(),
                                   (tree.data[order] - 1e-9).tolist(), strict=True):
        while parent[first] != first:
            parent[first] = first = parent[parent[first]]
        while parent[second] != second:
            parent[second] = second = parent[parent[second]]
        if step <= bound[first] and step <= bound[second]:
            parent[second] = first
            grown[first] += grown[second]
            bound[first] = step + scale / grown[first]
    return compact(follow(np.array(parent)))


def absorb_small(group: Groups, size: FloatArray, pairs: Pairs, min_size: float) -> Groups:
    """
    Join groups below `min_size`, each across the first of its pairs, until none can join.

    `group` is (n,) int32 from 0 without gaps, `size` the (K,) size of the groups, and `pairs` the
    (p, 2) groups that touch, in the order of preference.
    """
    while (size < min_size).any():
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        first = first_pair(pairs, len(size))
        chosen = np.unique(first[(size < min_size) & (first < len(pairs))])
        if not len(chosen):
            break
        step = connected_groups(len(size), pairs[chosen])
        group, size, pairs = step[group], size_of(step, size), step.take(pairs)
    return group


def size_of(group: Groups, size: npt.NDArray[np.number]) -> FloatArray:
    """Return the (K,) sizes of groups of (n,) things."""
    return np.bincount(group, size).astype(np.float64, copy=False)


def first_pair(pairs: Pairs, count: int) -> Indices:
    """Return (count,) the first pair that each region is in, len(pairs) where none is."""
    first = np.full(count, len(pairs), np.intp)
    # Of several values for one place NumPy keeps the last, which is the first from the front.
    first[pairs[::-1].ravel()] = np.arange(len(pairs))[::-1].repeat(2)
    return first
