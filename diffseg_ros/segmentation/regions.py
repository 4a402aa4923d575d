"""Segments by merging regions: by colour, depth and diffusion features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.registry import register_segmentation
from diffseg_ros.segmentation.base import compact_segments, SegmentationMethod
from diffseg_ros.segmentation.boundary_refinement import upsample_labels
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.region_merging import adaptive_merge, nearest_merge
from diffseg_ros.segmentation.region_planes import plane_gaps
from diffseg_ros.segmentation.rims import absorb_rims
from diffseg_ros.segmentation.superpixels import add_depth_channel, lab_image, watershed
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, LabelImage, Segments
import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int32]

_REFERENCE_PIXELS = 320 * 240
_DEPTH_GRADIENT = 0.4
# Confidence: logistic regression on five sets of images with true masks, each of equal weight.
_DEPTH, _LEAST_DEPTH = 0.64, 0.002
_GAP, _LARGEST_GAP = 3.6, 1.0
_SPREAD, _LEAST_SPREAD = -0.8, 0.01
_CONSTANT = 3.0


class RegionSettings(Settings):
    """Merging of small image regions by colour, depth and features."""

    width: int = setting(320, 'width in pixels of the grid that regions are made on', 32, 4096)
    scale: float = setting(
        25.0, 'how much small neighbours may differ before they stay apart; higher gives fewer '
        'segments', 0.0, 1e6)
    contrast: float = setting(
        1.5, 'weight of the contrast along the border, beside the difference of mean colours, '
        'where small neighbours are compared', 0.0, 100.0)
    threshold: float = setting(
        0.025, 'two regions are not merged above this cost; higher gives fewer segments',
        0.0, 100.0)
    features: float = setting(
        0.7, "weight of the diffusion features' difference in that cost; 0 is off", 0.0, 100.0)
    colour: float = setting(0.25, "weight of the mean colours' difference; 0 is off", 0.0, 100.0)
    geometry: float = setting(
        40.0, 'weight of the distance between planes, for RGB-D input; 0 is off', 0.0, 1e6)
    depth_steps: float = setting(
        2.5, 'weight of steps in depth across a border, relative to the depth, beside the steps '
        'in colour; for RGB-D input; 0 is off', 0.0, 100.0)


@register_segmentation('regions', RegionSettings)
class Regions(SegmentationMethod):
    """
    Merges superpixels by colour, depth and diffusion features.

    The default: of all methods it has the best mean IoU with the embedded model, 0.415.
    """

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """
        Segment one frame; the attention is not used.

        The superpixels of image and depth are merged twice: first while the difference between
        neighbours, in mean colour, along their border and in depth, is below their internal
        variation; then, nearest pairs first, by `RegionCost`.
        """
        settings = self.settings
        grid = self.prepare(features).cpu().numpy()
        grid = grid / np.maximum(np.linalg.norm(grid, axis=0), 1e-12)
        image = lab = lab_image(frame.rgb, settings.width)
        points = None
        if frame.depth is not None and (settings.geometry or settings.depth_steps):
            points = token_points(frame, *lab.shape[:2])
        if points is not None and settings.depth_steps:
            image = add_depth_channel(lab, points[..., 2], _DEPTH_GRADIENT * settings.depth_steps)
        superpixels = watershed(image)
        graph = region_graph(lab, superpixels, grid, points, prior,
                             depth_steps=settings.depth_steps)
        group, segments = self._merge(graph, superpixels.size)
        whole, segments = absorb_rims(segments)
        group = whole[group]
        labels, _ = upsample_labels(frame.rgb, group.take(superpixels))
        confidence = cv2.resize(assignment_confidence(superpixels, graph, group, segments),
                                labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
        length = np.linalg.norm(segments.features, axis=1, keepdims=True)
        embeddings = segments.features / np.maximum(length, 1e-12)
        return compact_segments(labels, confidence, embeddings.astype(np.float32))

    def _merge(self, graph: RegionGraph, pixels: int) -> tuple[Groups, RegionGraph]:
        """Return the group of each superpixel and the graph of the groups."""
        settings, coarseness = self.settings, self.common.threshold_scale
        weight = graph.squared_gaps(graph.colour)
        weight += np.square(settings.contrast * graph.contrast / graph.length)
        if graph.moments is not None and settings.geometry:
            weight += settings.geometry * plane_gaps(graph.moments, graph.edges)
        first = adaptive_merge(graph.size, graph.edges, np.sqrt(weight),
                               settings.scale * coarseness * pixels / _REFERENCE_PIXELS,
                               self.common.min_size * pixels)
        graph = graph.contracted(first)
        second = nearest_merge(graph, RegionCost(settings, self.common.prior, pixels),
                               settings.threshold * coarseness, self.common.max_segments)
        return second[first], graph.contracted(second)


@dataclass(frozen=True)
class RegionCost:
    """
    What it costs to merge two regions that touch.

    (mean contrast along the border + root of the weighted squared differences of mean colour, mean
    feature and plane) times the root of the share of the image that would change hands, which lets
    small regions go. Where tracks are expected, regions of one cost less, of two more.
    """

    settings: RegionSettings
    prior: float
    pixels: int

    def __call__(self, graph: RegionGraph) -> FloatArray:
        """Return the (e,) cost of each of the graph's edges."""
        settings = self.settings
        first, second = graph.edges.T
        apart = settings.colour**2 * graph.squared_gaps(graph.colour)
        apart += settings.features**2 * graph.squared_gaps(graph.features)
        if graph.moments is not None and settings.geometry:
            apart += settings.geometry * plane_gaps(graph.moments, graph.edges)
        share = graph.size[first] * graph.size[second] / (graph.size[first] + graph.size[second])
        cost = (graph.contrast / graph.length + np.sqrt(apart)) * np.sqrt(share / self.pixels)
        if graph.expected is not None and self.prior:
            cost *= np.exp2(self.prior * (1 - 2 * _agreement(graph.expected, graph.edges)))
        return cost


