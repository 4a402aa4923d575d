"""How sure it is that a pixel belongs to its segment, for segments of merged regions."""

from __future__ import annotations

import cv2
from diffseg_ros.segmentation.region_graph import RegionGraph
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

# Logistic regression on five sets of photos with true masks, each set of equal weight.
_DEPTH, _LEAST_DEPTH = 0.64, 0.002
_GAP, _LARGEST_GAP = 3.6, 1.0
_SPREAD, _LEAST_SPREAD = -0.8, 0.01
_CONSTANT = 3.0


def assignment_confidence(parts: Labels, graph: RegionGraph, group: Labels,
                          segments: RegionGraph) -> npt.NDArray[np.float32]:
    """
    Return the probability that a pixel's segment is the right one, minus that of all others.

    Three things tell: how far the pixel is from the next border, how much nearer its part's
    colour is to the mean of its segment than to that of the nearest segment beside it, and how
    little the colours of its segment vary. They are taken together as a logistic regression on
    photos with true masks found, where right means: the class or region that most of the
    segment shows is the pixel's.

    Parameters
    ----------
    parts
        (h, w) int32 numbers of the n small regions that were merged.
    graph
        The small regions.
    group
        (n,) int32 segment of each.
    segments
        The k segments.

    Returns
    -------
    numpy.ndarray
        (h, w) float32 from 0, a guess, to 1; 1 everywhere where there is one segment only.

    """
    if len(segments.size) == 1:
        return np.ones(parts.shape, np.float32)
    own, other, spread = _colour_fit(graph, group, segments)
    gap = np.minimum(other, _LARGEST_GAP) - own
    odds = np.exp(_CONSTANT + _GAP * gap) * (spread + _LEAST_SPREAD)[group]**_SPREAD
    depth = _depth(group.take(parts))
    odds_at = cv2.pow(depth + np.float32(_LEAST_DEPTH), _DEPTH)
    odds_at *= odds.astype(np.float32).take(parts)
    return np.maximum(1 - 2 / (1 + odds_at), 0)


def _colour_fit(graph: RegionGraph, group: Labels,
                segments: RegionGraph) -> tuple[FloatArray, FloatArray, FloatArray]:
    """
    Return how the small regions' mean colours fit.

    (n,) distance to the mean of the own segment, (n,) least distance to that of a segment that
    touches it, and (k,) standard deviation within each segment.
    """
    count = len(segments.size)
    colour = graph.colour / graph.size[:, None]
    means = segments.colour / segments.size[:, None]
    squares, lengths = (np.square(rows).sum(axis=1) for rows in (colour, means))
    beside = np.full((count, count), np.inf)
    for first, second in (segments.edges.T, segments.edges.T[::-1]):
        beside[first, second] = lengths[second]
    apart = colour @ (-2 * means.T)
    own = np.maximum(apart[np.arange(len(group)), group] + squares + lengths[group], 0)
    apart += beside.take(group, axis=0)
    other = np.maximum(apart.min(axis=1) + squares, 0)
    spread = np.bincount(group, own * graph.size, count) / segments.size
    return np.sqrt(own), np.sqrt(other), np.sqrt(spread)


def _depth(labels: Labels) -> npt.NDArray[np.float32]:
    """Return the distance of each pixel from the next border, as a share of the width."""
    inside = np.ones(labels.shape, bool)
    inside[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    inside[1:] &= labels[1:] == labels[:-1]
    depth = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 3)
    return depth / np.float32(labels.shape[1])
