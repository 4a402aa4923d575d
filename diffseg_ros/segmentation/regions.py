"""Segments by merging regions: by colour, depth and diffusion features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
from diffseg_ros.registry import register_segmentation
from diffseg_ros.segmentation.base import (
    compact_segments,
    require_finite,
    SegmentationMethod,
    SegmentationSettings,
)
from diffseg_ros.segmentation.boundary_refinement import sharpened
from diffseg_ros.segmentation.geometry import token_points
from diffseg_ros.segmentation.region_confidence import assignment_confidence
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.region_merging import adaptive_merge, nearest_merge
from diffseg_ros.segmentation.region_planes import plane_gaps
from diffseg_ros.segmentation.superpixels import gradient_basins, lab_image, with_depth
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, Segments
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float64]

_REFERENCE_PIXELS = 320 * 240
_DEPTH_GRADIENT = 0.4


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
    """Merges the catchment basins of the image's gradient; see `region_segments`."""

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """Segment one frame; the attention is not used."""
        if self.common.centre:
            features = features - features.mean(dim=(1, 2), keepdim=True)
        return compact_segments(*region_segments(frame, features.cpu().numpy(), self.settings,
                                                 self.common, prior))


@dataclass(frozen=True)
class RegionCost:
    """
    What it costs to merge two regions that touch.

    (mean contrast along the border + root of the weighted squared differences of mean colour,
    mean feature and plane) times the root of the share of the image that would change hands,
    which keeps large regions apart and lets small ones go. Where tracks are expected, regions
    of one track cost less and regions of two more.
    """

    settings: RegionSettings
    prior: float
    pixels: float

    def __call__(self, graph: RegionGraph) -> FloatArray:
        """Return the (e,) cost of each of the graph's edges."""
        settings = self.settings
        first, second = graph.edges.T
        apart = settings.colour**2 * _gaps(graph.colour, graph)
        apart += settings.features**2 * _gaps(graph.features, graph)
        if graph.moments is not None and settings.geometry:
            apart += settings.geometry * plane_gaps(graph.moments, graph.edges)
        share = graph.size[first] * graph.size[second] / (graph.size[first] + graph.size[second])
        cost = (graph.contrast / graph.length + np.sqrt(apart)) * np.sqrt(share / self.pixels)
        if graph.expected is not None and self.prior:
            cost *= np.exp2(self.prior * (1 - 2 * _agreement(graph.expected, first, second)))
        return cost


def region_segments(frame: Frame, features: npt.NDArray[np.float32],
                    settings: RegionSettings, common: SegmentationSettings,
                    prior: npt.NDArray[np.float32] | None = None,
                    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32],
                               npt.NDArray[np.float32]]:
    """
    Segment one frame.

    The catchment basins of the gradient of photo and depth are merged twice: first while
    neighbours differ no more, in mean colour, along their border and in depth, than they vary
    themselves; then, nearest pairs first, by `RegionCost`, which the diffusion features are part
    of.

    Parameters
    ----------
    frame
        The photo, and its depth where the geometry has a weight.
    features
        (C, h, w) float32, centred or not.
    settings, common
        Weights and thresholds; `granularity` scales the latter.
    prior
        (K, h, w) float32 expected share of each of K tracks in each token, or None.

    Returns
    -------
    tuple
        (H, W) int32 labels, 0 to K - 1, (H, W) float32 confidence from 0 to 1, and
        (K, C) float32 mean feature of each segment, of length 1.

    Raises
    ------
    DiffsegError
        The features hold NaN or infinity.

    """
    require_finite(features)
    lab = lab_image(frame.rgb, settings.width)
    unit = features / np.maximum(np.linalg.norm(features, axis=0), 1e-12)
    points = None
    if frame.depth is not None and (settings.geometry or settings.depth_steps):
        points = token_points(frame, *lab.shape[:2])
    basins = _basins(lab, points, settings.depth_steps)
    graph = region_graph(lab, basins, unit, points, prior, depth_steps=settings.depth_steps)
    cost = RegionCost(settings, common.prior, float(basins.size))
    group, segments = _merged(graph, cost, settings, common)
    labels, _ = sharpened(frame.rgb, group.take(basins))
    confidence = cv2.resize(assignment_confidence(basins, graph, group, segments),
                            labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return labels, confidence, _directions(segments)


def _basins(lab: npt.NDArray[np.float32], points: npt.NDArray[np.float32] | None,
            depth_steps: float) -> npt.NDArray[np.int32]:
    if points is None or not depth_steps:
        return gradient_basins(lab)
    return gradient_basins(with_depth(lab, points[..., 2], _DEPTH_GRADIENT * depth_steps))


def _merged(graph: RegionGraph, cost: RegionCost, settings: RegionSettings,
            common: SegmentationSettings) -> tuple[npt.NDArray[np.int32], RegionGraph]:
    """Return the group of each basin and the graph of the groups."""
    pixels, coarse = cost.pixels, common.threshold_scale
    weight = _gaps(graph.colour, graph)
    weight += np.square(settings.contrast * graph.contrast / graph.length)
    if graph.moments is not None and settings.geometry:
        weight += settings.geometry * plane_gaps(graph.moments, graph.edges)
    scale = settings.scale * coarse * pixels / _REFERENCE_PIXELS
    first = adaptive_merge(graph.size, graph.edges, np.sqrt(weight), scale,
                           common.min_size * pixels)
    graph = graph.contracted(first)
    second = nearest_merge(graph, cost, settings.threshold * coarse, common.max_segments)
    return second[first], graph.contracted(second)


def _gaps(sums: FloatArray, graph: RegionGraph) -> FloatArray:
    """Return the (e,) squared distances of touching regions' means."""
    means = sums.T / graph.size
    first, second = np.ascontiguousarray(graph.edges.T)
    return np.square(means.take(first, axis=1) - means.take(second, axis=1)).sum(axis=0)


def _agreement(expected: FloatArray, first: npt.NDArray[np.intp],
               second: npt.NDArray[np.intp]) -> FloatArray:
    """Return the (e,) cosine of the tracks expected in two regions, 1/2 where none is."""
    norm = np.linalg.norm(expected, axis=1, keepdims=True)
    unit = expected / np.maximum(norm, 1e-12)
    known = (norm[first, 0] > 0) & (norm[second, 0] > 0)
    return np.where(known, np.einsum('ek,ek->e', unit[first], unit[second]), 0.5)


def _directions(graph: RegionGraph) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(graph.features, axis=1, keepdims=True)
    return (graph.features / np.maximum(length, 1e-12)).astype(np.float32)
