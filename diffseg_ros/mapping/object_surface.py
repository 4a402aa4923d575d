"""The measured surface of an object: its views fused into a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import camera_matrix
from diffseg_ros.mapping.object_views import ObjectView, Points
from diffseg_ros.mapping.view_evidence import evidence
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt
import open3d
from open3d import core
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_RESOLUTION = 64
"""Voxels along the largest extent of an object, unless a pixel is wider than such a voxel."""
_TRUNCATION = 6.0
"""Voxels before and behind a measured surface that are fused, more where noise is."""
_NOISE_WITHIN = 3.0
_WEIGHT = 3.0
_LEAST_PART = 0.05
"""Parts with less than this share of the area of the largest one are noise."""
_BLOCKS = 2000


@dataclass(frozen=True)
class Surface:
    """
    A triangle mesh with colours.

    Attributes
    ----------
    vertices
        (V, 3) float64 metres.
    triangles
        (T, 3) int32 indices of vertices, counter-clockwise from outside.
    rgb
        (V, 3) uint8.

    """

    vertices: Points
    triangles: npt.NDArray[np.int32]
    rgb: npt.NDArray[np.uint8]

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """(T,) areas of the triangles in square metres."""
        a, b, c = self.vertices[self.triangles].transpose(1, 0, 2)
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2

    @property
    def normals(self) -> Points:
        """(V, 3) unit vectors outwards: the mean of the triangles around each vertex."""
        a, b, c = self.vertices[self.triangles].transpose(1, 0, 2)
        corners, flat = self.triangles.ravel(), np.cross(b - a, c - a).repeat(3, axis=0)
        sums = np.stack([np.bincount(corners, axis, len(self.vertices)) for axis in flat.T], 1)
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-20)

    def with_triangles(self, kept: Mask) -> Surface:
        """Return the surface of some of its triangles, without vertices that none of them has."""
        triangles = self.triangles[kept]
        used = np.zeros(len(self.vertices), bool)
        used[triangles] = True
        numbers = np.cumsum(used, dtype=np.int32) - 1
        return Surface(self.vertices[used], numbers[triangles], self.rgb[used])

    def in_order(self) -> Surface:
        """Return the same surface in the order of its coordinates: Open3D's differs every time."""
        order = np.lexsort(self.vertices.T)
        numbers = np.empty(len(order), np.int32)
        numbers[order] = np.arange(len(order))
        triangles = numbers[self.triangles]
        # The lowest corner first, which keeps the way round.
        turn = (triangles.argmin(axis=1)[:, None] + np.arange(3)) % 3
        triangles = np.take_along_axis(triangles, turn, axis=1)
        return Surface(self.vertices[order], triangles[np.lexsort(triangles.T[::-1])],
                       self.rgb[order])

    def without_small_parts(self, least: float) -> Surface:
        """Return the surface without connected parts of less than a share of the largest area."""
        if not len(self.triangles):
            return self
        ends = np.concatenate([self.triangles[:, :2], self.triangles[:, 1:]]).T
        links = coo_array((np.ones(ends.shape[1], bool), tuple(ends)),
                          shape=(len(self.vertices),) * 2)
        part = connected_components(links, directed=False)[1][self.triangles[:, 0]]
        areas = np.bincount(part, self.areas)
        return self.with_triangles((areas >= least * areas.max())[part])


@dataclass(frozen=True)
class MeasuredObject:
    """
    What was measured of an object, in a frame with the axes of the world and its own origin.

    Attributes
    ----------
    surface
        The mesh.
    views
        The views it was made of.
    origin
        (3,) metres of the frame's origin in the world.
    voxel
        Size of the voxels in metres.
    noise
        Standard deviation of the depth against the surface, in metres, by its median deviation.

    """

    surface: Surface
    views: list[ObjectView]
    origin: npt.NDArray[np.float64]
    voxel: float
    noise: float

    @property
    def tolerance(self) -> float:
        """Metres by which the surface may be off: a voxel, and two deviations of the mean."""
        return self.voxel + 2 * self.noise / float(np.sqrt(len(self.views)))


