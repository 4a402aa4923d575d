"""Rims: strips along strong edges that blur makes, and no thing."""

from __future__ import annotations

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.segmentation.region_graph import RegionGraph
from diffseg_ros.types import LabelImage
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

_HALF_WIDTH = 5.5
"""Pixels on the grid of the regions; what is wider is no rim."""
_BORDER_SHARE = 0.1
_CONTRAST = 0.1
_RESIDUAL = 0.35
_MIXED = -0.2, 0.8
_ROUNDS = 5


def absorb_rims(labels: LabelImage,
                graph: RegionGraph) -> tuple[npt.NDArray[np.int32], RegionGraph]:
    """
    Return the (n,) segment, numbered from 0, that each of n becomes, and the graph of these.

    A rim is narrow, and its mean colour is a mixture of two segments beside it that differ; it
    joins the one it is more like, if that is larger. Things as thin as a cable stay: their colour
    is no mixture of what lies behind them. `labels` are (h, w) numbers of the graph's nodes.
    """
    joined: npt.NDArray[np.int32] = np.arange(len(graph.size), dtype=np.int32)
    for _ in range(_ROUNDS):
        target = _larger_side(joined[labels], graph)
        if (target == np.arange(len(target))).all():
            break
        while (target[target] != target).any():
            target = target[target]
        number = np.searchsorted(np.unique(target), target).astype(np.int32)
        joined, graph = number.take(joined), graph.contracted(number)
    return joined, graph


def _larger_side(labels: LabelImage, graph: RegionGraph) -> npt.NDArray[np.intp]:
    """Return the (n,) segment that each rim is part of, and for others themselves."""
    count = len(graph.size)
    inside = cv2.distanceTransform((~label_borders(labels)).view(np.uint8), cv2.DIST_L2, 3)
    half_width = np.zeros(count)
    np.maximum.at(half_width, labels.ravel(), inside.ravel())
    border = np.zeros((count, count))
    np.add.at(border, tuple(graph.edges.T), graph.length)
    border += border.T
    beside = border >= _BORDER_SHARE * np.maximum(border.sum(axis=1, keepdims=True), 1)
    colour = graph.colour / graph.size[:, None]
    gap = cdist(colour, colour)
    near = np.where(beside, gap, np.inf).argmin(axis=1)
    far = np.where(beside, gap, -np.inf).argmax(axis=1)
    step = colour[far] - colour[near]
    contrast = np.linalg.norm(step, axis=1)
    away = colour - colour[near]
    mixed = (away * step).sum(axis=1) / np.maximum(contrast, 1e-12)**2
    residual = np.linalg.norm(away - mixed[:, None] * step, axis=1)
    rim = ((half_width <= _HALF_WIDTH) & (beside.sum(axis=1) > 1) & (contrast > _CONTRAST)
           & (mixed > _MIXED[0]) & (mixed < _MIXED[1]) & (residual < _RESIDUAL * contrast)
           & (graph.size[near] > graph.size))
    return np.where(rim, near, np.arange(count))
