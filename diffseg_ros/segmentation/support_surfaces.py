"""What things stand on and before: floors, tables, walls and ceilings, as planes in the depth."""

from __future__ import annotations

from typing import NamedTuple

import cv2
from diffseg_ros.segmentation.region_planes import block_moments, planes
from diffseg_ros.types import Intrinsics, LabelImage, Mask, SegmentKind
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

DISPARITY_NOISE = 1.425e-3
"""
Random error of the inverse depth in 1/m, the same at all depths; half the step between two values.

Of the depth itself it is 1.425e-3 * depth^2. Source: Khoshelham and Elberink, "Accuracy and
Resolution of Kinect Depth Data for Indoor Mapping Applications", Sensors 2012.
"""

_CLEAR = 5.0
"""Multiples of the noise from which on a point is off a plane."""
_CELLS = 15, 20
_SAMPLES = 60
_TRIES, _REFITS = 24, 3
_LEAST_SHARE = 0.02
_LEAST_AREA = 0.15
_SHARE_BEYOND = 0.02
_ALIKE = np.cos(np.radians(30))
_LEVEL = np.cos(np.radians(15))
_UPRIGHT = np.cos(np.radians(60))
_OVERHEAD = np.cos(np.radians(45))
_WINDOW = 7
_OPENING = 3


class Plane(NamedTuple):
    """Points p with normal @ p = offset; the (3,) float32 unit normal points to the camera."""

    normal: FloatImage
    offset: float

    def heights(self, points: FloatImage) -> FloatImage:
        """Return the (...) heights in metres of (..., 3) points, above it towards the camera."""
        return points @ self.normal - np.float32(self.offset)


class Surfaces(NamedTuple):
    """(h, w) int32 support surfaces from 0, -1 elsewhere; what each is, and its plane."""

    labels: LabelImage
    kinds: list[SegmentKind]
    planes: list[Plane]


class _Points(NamedTuple):
    """Points, the normals of the surface there, and how far the noise moves them, in metres."""

    places: FloatImage
    normals: FloatImage
    noise: FloatImage

    def near(self, plane: Plane) -> Mask:
        return np.abs(plane.heights(self.places)) < self.noise

    def alike(self, plane: Plane) -> Mask:
        return self.normals @ plane.normal > np.float32(_ALIKE)

    def on(self, plane: Plane) -> Mask:
        return self.near(plane) & self.alike(plane)


class _Piece(NamedTuple):
    """The (h, w) pixels of a plane, their area in m^2, and the share of all points beyond it."""

    plane: Plane
    mask: Mask
    area: float
    beyond: float


def find_surfaces(points: FloatImage, camera: Intrinsics) -> Surfaces:
    """
    Find the floor, tables, walls and the ceiling.

    `points` are (h, w, 3) float32 in metres in the optical frame of `camera`, whose size they
    have, NaN where there is none. Planes with most points come first. Up is the normal of the
    largest one within 60 degrees of the image's upper side; without one, away from the largest
    within 45 degrees of its lower side, a ceiling. So a camera that looks up by more than 30
    degrees takes a wall for the floor. A level surface with nothing below it is the floor, others
    are tables, whatever they belong to; walls and ceilings have nothing behind them. Other planes
    are faces of things, but for the first. Pieces of less than 0.15 square metres are none.
    """
    pieces = _plane_pieces(points, camera)
    up = _up(pieces)
    found = Surfaces(np.full(points.shape[:2], -1, np.int32), [], [])
    for piece in pieces:
        kind = _kind(piece, up)
        if kind is None and piece is pieces[0]:
            upright = -piece.plane.normal[1] > _UPRIGHT
            kind = SegmentKind.TABLE if upright else SegmentKind.WALL
        if kind is not None:
            found.labels[piece.mask] = len(found.kinds)
            found.kinds.append(kind)
            found.planes.append(piece.plane)
    return found


def tolerance(depth: FloatImage) -> FloatImage:
    """Return how far off a plane the noise moves points at a depth, in metres."""
    return np.float32(_CLEAR * DISPARITY_NOISE) * np.square(depth)


def _up(pieces: list[_Piece]) -> FloatImage | None:
    """Return the unit normal of the largest floor or table, else of a ceiling, turned; or None."""
    for sign, least in (-1, _UPRIGHT), (1, _OVERHEAD):
        level = [piece for piece in pieces if sign * piece.plane.normal[1] > least]
        if level:
            normal = max(level, key=lambda piece: piece.area).plane.normal
            return normal if sign < 0 else -normal
    return None


def _kind(piece: _Piece, up: FloatImage | None) -> SegmentKind | None:
    level = 0.0 if up is None else piece.plane.normal @ up
    if level > _LEVEL:
        return SegmentKind.FLOOR if piece.beyond <= _SHARE_BEYOND else SegmentKind.TABLE
    if piece.beyond > _SHARE_BEYOND:
        return None
    return SegmentKind.CEILING if level < -_LEVEL else SegmentKind.WALL