def _agreement(expected: FloatArray, edges: npt.NDArray[np.intp]) -> FloatArray:
    """Return the (e,) cosine of the tracks expected in two regions, 1/2 where none is."""
    norm = np.linalg.norm(expected, axis=1)
    unit = expected / np.maximum(norm, 1e-12)[:, None]
    cosine = np.einsum('ek,ek->e', *unit[edges.T])
    return np.where((norm[edges] > 0).all(axis=1), cosine, 0.5)


def assignment_confidence(superpixels: LabelImage, graph: RegionGraph, group: Groups,
                          segments: RegionGraph) -> npt.NDArray[np.float32]:
    """
    Return the (h, w) float32 confidence, from 0, a guess, to 1, that a pixel's segment is right.

    Three things tell: how far the next border is, how much nearer the superpixel's colour is to
    its segment's mean than to that of the nearest segment beside it, and how little the segment's
    colours vary. A logistic regression on images with true masks weighs them. `superpixels` are
    the nodes of `graph`, `group` the (n,) segment of each, a node of `segments`.
    """
    if len(segments.size) == 1:
        return np.ones(superpixels.shape, np.float32)
    own, other, spread = _colour_fit(graph, group, segments)
    gap = np.minimum(other, _LARGEST_GAP) - own
    odds = np.exp(_CONSTANT + _GAP * gap) * (spread + _LEAST_SPREAD)[group]**_SPREAD
    inside = ~label_borders(group.take(superpixels))
    depth = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 3) / np.float32(
        superpixels.shape[1])
    odds_at = cv2.pow(depth + np.float32(_LEAST_DEPTH), _DEPTH)
    odds_at *= odds.astype(np.float32).take(superpixels)
    return np.maximum(1 - 2 / (1 + odds_at), 0)


def _colour_fit(graph: RegionGraph, group: Groups,
                segments: RegionGraph) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (n,) colour distances to own and nearest segment, and (k,) deviations within."""
    count = len(segments.size)
    colour = graph.colour / graph.size[:, None]
    means = segments.colour / segments.size[:, None]
    beside = np.zeros((count, count), bool)
    beside[tuple(segments.edges.T)] = beside[tuple(segments.edges.T[::-1])] = True
    apart = cdist(colour, means)
    own = apart[np.arange(len(group)), group]
    other = np.where(beside[group], apart, np.inf).min(axis=1)
    spread = np.sqrt(np.bincount(group, np.square(own) * graph.size, count) / segments.size)
    return own, other, spread
