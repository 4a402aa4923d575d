"""The adjacency graph of image regions: what each region looks like, and the borders between."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.frame import Frame
from diffseg_ros.segmentation.geometry import token_points
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

_LEAST_POINTS = 8


@dataclass(frozen=True)
class RegionGraph:
    """
    n regions and the e pairs of them that touch.

    Attributes
    ----------
    size
        (n,) pixels.
    colour, features
        (n, 3) and (n, C) sums over the region's pixels.
    edges
        (e, 2) regions that touch, the lower first.
    length
        (e,) pairs of neighbouring pixels along the border.
    contrast
        (e,) sum of the colour differences of these pairs.
    moments
        (n, 10) sums over the region's valid points of 1, x, y, z, xx, xy, xz, yy, yz, zz in
        metres, or None without depth.
    expected
        (n, K) pixels of each of K tracks that are expected in the region, or None.

    """

    size: FloatArray
    colour: FloatArray
    features: FloatArray
    edges: Indices
    length: FloatArray
    contrast: FloatArray
    moments: FloatArray | None = None
    expected: FloatArray | None = None

    def contracted(self, group: Labels) -> RegionGraph:
        """Return the graph of the (n,) groups of regions, numbered from 0 without gaps."""
        count = int(group.max()) + 1
        edges, inverse, kept = _unique_pairs(group[self.edges], count)
        return RegionGraph(
            _total(group, count, self.size), _sums(self.colour, group, count),
            _sums(self.features, group, count), edges,
            _total(inverse, len(edges), self.length[kept]),
            _total(inverse, len(edges), self.contrast[kept]),
            None if self.moments is None else _sums(self.moments, group, count),
            None if self.expected is None else _sums(self.expected, group, count))


def region_graph(lab: npt.NDArray[np.float32], regions: Labels,
                 features: npt.NDArray[np.float32], frame: Frame | None = None,
                 prior: npt.NDArray[np.float32] | None = None) -> RegionGraph:
    """
    Describe regions and their borders.

    Parameters
    ----------
    lab
        (h, w, 3) float32 colours.
    regions
        (h, w) int32 from 0, every number present.
    features
        (C, th, tw) float32 of the same view; a region takes the bilinear mixture at its middle,
        so regions should be no larger than a few tokens.
    frame
        Where the depth comes from; None leaves geometry out.
    prior
        (K, th, tw) float32 expected share of each of K tracks, or None.

    """
    count = int(regions.max()) + 1
    flat = regions.ravel()
    size = _total(flat, count)
    pairs, steps = _borders(lab, regions)
    edges, inverse, kept = _unique_pairs(pairs, count)
    moments = None
    if frame is not None and frame.depth is not None:
        moments = _moments(frame, regions, count)
    return RegionGraph(
        size, _sums(lab.reshape(-1, 3), flat, count), _grid_sums(features, regions, size), edges,
        _total(inverse, len(edges)), _total(inverse, len(edges), steps[kept]), moments,
        None if prior is None else _grid_sums(prior, regions, size))


def planes(moments: FloatArray) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return (n, 3) centres, (n, 3) unit normals of the best planes, and (n,) whether known."""
    known = moments[:, 0] >= _LEAST_POINTS
    share = moments / np.maximum(moments[:, :1], 1)
    centre = share[:, 1:4]
    second = share[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3)
    spread = second - centre[:, :, None] * centre[:, None, :]
    normals = np.zeros_like(centre)
    normals[known] = np.linalg.eigh(spread[known])[1][:, :, 0]
    return centre, normals, known


def plane_gaps(moments: FloatArray, edges: Indices) -> FloatArray:
    """
    Return how far apart the planes of touching regions are.

    The mean squared distance of each centre from the other's plane, over the product of their
    depths; 0 where either has no plane. Shape (e,).
    """
    centre, normals, known = planes(moments)
    first, second = edges.T
    step = centre[second] - centre[first]
    away = (np.square(np.einsum('ed,ed->e', normals[first], step))
            + np.square(np.einsum('ed,ed->e', normals[second], step)))
    valid = known[first] & known[second]
    scale = np.where(valid, 2 * centre[first, 2] * centre[second, 2], 1)
    return np.where(valid, away / np.maximum(scale, 1e-9), 0)


def _borders(lab: npt.NDArray[np.float32],
             regions: Labels) -> tuple[Labels, npt.NDArray[np.float32]]:
    """Return (p, 2) regions and (p,) colour difference of neighbouring pixels that differ."""
    pairs, steps = [], []
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        border = regions[here] != regions[there]
        pairs.append(np.stack([regions[here][border], regions[there][border]], axis=1))
        steps.append(np.linalg.norm(lab[here][border] - lab[there][border], axis=1))
    return np.concatenate(pairs), np.concatenate(steps)


def _unique_pairs(pairs: npt.NDArray[np.integer],
                  count: int) -> tuple[Indices, Indices, npt.NDArray[np.bool_]]:
    """Return the pairs that occur, each kept pair's place among them, and which were kept."""
    first, second = pairs.astype(np.int64).T
    kept = first != second
    low, high = np.minimum(first, second)[kept], np.maximum(first, second)[kept]
    keys, inverse = np.unique(low * count + high, return_inverse=True)
    return np.stack([keys // count, keys % count], axis=1), inverse, kept


def _total(group: npt.NDArray[np.integer], count: int,
           weight: npt.NDArray[np.floating] | None = None) -> FloatArray:
    return np.bincount(group, weight, count).astype(np.float64)


def _sums(values: npt.NDArray[np.floating], group: Labels, count: int) -> FloatArray:
    return np.stack([np.bincount(group, column, count) for column in values.T], axis=1)


def _grid_sums(grid: npt.NDArray[np.float32], regions: Labels,
               size: FloatArray) -> FloatArray:
    """Return (n, C) sums over the regions, of the bilinear mixture at each one's middle."""
    channels, rows, columns = grid.shape
    height, width = regions.shape
    flat = regions.ravel()
    y = np.bincount(flat, np.repeat(np.arange(height), width)) / size
    x = np.bincount(flat, np.tile(np.arange(width), height)) / size
    top, down = _cells(y, height, rows)
    left, right = _cells(x, width, columns)
    tokens = grid.reshape(channels, -1).T
    mixture = np.zeros((len(size), channels))
    for row, row_share in ((top, 1 - down), (np.minimum(top + 1, rows - 1), down)):
        for column, share in ((left, 1 - right), (np.minimum(left + 1, columns - 1), right)):
            mixture += tokens[row * columns + column] * (row_share * share)[:, None]
    return mixture * size[:, None]


def _cells(place: FloatArray, size: int, cells: int) -> tuple[Indices, FloatArray]:
    """Return the lower of the two cells that each place lies between, and the other's share."""
    scaled = np.clip((place + 0.5) * cells / size - 0.5, 0, cells - 1)
    lower = scaled.astype(np.intp)
    return lower, scaled - lower


def _moments(frame: Frame, regions: Labels, count: int) -> FloatArray:
    points = token_points(frame, *regions.shape).reshape(-1, 3)
    valid = np.isfinite(points[:, 2])
    x, y, z = points[valid].astype(np.float64).T
    columns = np.stack([np.ones_like(x), x, y, z, x * x, x * y, x * z, y * y, y * z, z * z],
                       axis=1)
    return _sums(columns, regions.ravel()[valid], count)