def _plane_pieces(points: FloatImage, camera: Intrinsics) -> list[_Piece]:
    """Return the large pieces of planes, those of planes with most points first."""
    depth = points[..., 2]
    free = np.isfinite(depth)
    everywhere = _Points(points, surface_normals(depth, camera), tolerance(depth))
    step = max(1, round(points.shape[1] / _SAMPLES))
    thin = np.s_[step // 2::step, step // 2::step]
    known = free[thin].copy()
    sample = _Points(*(values[thin][known] for values in everywhere))
    normals, offsets = _cell_planes(points)
    away = sample.places @ normals
    away -= offsets
    fits = np.abs(away, out=away) < sample.noise[:, None]
    fits &= sample.normals @ normals > np.float32(_ALIKE)
    # As float32, whose sums of ones are exact, so that a product counts for all cells at once.
    votes = fits.astype(np.float32)
    left, total = np.ones(len(sample.noise), bool), int(free.sum())
    pieces: list[_Piece] = []
    for _ in range(_TRIES if len(offsets) else 0):
        best = (left.astype(np.float32) @ votes).argmax()
        plane, on = Plane(normals[:, best], float(offsets[best])), fits[:, best]
        for _ in range(_REFITS):
            on = left & on
            if np.count_nonzero(on) < max(_LEAST_SHARE * len(left), 3):
                return pieces
            plane = _fitted(sample.places[on])
            on = sample.on(plane)
        left &= ~on
        mask, area = _large(free & everywhere.near(plane), everywhere.alike(plane), depth, camera,
                            plane)
        if area:
            free &= ~mask
            left &= free[thin][known]
            beyond = np.count_nonzero(plane.heights(points) < -everywhere.noise) / total
            pieces.append(_Piece(plane, mask, area, beyond))
    return pieces


def _large(near: Mask, alike: Mask, depth: FloatImage, camera: Intrinsics,
           plane: Plane) -> tuple[Mask, float]:
    """Return the (h, w) pixels of the pieces of a plane that are large, and their area in m^2."""
    core = cv2.morphologyEx((near & alike).astype(np.uint8), cv2.MORPH_OPEN,
                            np.ones((_OPENING, _OPENING)))
    count, numbers = cv2.connectedComponents(core, connectivity=4)
    flat = np.flatnonzero(core)
    areas = depth.take(flat)**3 / np.float32(camera.fx * camera.fy * abs(plane.offset) + 1e-9)
    area = np.bincount(numbers.take(flat), areas, count)
    large = area >= _LEAST_AREA
    # At the foot of things the normal is that of the edge.
    grown = cv2.dilate(large.astype(np.uint8).take(numbers), np.ones((2 * _WINDOW + 1,) * 2))
    return near & (grown > 0), float(area[large].sum())


def _cell_planes(points: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Return (3, n) normals and (n,) offsets of the planes of those cells that have points."""
    centres, normals, known = planes(block_moments(points, *_CELLS))
    offsets = (normals * centres).sum(axis=0)
    return normals[:, known].astype(np.float32), offsets[known].astype(np.float32)


def _fitted(points: FloatImage) -> Plane:
    """Return the plane through (n, 3) points."""
    centre = points.mean(axis=0, dtype=np.float64)
    normal = np.linalg.eigh(np.cov(points.T))[1][:, 0]
    normal = -normal if normal @ centre > 0 else normal
    return Plane(normal.astype(np.float32), float(normal @ centre))


def mean_inverse_depth(depth: FloatImage, window: int) -> FloatImage:
    """Return the (h, w) mean of 1 / depth, in 1/m, of what is known in a square window."""
    known = np.isfinite(depth)
    total = cv2.blur(np.where(known, 1 / depth, np.float32(0)), (window, window))
    share = cv2.blur(known.astype(np.float32), (window, window))
    mean: FloatImage = total / np.maximum(share, np.float32(1e-3))
    return mean


def surface_normals(depth: FloatImage, camera: Intrinsics) -> FloatImage:
    """
    Return (h, w, 3) float32 unit normals towards the camera, wrong at steps and beside holes.

    On a plane the inverse depth is linear in the pixel; its slopes are the plane's equation.
    """
    inverse = mean_inverse_depth(depth, _WINDOW)
    across = cv2.Sobel(inverse, -1, 1, 0, scale=1 / 8)
    down = cv2.Sobel(inverse, -1, 0, 1, scale=1 / 8)
    rows, columns = np.ogrid[:depth.shape[0], :depth.shape[1]]
    ahead = (across * (columns - camera.cx).astype(np.float32)
             + down * (rows - camera.cy).astype(np.float32) - inverse)
    across *= np.float32(-camera.fx)
    down *= np.float32(-camera.fy)
    length = np.sqrt(np.square(across) + np.square(down) + np.square(ahead))
    length = np.maximum(length, np.float32(1e-12))
    return cv2.merge([across / length, down / length, ahead / length])
