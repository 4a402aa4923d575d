"""One object of a recording as a mesh: what was measured, and what its symmetry adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffseg_ros.mapping.object_surface import fuse, MeasuredObject, Surface
from diffseg_ros.mapping.object_views import ObjectView
from diffseg_ros.mapping.symmetry import (
    LEAST_SUPPORT,
    MOST_FREE,
    symmetry_planes,
    SymmetryPlane,
    trusted_planes,
)
from diffseg_ros.mapping.view_evidence import evidence
from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

COMPLETED_RGB = (70, 130, 255)
"""Colours of completed vertices are halfway between their image's and this blue."""

_LEAST_GAIN = 0.01
"""Share of the measured area below which what a plane adds is left out."""
_SIDEWAYS = 1.5


@dataclass(frozen=True)
class ObjectMesh:
    """
    The mesh of an object in the world.

    Attributes
    ----------
    surface
        Measured triangles first.
    measured
        (V,) bool: which vertices were measured.
    views
        How many views were fused.
    voxel, noise
        Metres: size of the voxels, and standard deviation of the depth.
    planes
        Those the object was completed by, in the frame of the world.
    best
        The plane that fits best, even where it does not fit; None where none could be tried.

    """

    surface: Surface
    measured: Mask
    views: int
    voxel: float
    noise: float
    planes: tuple[SymmetryPlane, ...]
    best: SymmetryPlane | None

    @property
    def completed_share(self) -> float:
        """Share of the area that was not measured."""
        areas = self.surface.areas
        return float(areas[~self.measured[self.surface.triangles[:, 0]]].sum() / areas.sum())

    @property
    def extents(self) -> tuple[float, float, float]:
        """Metres along x, y and z of the world."""
        x, y, z = np.ptp(self.surface.vertices, axis=0).tolist()
        return x, y, z

    @property
    def outcome(self) -> str:
        """What symmetry made of it, in a few words."""
        if self.planes:
            worst = max(plane.residual for plane in self.planes)
            return (f'{self.completed_share:.0%} completed by {len(self.planes)} '
                    f'symmetry plane{"s" * (len(self.planes) > 1)}, residual {worst * 1e3:.0f} mm')
        if self.best is None:
            return 'nothing completed: too little of it is seen to tell whether it is symmetric'
        best = self.best
        if best.fits:
            return 'nothing completed: its symmetry adds nothing to what was measured'
        return ('nothing completed: the best plane has a residual of '
                f'{best.residual * 1e3:.0f} mm (allowed {best.tolerance * 1e3:.0f}), '
                f'{best.free:.0%} of its image in free space (allowed {MOST_FREE:.0%}), and '
                f'{best.support:.0%} seen on both sides (needed {LEAST_SUPPORT:.0%})')

    def report(self) -> dict[str, Any]:
        """Return what the JSON report has of an object; lengths in metres."""
        best = self.best
        return {
            'views': self.views, 'vertices': len(self.surface.vertices),
            'measured_vertices': int(np.count_nonzero(self.measured)),
            'triangles': len(self.surface.triangles), 'voxel_size': self.voxel,
            'depth_noise': self.noise, 'extents': self.extents,
            'completed_share': self.completed_share,
            'residual': best.residual if best else None,
            'residual_allowed': best.tolerance if best else None,
            'planes': [{'normal': plane.normal.tolist(), 'offset': plane.offset,
                        'residual': plane.residual, 'free_share': plane.free,
                        'support': plane.support} for plane in self.planes]}


def object_mesh(views: Sequence[ObjectView]) -> ObjectMesh:
    """
    Return the mesh of the object that views show, with the sides that its symmetry tells of.

    Raises DiffsegError where the views give no surface.
    """
    measured = fuse(views)
    planes = symmetry_planes(measured)
    surface, is_measured, used = _completed(measured, planes)
    origin = measured.origin
    surface = Surface(surface.vertices + origin, surface.triangles, surface.rgb)
    used, best = ([plane.moved(origin) for plane in some] for some in (used, planes[:1]))
    return ObjectMesh(surface, is_measured, len(measured.views), measured.voxel, measured.noise,
                      tuple(used), best[0] if best else None)


def _completed(measured: MeasuredObject, planes: Sequence[SymmetryPlane]
               ) -> tuple[Surface, Mask, list[SymmetryPlane]]:
    """
    Return the completed surface, which vertices were measured, and the planes that added to it.

    An image is added where no surface is yet and no view speaks against one.
    """
    whole, used = measured.surface, []
    count, area = len(whole.vertices), measured.surface.areas.sum()
    for plane in trusted_planes(planes):
        part = _image(measured, plane, whole)
        if part.areas.sum() >= _LEAST_GAIN * area:
            whole = _joined(whole, part)
            used.append(plane)
    return whole, np.arange(len(whole.vertices)) < count, used


def _image(measured: MeasuredObject, plane: SymmetryPlane, known: Surface) -> Surface:
    """Return what of a surface's image in a plane is new against a known one, and possible."""
    surface = measured.surface
    image = Surface(plane.reflect(surface.vertices), surface.triangles[:, ::-1],
                    _tinted(surface.rgb))
    seen = evidence(image.vertices, measured.views, measured.voxel, measured.noise)
    new = ~_covered(image, known, _SIDEWAYS * measured.voxel, 2 * measured.tolerance)
    triangles = surface.triangles
    # A triangle across the seam is kept: a small overlap instead of a gap.
    possible = seen.viewed & ~seen.contradicted
    kept = np.any(new[triangles], axis=1) & np.all(possible[triangles], axis=1)
    return image.with_triangles(kept).without_small_parts(_LEAST_GAIN)


def _covered(surface: Surface, known: Surface, sideways: float, height: float) -> Mask:
    """
    Return which vertices lie over or under a known surface that faces the same way.

    They are at most `sideways` metres beside one of its vertices, and `height` above or below.
    """
    nearest = cKDTree(known.vertices).query(surface.vertices)[1]
    normals = known.normals[nearest]
    away = surface.vertices - known.vertices[nearest]
    above = (away * normals).sum(axis=1)
    beside = np.linalg.norm(away - above[:, None] * normals, axis=1)
    alike = (surface.normals * normals).sum(axis=1) > 0
    return alike & (beside <= sideways) & (np.abs(above) <= height)


def _joined(one: Surface, other: Surface) -> Surface:
    return Surface(np.concatenate([one.vertices, other.vertices]),
                   np.concatenate([one.triangles, other.triangles + np.int32(len(one.vertices))]),
                   np.concatenate([one.rgb, other.rgb]))


def _tinted(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return ((rgb.astype(np.uint16) + np.array(COMPLETED_RGB, np.uint16)) // 2).astype(np.uint8)