def fuse(views: Sequence[ObjectView]) -> MeasuredObject:
    """
    Fuse views of one object into a truncated signed distance field, and that into a mesh.

    Voxels are a 64th of the largest extent, but no smaller than a pixel at the object's
    distance. All depth around the object is fused, so that what was seen through is empty, and
    parts of the mesh stay that belong to the object in at least half of the views that see
    them. Source of the fusion: Curless and Levoy, "A volumetric method for building complex
    models from range images", SIGGRAPH 1996, as implemented by Open3D.

    Raises
    ------
    DiffsegError
        There are no views, they show no common place, or they give no surface.

    """
    if not views:
        raise DiffsegError('no view of it has measured depth')
    views = _without_strays(views)
    if not views:
        raise DiffsegError('its views show it in different places; does it move, or is the pose '
                           'wrong?')
    points = np.concatenate([view.points for view in views])
    origin = np.median(points, axis=0)
    views = [_moved(view, -origin) for view in views]
    low, high = np.percentile(points, [1, 99], axis=0)
    pixel = np.median([np.median(view.measured[view.measured > 0]) / view.intrinsics.fx
                       for view in views])
    voxel = float(max((high - low).max() / _RESOLUTION, pixel))
    truncation = _TRUNCATION * voxel
    surface = _extracted(views, voxel, truncation)
    noise = _noise(surface, views)
    if _NOISE_WITHIN * noise > truncation:
        surface = _extracted(views, voxel, _NOISE_WITHIN * noise)
        noise = _noise(surface, views)
    seen = evidence(surface.vertices, views, voxel, noise)
    mine = (seen.object > 0) & (seen.object >= seen.other)
    surface = surface.with_triangles(np.all(mine[surface.triangles], axis=1))
    surface = surface.without_small_parts(_LEAST_PART)
    if not len(surface.triangles):
        raise DiffsegError(f'{len(views)} views of it give no surface that is the same in them')
    return MeasuredObject(surface, views, origin, voxel, noise)


def _without_strays(views: Sequence[ObjectView]) -> list[ObjectView]:
    """
    Return the views whose masks leave out what lies too far away to be of the object.

    That is more than its diagonal from its middle, both as the median of the views has it.
    """
    clouds = [view.points for view in views]
    middle = np.median([np.median(points, axis=0) for points in clouds], axis=0)
    sizes = [np.linalg.norm(np.ptp(np.percentile(points, [2, 98], axis=0), axis=0))
             for points in clouds]
    kept = []
    for view, points in zip(views, clouds):
        rows, columns = np.nonzero(view.measured)
        stray = np.linalg.norm(points - middle, axis=1) > np.median(sizes)
        mask = view.mask.copy()
        mask[rows[stray], columns[stray]] = False
        kept.append(replace(view, mask=mask))
    return [view for view in kept if view.pixels]


def _moved(view: ObjectView, shift: npt.NDArray[np.float64]) -> ObjectView:
    pose = view.pose.copy()
    pose[:3, 3] += shift
    return replace(view, pose=pose)


def _extracted(views: Sequence[ObjectView], voxel: float, truncation: float) -> Surface:
    grid = open3d.t.geometry.VoxelBlockGrid(
        ('tsdf', 'weight', 'color'), (core.float32,) * 3,
        [core.SizeVector([channels]) for channels in (1, 1, 3)], voxel, 16, _BLOCKS)
    for view in views:
        # A view says nothing of blocks in which it has no point of the object: what few masks
        # spill over to then stays below the least weight.
        points = core.Tensor.from_numpy(view.points.astype(np.float32))
        blocks = grid.compute_unique_block_coordinates(open3d.t.geometry.PointCloud(points),
                                                       truncation / voxel)
        camera = core.Tensor.from_numpy(camera_matrix(view.intrinsics))
        pose = core.Tensor.from_numpy(np.linalg.inv(view.pose))
        grid.integrate(blocks, _image(np.nan_to_num(view.depth)),
                       _image(view.rgb / np.float32(255)), camera, pose, 1.0, 100.0,
                       truncation / voxel)
    mesh = grid.extract_triangle_mesh(min(_WEIGHT, len(views)) - 0.5)
    if not len(mesh.vertex.positions):
        return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32), np.zeros((0, 3), np.uint8))
    colours = np.rint(mesh.vertex.colors.numpy() * 255).clip(0, 255).astype(np.uint8)
    return Surface(mesh.vertex.positions.numpy().astype(np.float64),
                   mesh.triangle.indices.numpy().astype(np.int32), colours).in_order()


def _image(values: npt.NDArray[np.floating]) -> Any:
    return open3d.t.geometry.Image(np.ascontiguousarray(values, np.float32))


def _noise(surface: Surface, views: Sequence[ObjectView]) -> float:
    """Return the standard deviation of measured depth against a surface, by its median."""
    off = [np.zeros(0)]
    for view in views:
        z, pixels, _ = view.seen(surface.vertices)
        off.append(np.abs(view.depth.take(pixels) - z)[view.mask.take(pixels)])
    known = np.concatenate(off)
    known = known[np.isfinite(known)]
    return float(1.4826 * np.median(known)) if len(known) else 0.0
