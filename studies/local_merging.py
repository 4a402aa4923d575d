"""The default grouping before the cut over regions: nearest neighbours first, to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffseg_ros.geometry.label_images import compact
from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.segmentation.region_merging import first_pair
from diffseg_ros.segmentation.region_planes import plane_gaps
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int32]


@dataclass(frozen=True)
class MergingCost:
    """
    What it costs to merge two regions that touch, in an image of `pixels`.

    (mean contrast along the border + root of the weighted squared differences of mean colour, mean
    feature and plane) times the root of the share of the image that would change hands.
    """

    pixels: int
    features: float = 0.7
    colour: float = 0.25
    geometry: float = 40.0

    def __call__(self, graph: RegionGraph) -> FloatArray:
        """Return the (e,) cost of each of the graph's edges."""
        first, second = graph.edges.T
        apart = self.colour**2 * graph.squared_gaps(graph.colour)
        apart += self.features**2 * graph.squared_gaps(graph.features)
        if graph.moments is not None:
            apart += self.geometry * plane_gaps(graph.moments, graph.edges)
        share = graph.size[first] * graph.size[second] / (graph.size[first] + graph.size[second])
        return (graph.contrast / graph.length + np.sqrt(apart)) * np.sqrt(share / self.pixels)


def nearest_merge(graph: RegionGraph, costs: Callable[[RegionGraph], FloatArray],
                  threshold: float) -> Groups:
    """
    Merge pairs of regions that are each other's nearest, until all costs reach a threshold.

    With a cost that merging does not lower this is greedy agglomeration, cheapest pair first, but
    many at a time. `costs` gives a graph's (e,) costs of edges. The (n,) groups count from 0.
    """
    group: Groups = np.arange(len(graph.size), dtype=np.int32)
    while len(graph.edges):
        count = len(graph.size)
        cost = costs(graph)
        order = np.argsort(cost, kind='stable')
        pairs = graph.edges[order]
        rank = np.arange(len(pairs))
        mutual = (first_pair(pairs, count)[pairs] == rank[:, None]).all(axis=1)
        merged = pairs[mutual & (cost[order] < threshold)]
        if not len(merged):
            break
        target = np.arange(count)
        target[merged[:, 1]] = merged[:, 0]
        step = compact(target)
        group, graph = step[group], graph.contracted(step)
    return group
