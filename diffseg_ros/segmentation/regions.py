"""Segments by a global cut of image regions: by colour, depth and diffusion features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
from diffseg_ros.geometry.label_images import label_borders
from diffseg_ros.registry import register_segmentation
from diffseg_ros.segmentation.base import compact_segments, SegmentationMethod
from diffseg_ros.segmentation.boundary_refinement import upsample_labels
from diffseg_ros.segmentation.region_cut import cut_tree, CutTree
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.region_merging import adaptive_merge
from diffseg_ros.segmentation.region_planes import plane_gaps
from diffseg_ros.segmentation.rims import absorb_rims
from diffseg_ros.segmentation.scene_objects import scene_objects
from diffseg_ros.segmentation.superpixels import add_depth_channel, lab_image, watershed
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import Frame, Hierarchy, LabelImage, Segments
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int32]

_REFERENCE_PIXELS = 320 * 240
_DEPTH_GRADIENT = 0.4
_MERGED_GEOMETRY = 40.0
"""Weight of the distance between planes where superpixels are merged to regions."""
_MERGED_OBJECTS = 0.06
"""
Share of the setting `objects` that counts there.

Without it what has the table's colour is merged into the table before the cut: on 30 real tables
the mean IoU of the objects' best segments falls from 0.71 to 0.65.
"""
_PRIOR = 3.0
"""Distance between regions of two tracks, and nearness of those of one, at a prior of 1."""
_SIZE_POWER = 0.75
_LEVELS = 16.0
"""Factor of the threshold from granularity 0.5 to 1: nearly all regions are then apart."""
# Confidence: logistic regression on five sets of images with true masks, each of equal weight.
_DEPTH, _LEAST_DEPTH = 0.64, 0.002
_GAP, _LARGEST_GAP = 3.6, 1.0
_SPREAD, _LEAST_SPREAD = -0.8, 0.01
_CONSTANT = 3.0


class RegionSettings(Settings):
    """Cut of the graph of image regions by colour, depth and features."""

    width: int = setting(320, 'width in pixels of the grid that regions are made on', 32, 4096)
    scale: float = setting(
        25.0, 'how much small neighbours may differ before they stay apart; higher gives fewer '
        'segments', 0.0, 1e6)
    contrast: float = setting(
        1.5, 'weight of the contrast along the border, beside the difference of mean colours, '
        'where small neighbours are compared', 0.0, 100.0)
    threshold: float = setting(
        -1.0, 'a group of regions is cut in two below this cost; higher gives more segments; -1 '
        'is what suits the model', -1.0, 1e6)
    features: float = setting(
        -1.0, "weight of the diffusion features' difference in the affinity of two regions; -1 is "
        'what suits the model, 0 is off', -1.0, 1e3)
    colour: float = setting(
        3.0, "weight of the mean colours' squared difference; 0 is off", 0.0, 1e3)
    geometry: float = setting(
        150.0, 'weight of the distance between planes, for RGB-D input; 0 is off', 0.0, 1e6)
    borders: float = setting(
        1.5, 'weight of the number of borders between two regions; 0 is off', 0.0, 1e3)
    edges: float = setting(
        3.0, "weight of these borders' contrast; 0 is off", 0.0, 1e3)
    objects: float = setting(
        4.0, 'how far an object that depth shows is from what is not part of it, for RGB-D input '
        'with camera_info; 0 is off', 0.0, 1e3)
    surfaces: float = setting(
        0.5, 'share by which differences count less between regions of one floor, table or wall, '
        'for RGB-D input with camera_info; 0 is off', 0.0, 1.0)
    depth_steps: float = setting(
        2.5, 'weight of steps in depth across a border, relative to the depth, beside the steps '
        'in colour; for RGB-D input; 0 is off', 0.0, 100.0)


@register_segmentation('regions', RegionSettings)
class Regions(SegmentationMethod):
    """
    Cuts the graph of image regions by colour, depth and diffusion features.

    The default: of all methods it has the best mean IoU, and gains most when features get better.
    """

    def segment(self, frame: Frame, features: torch.Tensor,
                prior: npt.NDArray[np.float32] | None = None,
                attention: Sequence[torch.Tensor] | None = None) -> Segments:
        """
        Segment one frame; the attention is not used.

        Superpixels of image and depth are merged to regions while the difference between
        neighbours, in mean colour, along their border, in depth and in the object they lie on, is
        below their internal variation. Then all pairs of regions, touching or not, have an
        affinity, and a recursive normalised cut groups them.
        """
        settings = self.settings
        grid = self.prepare(features).cpu().numpy()
        grid = grid / np.maximum(np.linalg.norm(grid, axis=0), 1e-12)
        image = lab = lab_image(frame.rgb, settings.width)
        points = None
        if frame.depth is not None:
            points = token_points(frame, *lab.shape[:2])
        if points is not None and settings.depth_steps:
            image = add_depth_channel(lab, points[..., 2], _DEPTH_GRADIENT * settings.depth_steps)
        superpixels = watershed(image)
        scene = None
        if points is not None and frame.intrinsics is not None:
            scene = scene_objects(points, frame.intrinsics)
        graph = region_graph(lab, superpixels, grid, points, prior, scene,
                             depth_steps=settings.depth_steps)
        region, regions = self._regions(graph, superpixels)
        tree = self.tree(regions).bounded(self.common.max_segments)
        place = np.argsort(tree.order).astype(np.int32)
        groups = tree.groups(settings.threshold * _LEVELS**(2 * self.common.granularity - 1))
        segments, group = regions.contracted(groups[place]), groups[place[region]]
        fine, _ = upsample_labels(frame.rgb, place[region].take(superpixels))
        labels = groups[fine]
        confidence = cv2.resize(assignment_confidence(superpixels, graph, group, segments),
                                labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
        length = np.linalg.norm(segments.features, axis=1, keepdims=True)
        embeddings = segments.features / np.maximum(length, 1e-12)
        hierarchy = _hierarchy(fine, tree.level / max(settings.threshold, 1e-12))
        found = replace(compact_segments(labels, confidence, embeddings.astype(np.float32)),
                        hierarchy=hierarchy)
        return found if scene is None else replace(found, kinds=scene.kinds(found.labels))

    def tree(self, regions: RegionGraph) -> CutTree:
        """Return how the regions are grouped, from coarse to fine."""
        affinity = region_affinity(regions, self.settings, self.common.prior)
        return cut_tree(affinity, regions.size)

    def _regions(self, graph: RegionGraph, superpixels: LabelImage) -> tuple[Groups, RegionGraph]:
        """Return the region of each superpixel and the graph of the regions."""
        settings, pixels = self.settings, superpixels.size
        weight = graph.squared_gaps(graph.colour)
        weight += np.square(settings.contrast * graph.contrast / graph.length)
        if graph.moments is not None and settings.geometry:
            weight += _MERGED_GEOMETRY * plane_gaps(graph.moments, graph.edges)
        things = graph.thing_shares
        if things is not None:
            first, second = things[graph.edges.T]
            apart = first.sum(axis=1) * second.sum(axis=1) - (first * second).sum(axis=1)
            weight += _MERGED_OBJECTS * settings.objects * apart
        region = adaptive_merge(graph.size, graph.edges, np.sqrt(weight),
                                settings.scale * pixels / _REFERENCE_PIXELS,
                                self.common.min_size * pixels)
        whole, regions = absorb_rims(graph.contracted(region))
        return whole[region], regions


def _hierarchy(regions: LabelImage, ratio: FloatArray) -> Hierarchy:
    """
    Return the hierarchy of those regions, in the order of a tree, that have a pixel.

    From one number to the next they come apart where the threshold grows by a `ratio`.
    """
    exponent = np.log(np.maximum(ratio, 1e-12)) / np.log(_LEVELS)
    granularity = ((1 + exponent) / 2).clip(0)
    present = np.flatnonzero(np.bincount(regions.ravel()))
    if len(present) == len(ratio) + 1:
        return Hierarchy(regions, granularity.astype(np.float32))
    number = np.zeros(present[-1] + 1, np.int32)
    number[present] = np.arange(len(present), dtype=np.int32)
    apart = np.minimum.reduceat(granularity[:present[-1]], present[:-1])
    return Hierarchy(number[regions], apart.astype(np.float32))


def region_affinity(graph: RegionGraph, settings: RegionSettings, prior: float) -> FloatArray:
    """
    Return the (n, n) affinities of all pairs of n regions, touching or not.

    exp of the negated sum of weighted differences in feature, colour and plane and of the
    cheapest way between them, on which each border costs its contrast and a constant (after the
    intervening contours of Leung and Malik, ECCV 1998); times both sizes, to a power that keeps
    small things. Objects that depth shows are further from each other and from the surfaces they
    stand on; within a surface differences count less. Where tracks are expected, regions of one
    are nearer, of two further.
    """
    count = len(graph.size)
    unit = graph.features / np.maximum(np.linalg.norm(graph.features, axis=1), 1e-12)[:, None]
    colour = graph.colour / graph.size[:, None]
    apart = settings.features * (1 - unit @ unit.T)
    apart += settings.colour * cdist(colour, colour, 'sqeuclidean')
    if graph.moments is not None and settings.geometry:
        pairs = np.stack(np.triu_indices(count, 1), axis=1)
        gaps = np.zeros((count, count))
        gaps[tuple(pairs.T)] = plane_gaps(graph.moments, pairs)
        apart += settings.geometry * (gaps + gaps.T)
    if settings.borders or settings.edges:
        steps = settings.borders + settings.edges * graph.contrast / graph.length
        # A sparse graph takes 0 for no edge.
        ways = coo_array((np.maximum(steps, 1e-9), tuple(graph.edges.T)), (count, count))
        apart += shortest_path(ways.tocsr(), directed=False)
    things = graph.thing_shares
    if things is not None and graph.surfaces is not None:
        surfaces, known = graph.surfaces / graph.size[:, None], things.sum(axis=1)
        apart *= 1 - settings.surfaces * surfaces @ surfaces.T
        apart += settings.objects * (np.outer(known, known) - things @ things.T)
    if graph.expected is not None and prior:
        apart += prior * _PRIOR * (1 - 2 * _agreement(graph.expected))
    size = graph.size**_SIZE_POWER
    return np.exp(-apart) * np.outer(size, size)


def _agreement(expected: FloatArray) -> FloatArray:
    """Return the (n, n) cosines of the tracks expected in two regions, 1/2 where none is."""
    norm = np.linalg.norm(expected, axis=1)
    unit = expected / np.maximum(norm, 1e-12)[:, None]
    return np.where(np.outer(norm, norm) > 0, unit @ unit.T, 0.5)


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
