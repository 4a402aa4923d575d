"""The things that stand on surfaces or hang before them, from depth and camera."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.segmentation.convex_objects import convex_objects
from diffseg_ros.segmentation.occluded_parts import join_occluded
from diffseg_ros.segmentation.support_surfaces import find_surfaces, Surfaces, tolerance
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.types import Frame, Intrinsics, LabelImage, SegmentKind, Segments
import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]

_WIDTH, _QUICK_WIDTH = 640, 320
_REACH = 7
_ABOVE = 0.5
_CONTACT = 0.25


class SceneObjects(NamedTuple):
    """(h, w) int32 objects from 0, -1 elsewhere, and the surfaces that they stand on."""

    labels: LabelImage
    surfaces: Surfaces

    def kinds(self, segments: LabelImage) -> tuple[SegmentKind, ...]:
        """Return what most of each of (H, W) int32 segments from 0 lies on."""
        names = tuple(SegmentKind)
        number = [0, *map(names.index, self.surfaces.kinds)]
        kind = np.array(number, np.int32).take(self.surfaces.labels + 1)
        kind[self.labels >= 0] = names.index(SegmentKind.OBJECT)
        small = resize_labels(segments, *self.labels.shape)
        count = int(segments.max()) + 1
        table = np.bincount((small * len(names) + kind).ravel(), minlength=count * len(names))
        table = table.reshape(count, len(names))
        clear = 2 * table.max(axis=1) > table.sum(axis=1)
        return tuple(names[most] for most in table.argmax(axis=1) * clear)


def frame_objects(frame: Frame) -> LabelImage:
    """
    Return (H, W) int32 objects of a frame from 0; UNLABELLED (-1) elsewhere and without depth.

    Raises DiffsegError if the frame has no depth or camera.
    """
    if frame.depth is None or frame.intrinsics is None:
        raise DiffsegError('objects: the frame has no depth or no camera; objects are found by '
                           'them (depth/ and camera.json of a data set)')
    return resize_labels(_scene(frame, frame.intrinsics, _WIDTH).labels, *frame.rgb.shape[:2])


def with_kinds(frame: Frame, segments: Segments) -> Segments:
    """Return segments that say what they are by their shape, where depth and camera tell."""
    if segments.kinds or frame.depth is None or frame.intrinsics is None:
        return segments
    scene = _scene(frame, frame.intrinsics, _QUICK_WIDTH)
    return replace(segments, kinds=scene.kinds(segments.labels))


def _scene(frame: Frame, camera: Intrinsics, width: int) -> SceneObjects:
    """Return what depth shows of a frame on a grid of at most this width."""
    height, full = frame.rgb.shape[:2]
    width = min(width, full)
    return scene_objects(token_points(frame, round(height * width / full), width), camera)


def scene_objects(points: FloatImage, camera: Intrinsics) -> SceneObjects:
    """
    Find the support surfaces, and the convex things that stand on them or hang before them.

    `points` are (h, w, 3) float32 in metres in the optical frame of `camera`, NaN where there is
    none, best on a grid 320 or 640 wide. A thing touches a surface and rises above it, or lies on
    such a thing. Where something in front hides the middle of a thing, its two parts are one.
    """
    camera = replace(camera.resized(points.shape[1], points.shape[0]), distortion=())
    surfaces = find_surfaces(points, camera)
    clear = np.isfinite(points[..., 2]) & (surfaces.labels < 0)
    pieces = convex_objects(points, clear)
    return SceneObjects(join_occluded(points, _standing(points, pieces, surfaces)), surfaces)


def _standing(points: FloatImage, pieces: LabelImage, surfaces: Surfaces) -> LabelImage:
    """
    Return the pieces that touch a surface and rise above it, from 0, -1 elsewhere.

    Things hide the surface from what lies on them, so a piece that touches such a thing and no
    surface need only rise above one.
    """
    count, known = int(pieces.max()) + 1, len(surfaces.planes)
    if not count or not known:
        return np.full_like(pieces, -1)
    at = np.flatnonzero(pieces >= 0)
    piece, place = pieces.take(at), points.reshape(-1, 3).take(at, axis=0)
    size, noise = np.bincount(piece, minlength=count), tolerance(place[:, 2])
    reach = np.ones((_REACH, _REACH), np.uint8)
    contact, above = np.zeros((2, known, count))
    for number, plane in enumerate(surfaces.planes):
        near = cv2.dilate((surfaces.labels == number).view(np.uint8), reach)
        contact[number] = np.bincount(piece, near.take(at), count)
        above[number] = np.bincount(piece, plane.heights(place) > noise, count)
    touches = contact > _CONTACT * contact.sum(axis=0)
    rises = above > _ABOVE * size
    stands = (touches & rises).any(axis=0)
    beside = cv2.dilate(np.append(stands, False)[pieces].view(np.uint8), reach)
    held = rises.any(axis=0) & ~contact.any(axis=0)
    stands |= held & (np.bincount(piece, beside.take(at), count) > 0)
    numbers = np.where(stands, np.cumsum(stands) - 1, -1).astype(np.int32)
    return np.append(numbers, np.int32(-1))[pieces]
