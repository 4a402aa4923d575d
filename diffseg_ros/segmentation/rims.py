"""Rims: strips along strong edges that blur makes, and no thing."""

from __future__ import annotations

from diffseg_ros.geometry.label_images import compact
from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.segmentation.superpixels import follow
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

Groups = npt.NDArray[np.int32]


def absorb_rims(graph: RegionGraph) -> tuple[Groups, RegionGraph]:
    """
    Return the (n,) segment, numbered from 0, that each of n becomes, and the graph of these.

    A rim differs from the segment beside it by no more than the blur of an edge carries over. It
    joins the segment that it is most like, if that is larger, until there is no rim. Things as
    thin as a cable stay: they have more colour than what lies beside them can give.
    """
    joined: Groups = np.arange(len(graph.size), dtype=np.int32)
    while True:
        whole = compact(follow(_larger_side(graph)))
        if whole.max() + 1 == len(whole):
            return joined, graph
        joined, graph = whole.take(joined), graph.contracted(whole)


def _larger_side(graph: RegionGraph) -> npt.NDArray[np.intp]:
    """
    Return the (n,) segment that each rim is part of, and for others themselves.

    Blur that makes a step as wide as w, the step over its steepest slope, carries step * w / pi
    across each pixel of the edge: the integral of both tails of a Gaussian.
    """
    own = np.arange(len(graph.size))
    length, contrast = np.zeros((2, len(own), len(own)))
    for matrix, values in ((length, graph.length), (contrast, graph.contrast)):
        matrix[tuple(graph.edges.T)] = matrix[tuple(graph.edges.T[::-1])] = values
    colour = graph.colour / graph.size[:, None]
    gap = cdist(colour, colour)
    near = np.where(length > 0, gap, np.inf).argmin(axis=1)
    foreign = graph.size * gap[own, near]
    steepest = (contrast / np.maximum(length, 1)).max(axis=1)
    step = gap[near]
    carried = (length * np.square(step)).max(axis=1) / np.pi
    rim = (foreign * steepest <= carried) & (graph.size[near] > graph.size)
    return np.where(rim, near, own)
