"""Planes that an object is symmetric about, as far as its views can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffseg_ros.mapping.object_surface import MeasuredObject
from diffseg_ros.mapping.object_views import Points
from diffseg_ros.mapping.support_plane import support_normal
from diffseg_ros.mapping.view_evidence import evidence
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

LEAST_SUPPORT = 0.2
"""Share of an object, away from the plane, that must be seen on both sides of it."""
OBLIQUE_SUPPORT = 0.3
"""The same for a plane that is not perpendicular to a better one: only round things have both."""
MOST_FREE = 0.05
"""Share of the reflected points that may lie where there can be no surface."""

_SAMPLE, _FEW = 1000, 120
_UPRIGHT, _ANY = 72, 200
"""Directions that are tried where the support is known, and where it is not."""
_OFFSETS = 25
_OFFSET_RANGE = 0.1, 0.9
_JUDGED_PER_DIRECTION, _JUDGED = 3, 120
_REFINED, _ROUNDS = 12, 4
_SPARSE = 3
"""Every so many points judge planes that are not final."""
_FIRST_TURN = np.deg2rad(2.5)
_APART = 2.0
"""Tolerances from the plane below which a point is no evidence: its image is near itself."""
_LEAST_APART = 0.3
_ALIKE, _PERPENDICULAR = np.cos(np.deg2rad([10, 80]))

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SymmetryPlane:
    """
    A plane, and how the object fits its image in it.

    Attributes
    ----------
    normal
        (3,) unit vector.
    offset
        Metres: points x of the plane have normal @ x = offset.
    residual
        Mean distance in metres from the measured surface of the reflected points that cameras
        would have seen; a tenth of the object's extent counts at most.
    free
        Share of the reflected points that lie where a camera saw through, or another surface is.
    support
        Share of the points away from the plane whose image lies on the measured surface.
    tolerance
        Residual in metres up to which the plane fits.

    """

    normal: Vector
    offset: float
    residual: float
    free: float
    support: float
    tolerance: float

    @property
    def fits(self) -> bool:
        """Whether the object may be completed by this plane."""
        return (self.residual <= self.tolerance and self.free <= MOST_FREE
                and self.support >= LEAST_SUPPORT)

    @property
    def merit(self) -> float:
        """The higher the better; to compare planes of one object."""
        return self.support - self.residual / self.tolerance - self.free / MOST_FREE

    def moved(self, shift: Vector) -> SymmetryPlane:
        """Return the plane of the object moved by (3,) metres."""
        return replace(self, offset=self.offset + float(self.normal @ shift))

    def reflect(self, points: Points) -> Points:
        """Return the (N, 3) images of points."""
        return points - 2 * (points @ self.normal - self.offset)[:, None] * self.normal


def symmetry_planes(measured: MeasuredObject) -> list[SymmetryPlane]:
    """
    Return planes about which an object may be symmetric, the best first; they need not fit.

    Planes perpendicular to what the object stands on are tried, of any direction where that is
    not known. Those that reflect most points onto the measured surface are judged by what the
    views saw, and the best of these are moved a little to where they fit best. Of planes
    within 10 degrees of each other the best is returned. Boxes have two that are perpendicular:
    one that is so to the best plane, and fits, is the second, though others may fit better.

    Sources: Bohg et al., "Mind the gap - robotic grasping under incomplete observation", ICRA 2011
    (planes perpendicular to the support); Thrun and Wegbreit, "Shape from Symmetry", ICCV 2005
    (judging by free, seen and hidden points).
    """
    vertices = measured.surface.vertices
    seen = evidence(vertices, measured.views, measured.voxel, measured.noise)
    sound = np.flatnonzero(~seen.contradicted)
    if len(sound) < _FEW:
        return []
    sample = vertices[np.random.default_rng(0).permutation(sound)[:_SAMPLE]]
    judge = _Judge(measured, sample)
    up = support_normal(measured)
    planes = judge.planes(*_promising(judge, _directions(up)), every=_SPARSE)
    planes = _distinct(judge.refined(_distinct(planes)[:_REFINED], up, _FIRST_TURN))
    if up is None or not planes or not planes[0].fits:
        return planes
    across = np.cross(up, planes[0].normal)[None].astype(np.float64)
    tried = judge.planes(*_promising(judge, across), every=_SPARSE)
    second = _best_first(judge.refined(tried, up, 0.0))[0]
    return _apart([planes[0], second, *planes[1:]] if second.fits else planes)


def trusted_planes(planes: Sequence[SymmetryPlane]) -> list[SymmetryPlane]:
    """Return those that fit and, where oblique to a better one, have the support for that."""
    kept: list[SymmetryPlane] = []
    for plane in planes:
        oblique = any(abs(plane.normal @ other.normal) > _PERPENDICULAR for other in kept)
        if plane.fits and (plane.support >= OBLIQUE_SUPPORT or not oblique):
            kept.append(plane)
    return kept


def _distinct(planes: Sequence[SymmetryPlane]) -> list[SymmetryPlane]:
    """Return planes of different directions, the best first."""
    return _apart(_best_first(planes))


def _best_first(planes: Sequence[SymmetryPlane]) -> list[SymmetryPlane]:
    return sorted(planes, key=lambda plane: (not plane.fits, -plane.merit))


def _apart(planes: Sequence[SymmetryPlane]) -> list[SymmetryPlane]:
    """Return planes without those that are nearly parallel to an earlier one."""
    kept: list[SymmetryPlane] = []
    for plane in planes:
        if all(abs(plane.normal @ other.normal) < _ALIKE for other in kept):
            kept.append(plane)
    return kept


def _directions(up: Vector | None) -> Points:
    """Return (N, 3) normals: of a half circle perpendicular to `up`, or of a hemisphere."""
    if up is not None:
        one, other = _tangents(up)
        angle = np.pi * np.arange(_UPRIGHT)[:, None] / _UPRIGHT
        return np.cos(angle) * one + np.sin(angle) * other
    height = (np.arange(_ANY) + 0.5) / _ANY
    angle, ring = np.arange(_ANY) * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def _tangents(normal: Vector) -> tuple[Vector, Vector]:
    """Return two unit vectors perpendicular to a unit vector and to each other."""
    one = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    one /= np.linalg.norm(one)
    other = np.cross(normal, one)
    return one.astype(np.float64), other.astype(np.float64)


def _promising(judge: _Judge, directions: Points) -> tuple[Points, Vector]:
    """Return normals and offsets of the planes that reflect most points onto the surface."""
    along = directions @ judge.sample.T
    low, high = along.min(axis=1, keepdims=True), along.max(axis=1, keepdims=True)
    offsets = low + np.linspace(*_OFFSET_RANGE, _OFFSETS) * (high - low)
    counts = judge.matches(np.repeat(directions, _OFFSETS, axis=0), offsets.ravel())
    counts = counts.reshape(offsets.shape)
    best = np.argsort(-counts, axis=1, kind='stable')[:, :_JUDGED_PER_DIRECTION]
    row, column = np.repeat(np.arange(len(directions)), best.shape[1]), best.ravel()
    most = np.argsort(-counts[row, column], kind='stable')[:_JUDGED]
    return directions[row[most]], offsets[row[most], column[most]]


class _Judge:
    """Judges planes of one object by points of its surface."""

    def __init__(self, measured: MeasuredObject, sample: Points) -> None:
        self.sample = sample
        self._measured = measured
        self._tree = cKDTree(measured.surface.vertices)
        self._most = float(np.ptp(sample, axis=0).max()) / 10

    def matches(self, normals: Points, offsets: Vector) -> npt.NDArray[np.int64]:
        """Return for (K,) planes how many points away from them have an image on the surface."""
        side, images = _images(self.sample[:_FEW], normals, offsets)
        near = 2 * self._measured.tolerance
        distances = self._tree.query(images, distance_upper_bound=near)[0].reshape(side.shape)
        return np.count_nonzero(np.isfinite(distances) & (np.abs(side) > near), axis=1)

    def planes(self, normals: Points, offsets: Vector, every: int = 1) -> list[SymmetryPlane]:
        """Return the (K,) planes with how well they fit, by every so many points."""
        measured = self._measured
        side, images = _images(self.sample[::every], normals, offsets)
        farthest = max(self._most, 2 * measured.tolerance)  # beyond, how far does not count
        distances = self._tree.query(images, distance_upper_bound=farthest)[0].reshape(side.shape)
        seen = evidence(images, measured.views, measured.voxel, measured.noise)
        exposed = seen.exposed.reshape(side.shape)
        far = np.where(exposed, np.minimum(distances, self._most), 0).sum(axis=1)
        count = np.count_nonzero(exposed, axis=1)
        residual = np.where(count > 0, far / np.maximum(count, 1), self._most)
        free = seen.contradicted.reshape(side.shape).mean(axis=1)
        apart = np.abs(side) > _APART * measured.tolerance
        enough = apart.mean(axis=1) >= _LEAST_APART
        matched = np.count_nonzero(apart & (distances <= measured.tolerance), axis=1)
        support = np.where(enough, matched / np.maximum(np.count_nonzero(apart, axis=1), 1), 0)
        return [SymmetryPlane(normals[index], float(offsets[index]), float(residual[index]),
                              float(free[index]), float(support[index]), measured.tolerance)
                for index in range(len(normals))]

    def refined(self, planes: list[SymmetryPlane], up: Vector | None,
                first_turn: float) -> list[SymmetryPlane]:
        """
        Return each plane turned and moved a little, in ever smaller steps, to fit best.

        It is turned about `up`, where that is known, by `first_turn` radians at first.
        """
        for number in range(_ROUNDS):
            turn, shift = (first / 2**number for first in (first_turn, self._measured.tolerance))
            tried = [_neighbours(plane, up, turn, shift) for plane in planes]
            judged = self.planes(np.concatenate([normals for normals, _ in tried]),
                                 np.concatenate([offsets for _, offsets in tried]),
                                 _SPARSE if number < _ROUNDS - 1 else 1)
            share = len(judged) // len(planes)
            planes = [max(judged[first:first + share], key=lambda plane: plane.merit)
                      for first in range(0, len(judged), share)]
        return planes


def _neighbours(plane: SymmetryPlane, up: Vector | None, turn: float, shift: float
                ) -> tuple[Points, Vector]:
    """Return a plane and those turned by an angle and moved by metres, both ways."""
    axes = [np.cross(up, plane.normal)] if up is not None else _tangents(plane.normal)
    steps = np.array([-1, 0, 1])
    turns = np.stack(np.meshgrid(*[steps * turn] * len(axes)), axis=-1).reshape(-1, len(axes))
    normals = plane.normal + turns @ np.array(axes)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return (np.repeat(normals, len(steps), axis=0),
            plane.offset + np.tile(steps * shift, len(normals)))


def _images(points: Points, normals: Points, offsets: Vector) -> tuple[Points, Points]:
    """Return the (K, N) distances of N points from K planes, and their (K * N, 3) images."""
    side = normals @ points.T - offsets[:, None]
    images = points - 2 * side[..., None] * normals[:, None]
    return side, images.reshape(-1, 3)
