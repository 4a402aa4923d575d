"""Parts of one thing that something in front of it keeps apart."""

from __future__ import annotations

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
    if count < 2:
        return labels
    at = labels >= 0
    centres, normals, known = planes(point_moments(points[at][:, None], labels[at], count))
    size = np.maximum(np.bincount(labels.ravel() + 1, minlength=count + 1), 1.0)
    middles = np.stack(label_middles(labels + 1, size), axis=1)[1:]
    pairs = np.flatnonzero(known)[np.stack(np.triu_indices(np.count_nonzero(known), 1))]
    (from_centre, to_centre), (from_normal, to_normal) = (
        values[:, pairs].swapaxes(0, 1) for values in (centres, normals))
    step = to_centre - from_centre
    step /= np.maximum(np.linalg.norm(step, axis=0), 1e-12)
    front = np.maximum((from_normal * step).sum(axis=0), -(to_normal * step).sum(axis=0))
    alike = (from_normal * to_normal).sum(axis=0) > _ALIKE
    linked = [pair for pair in pairs.T[alike & (front < _IN_FRONT)].tolist()
              if _is_hidden(points[..., 2], labels, pair, middles, 1 / centres[2])]
    joined = connected_groups(count, np.array(linked, np.intp).reshape(-1, 2))
    return np.append(joined, np.int32(-1))[labels]


def _is_hidden(depth: npt.NDArray[np.float32], labels: LabelImage, pair: list[int],
               middles: npt.NDArray[np.float64], near: npt.NDArray[np.float64]) -> bool:
    """Tell whether what is seen between two labels' middles is nearer than both together."""
    (from_row, from_column), (to_row, to_column) = middles[pair]
    line = (np.rint(from_row + _STEPS * (to_row - from_row)).astype(np.intp),
            np.rint(from_column + _STEPS * (to_column - from_column)).astype(np.intp))
    between = np.interp(_STEPS, (0, 1), near[pair])
    other = (labels[line] != pair[0]) & (labels[line] != pair[1]) & np.isfinite(depth[line])
    nearer = 1 / depth[line][other] > between[other] + 2 * DISPARITY_NOISE
    return bool(other.any() and nearer.mean() >= _HIDDEN)
