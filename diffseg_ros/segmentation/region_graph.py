"""The adjacency graph of image regions: what each region looks like, and the borders between."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.segmentation.graph_utils import membership
from diffseg_ros.segmentation.region_planes import point_moments
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

_LARGEST_STEP = np.float32(0.1)


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
        (e,) sum of these pairs' steps in colour and, weighted, in depth.
    moments
        (n, 10) of the region's valid points, from `point_moments`, or None without depth.
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
        members = membership(group, count, np.float64)
        first, second = group.take(self.edges.T)
        apart = np.flatnonzero(first != second)
        return RegionGraph(
            members @ self.size, members @ self.colour, members @ self.features,
            *_joined_borders(first.take(apart), second.take(apart), self.length.take(apart),
                             self.contrast.take(apart), count),
            None if self.moments is None else members @ self.moments,
            None if self.expected is None else members @ self.expected)


def region_graph(lab: npt.NDArray[np.float32], regions: Labels,
                 features: npt.NDArray[np.float32], points: npt.NDArray[np.float32] | None = None,
                 prior: npt.NDArray[np.float32] | None = None, *,
                 depth_steps: float = 0.0) -> RegionGraph:
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
    points
        (h, w, 3) float32 in metres, NaN where there is none; None leaves geometry out.
    prior
        (K, th, tw) float32 expected share of each of K tracks, or None.
    depth_steps
        Weight of a border's steps in depth, as shares of the depth, beside those in colour.

    """
    count = int(regions.max()) + 1
    flat = regions.ravel()
    size = np.bincount(flat, minlength=count).astype(np.float64)
    middles = _middles(regions, size)
    first, second, steps = _borders(lab, regions, points, depth_steps)
    moments = None if points is None else point_moments(points, regions, count)
    return RegionGraph(
        size, membership(flat, count, np.float64) @ lab.reshape(-1, 3),
        _sampled(features, middles, regions.shape) * size[:, None],
        *_joined_borders(first, second, np.ones_like(steps), steps, count), moments,
        None if prior is None else _sampled(prior, middles, regions.shape) * size[:, None])


def _borders(lab: npt.NDArray[np.float32], regions: Labels,
             points: npt.NDArray[np.float32] | None,
             depth_steps: float) -> tuple[Labels, Labels, npt.NDArray[np.float32]]:
    """Return (p,) regions, (p,) neighbours and the step between them at pairs of pixels."""
    flat, colours = regions.ravel(), lab.reshape(-1, 3)
    apart = np.zeros((2, *regions.shape), bool)
    np.not_equal(regions[:, :-1], regions[:, 1:], out=apart[0, :, :-1])
    np.not_equal(regions[:-1], regions[1:], out=apart[1, :-1])
    sides = []
    for border, step in zip(apart, (1, regions.shape[1]), strict=True):
        here = np.flatnonzero(border)
        squares = np.square(colours[step:] - colours[:-step]) @ np.ones(3, np.float32)
        contrast = np.sqrt(squares).take(here)
        if points is not None and depth_steps:
            depth = points[..., 2].ravel()
            contrast += np.float32(depth_steps) * _depth_steps(depth.take(here),
                                                               depth.take(here + step))
        sides.append((flat.take(here), flat.take(here + step), contrast))
    first, second, steps = (np.concatenate(values) for values in zip(*sides, strict=True))
    return first, second, steps


def _depth_steps(here: npt.NDArray[np.float32],
                 there: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the difference of (p,) depths as a share of the lesser, 0 where one is unknown."""
    share = np.abs(here - there) / np.minimum(here, there)
    return np.nan_to_num(np.minimum(share, _LARGEST_STEP), nan=0.0)


def _joined_borders(first: Labels, second: Labels, length: npt.NDArray[np.floating],
                    contrast: npt.NDArray[np.floating],
                    count: int) -> tuple[Indices, FloatArray, FloatArray]:
    """Return the (e, 2) pairs that occur, the lower first, and sums of length and contrast."""
    # One sparse sum of complex numbers takes half the time of two sums.
    both = np.empty(len(first), np.complex128)
    both.real, both.imag = length, contrast
    ends = np.minimum(first, second), np.maximum(first, second)
    sums = coo_array((both, ends), (count, count)).tocsr()
    lower = np.arange(count).repeat(np.diff(sums.indptr))
    return np.stack([lower, sums.indices]).T, sums.data.real, sums.data.imag


def _middles(regions: Labels, size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the (n,) mean row and column of each region."""
    height, width = regions.shape
    flat = regions.ravel()
    y = np.bincount(flat, np.repeat(np.arange(height, dtype=np.float64), width)) / size
    x = np.bincount(flat, np.tile(np.arange(width, dtype=np.float64), height)) / size
    return y, x


def _sampled(grid: npt.NDArray[np.float32], places: tuple[FloatArray, FloatArray],
             shape: tuple[int, ...]) -> FloatArray:
    """Return (n, C) bilinear mixtures of a (C, th, tw) grid at (n,) places in a larger image."""
    channels, rows, columns = grid.shape
    top, down = _cells(places[0], shape[0], rows)
    left, right = _cells(places[1], shape[1], columns)
    below, beside = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    tokens = np.stack([top * columns + left, top * columns + beside,
                       below * columns + left, below * columns + beside], axis=1)
    shares = np.stack([(1 - down) * (1 - right), (1 - down) * right,
                       down * (1 - right), down * right], axis=1)
    mixing = csr_array((shares.ravel(), tokens.ravel(), np.arange(0, 4 * len(top) + 1, 4)),
                       (len(top), rows * columns))
    return mixing @ grid.reshape(channels, -1).T


def _cells(place: FloatArray, size: int, cells: int) -> tuple[Indices, FloatArray]:
    """Return the lower of the two cells that each place lies between, and the other's share."""
    scaled = np.clip((place + 0.5) * cells / size - 0.5, 0, cells - 1)
    lower = scaled.astype(np.intp)
    return lower, scaled - lower
