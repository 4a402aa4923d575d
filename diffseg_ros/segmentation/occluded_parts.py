"""Parts of one thing that something in front of it keeps apart."""

from __future__ import annotations

from itertools import combinations

from diffseg_ros.geometry.label_images import label_middles
from diffseg_ros.segmentation.graph_utils import connected_groups
from diffseg_ros.segmentation.region_planes import planes, point_moments
from diffseg_ros.segmentation.support_surfaces import DISPARITY_NOISE
from diffseg_ros.types import LabelImage
import numpy as np
import numpy.typing as npt

_STEPS = np.linspace(0, 1, 64)
_HIDDEN = 0.9
_IN_FRONT = 0.3
_ALIKE = np.cos(np.radians(45))


def join_occluded(points: npt.NDArray[np.float32], labels: LabelImage) -> LabelImage:
    """
    Return (h, w) labels, from 0, of which those that are parts of one thing are one.

    Two are where what is seen between their middles is nearer than the line from one to the
    other, and where they would be joined if they touched: the normals of their planes are within
    45 degrees, and neither's middle lies clearly in front of the other's plane. `points` are
    (h, w, 3) float32 in metres, NaN where there is none, `labels` int32 from 0, -1 for nothing.
    Source of joining what does not touch: Richtsfeld et al., "Segmentation of Unknown Objects in
    Indoor Environments", IROS 2012.
    """
    count = int(labels.max()) + 1
    centres, normals, known = (values[..., 1:] for values in
                               planes(point_moments(points, labels + 1, count + 1)))
    size = np.maximum(np.bincount(labels.ravel() + 1, minlength=count + 1), 1.0)
    middles = np.stack(label_middles(labels + 1, size), axis=1)[1:]
    linked = []
    for one, other in combinations(np.flatnonzero(known).tolist(), 2):
        step = centres[:, other] - centres[:, one]
        step /= np.linalg.norm(step)
        if (normals[:, one] @ normals[:, other] > _ALIKE
                and max(normals[:, one] @ step, normals[:, other] @ -step) < _IN_FRONT
                and _is_hidden(points[..., 2], labels, (one, other), middles, 1 / centres[2])):
            linked.append((one, other))
    joined = connected_groups(count, np.array(linked, np.intp).reshape(-1, 2))
    return np.append(joined, np.int32(-1))[labels]


def _is_hidden(depth: npt.NDArray[np.float32], labels: LabelImage, pair: tuple[int, int],
               middles: npt.NDArray[np.float64], near: npt.NDArray[np.float64]) -> bool:
    """Tell whether what is seen between two labels' middles is nearer than both together."""
    (from_row, from_column), (to_row, to_column) = middles[list(pair)]
    line = (np.rint(from_row + _STEPS * (to_row - from_row)).astype(np.intp),
            np.rint(from_column + _STEPS * (to_column - from_column)).astype(np.intp))
    between = np.interp(_STEPS, (0, 1), near[list(pair)])
    other = ~np.isin(labels[line], pair) & np.isfinite(depth[line])
    nearer = 1 / depth[line][other] > between[other] + 2 * DISPARITY_NOISE
    return bool(other.any() and nearer.mean() >= _HIDDEN)
