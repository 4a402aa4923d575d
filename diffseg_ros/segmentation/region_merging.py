"""Merging of regions: by contrast that adapts to the regions' own, and by likeness."""

from __future__ import annotations

from collections.abc import Callable

from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.segmentation.superpixels import compact, roots
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Costs = Callable[[RegionGraph], FloatArray]


def adaptive_merge(size: FloatArray, edges: Indices, weight: FloatArray, scale: float,
                   min_size: float) -> Labels:
    """
    Merge regions whose difference is not above what each of them varies inside.

    Two regions merge where the weight between them is at most each one's inner variation (the
    largest weight that was merged in it) plus `scale` over its size.
    Source: Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004,
    on the minimum spanning tree of the regions instead of all edges.

    Parameters
    ----------
    size
        (n,) pixels of each region.
    edges, weight
        (e, 2) regions that touch and (e,) how different they are.
    scale
        Larger gives larger regions.
    min_size
        What stays smaller joins the neighbour across its weakest border.

    Returns
    -------
    numpy.ndarray
        (n,) int32 group of each region, from 0 without gaps.

    """
    group, total = _merge_by_contrast(size, edges, weight, scale)
    ends = group.take(edges.T)
    between = np.flatnonzero(ends[0] != ends[1])
    order = between[np.argsort(weight.take(between), kind='stable')]
    return absorb_small(group, total, ends[:, order].T, min_size)


def nearest_merge(graph: RegionGraph, costs: Costs, threshold: float,
                  max_regions: int) -> Labels:
    """
    Merge pairs of regions that are each other's nearest, until all costs reach a threshold.

    With a cost that merging does not lower this is greedy agglomeration, the cheapest pair
    first, but many pairs at a time.

    Parameters
    ----------
    graph
        n regions.
    costs
        Gives the (e,) cost of merging the two regions of each edge.
    threshold
        Pairs of this cost or more stay apart.
    max_regions
        Where more are left, merging goes on beyond the threshold.

    Returns
    -------
    numpy.ndarray
        (n,) int32 group of each region, from 0 without gaps.

    """
    group: Labels = np.arange(len(graph.size), dtype=np.int32)
    while len(graph.edges):
        cost = costs(graph)
        order = np.argsort(cost, kind='stable')
        surplus = len(graph.size) - max_regions
        chosen = order[_mutual(graph.edges[order], len(graph.size))]
        cheap = cost[chosen] < threshold
        if surplus > 0:
            cheap[:surplus] = True
        if not cheap.any():
            break
        step = _paired(len(graph.size), graph.edges[chosen[cheap]])
        group, graph = step[group], graph.contracted(step)
    return group


def _merge_by_contrast(size: FloatArray, edges: Indices, weight: FloatArray,
                       scale: float) -> tuple[Labels, FloatArray]:
    """Return (n,) groups and their sizes."""
    ends, weight = _spanning_tree(edges, weight, len(size))
    parent = list(range(len(size)))
    grown = size.tolist()
    bound = (scale / size).tolist()
    for first, second, step in zip(*ends.tolist(), weight.tolist(), strict=True):
        while parent[first] != first:
            parent[first] = first = parent[parent[first]]
        while parent[second] != second:
            parent[second] = second = parent[parent[second]]
        if step <= bound[first] and step <= bound[second]:
            parent[second] = first
            grown[first] += grown[second]
            bound[first] = step + scale / grown[first]
    group = compact(roots(np.array(parent, np.int32)))
    return group, _total(size, group)


def _total(size: FloatArray, group: Labels) -> FloatArray:
    return np.bincount(group, size).astype(np.float64)


def _spanning_tree(edges: Indices, weight: FloatArray, count: int) -> tuple[Labels, FloatArray]:
    """Return the (2, t) ends and (t,) weights of the minimum spanning forest in their order."""
    # The sparse graph takes a weight of 0 for no edge.
    links = coo_matrix((weight + 1e-9, tuple(edges.T)), shape=(count, count))
    tree = minimum_spanning_tree(links).tocoo()
    order = np.argsort(tree.data, kind='stable')
    return np.stack([tree.row, tree.col])[:, order], tree.data[order] - 1e-9


def absorb_small(group: Labels, size: FloatArray, pairs: Labels, min_size: float) -> Labels:
    """
    Join groups below a size, each across the first of its pairs, until none is left that can.

    Parameters
    ----------
    group
        (n,) int32, from 0 without gaps.
    size
        (K,) of the groups.
    pairs
        (p, 2) groups that touch, in the order of preference.
    min_size
        What has at least this size joins nothing by itself.

    Returns
    -------
    numpy.ndarray
        (n,) int32 groups, from 0 without gaps.

    """
    while (size < min_size).any():
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        chosen = _of_small(pairs, size, min_size)
        if not len(chosen):
            break
        step = joined(len(size), pairs[chosen])
        group, size, pairs = step[group], _total(size, step), step.take(pairs)
    return group


def _of_small(pairs: Labels, size: FloatArray, min_size: float) -> Indices:
    """Return the weakest pair of each group below a size."""
    first = _first_pair(pairs, len(size))
    return np.unique(first[(size < min_size) & (first < len(pairs))])


def _first_pair(pairs: npt.NDArray[np.integer], count: int) -> Indices:
    """Return (count,) the first pair that each region is in, len(pairs) where none is."""
    first = np.full(count, len(pairs), np.intp)
    places = np.arange(len(pairs))[::-1]
    np.minimum.at(first, pairs[::-1, 0], places)
    np.minimum.at(first, pairs[::-1, 1], places)
    return first


def _mutual(pairs: Indices, count: int) -> Indices:
    """Return the pairs that are both their regions' first; pairs come in order of cost."""
    first = _first_pair(pairs, count)
    both = first[pairs[:, 0]] == first[pairs[:, 1]]
    return np.flatnonzero(both & (first[pairs[:, 0]] == np.arange(len(pairs))))


def _paired(count: int, pairs: Indices) -> Labels:
    """Return (count,) groups, from 0 without gaps, of pairs, the lower first, that share none."""
    target = np.arange(count)
    target[pairs[:, 1]] = pairs[:, 0]
    return compact(target)


def joined(count: int, pairs: npt.NDArray[np.integer]) -> Labels:
    """Return (count,) groups, from 0 without gaps, that the pairs connect."""
    links = coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int32)
