"""Known depth from motion: corners seen from two known places."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
from diffseg_ros.depth.base import KnownDepth
from diffseg_ros.geometry.camera import pixel_rays, project
from diffseg_ros.types import Intrinsics, Matrix, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

_LONGEST_SIDE, _LEAST_SIDE = 640, 48
_KEPT, _STEP, _TRIES = 24, 0.02, 2
_MOST_TURNED = np.cos(np.deg2rad(40))
_BASELINE, _SPACING = 0.1, 0.01
"""Baseline that is aimed at, 6 degrees between the two rays, and that of two views; in depths."""
_CORNERS, _QUALITY, _GAP, _PATCH, _LEVELS = 400, 0.01, 8, 15, 3
_RETURNED, _REPROJECTED = 0.7, 1.0
"""Largest errors in pixels, of an image of 640."""
_TURN, _ROUNDS = np.deg2rad(0.1), 8
_LEAST_PARALLAX = np.deg2rad(1.5)
_LEAST_POINTS, _LEAST_AGREEING, _LEAST_APART = 20, 0.5, 0.5

Pixels = npt.NDArray[np.float32]
Rays = npt.NDArray[np.float64]


class _View(NamedTuple):
    grey: npt.NDArray[np.uint8]
    pose: Matrix
    intrinsics: Intrinsics

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.grey.shape
        return width, height


class Triangulator:
    """
    Gives the depth of corners of the present image, by an earlier one and the poses of both.

    At most 24 views are kept, two centimetres or a hundredth of the depth of the scene apart;
    while that is unknown, farther and farther. The one whose baseline is best for that depth is
    compared; at first the one farthest away. Corners are found in the present image and followed
    to the earlier one by pyramidal Lucas-Kanade, from where their ray leads at that depth. Kept
    are those that lead back, lie before both cameras, meet the earlier place to a pixel (which is
    the distance from the epipolar line) and are seen from directions at least 1.5 degrees apart. A
    standing or turning camera gives none.

    Sources: Shi and Tomasi, CVPR 1994, for the corners; Bouguet, "Pyramidal implementation of the
    Lucas Kanade feature tracker", 2000; Hartley and Zisserman, "Multiple view geometry", 2004,
    chapter 12.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the views, as where time or the world of the poses begins anew."""
        self._views: list[_View] = []
        self._step = _STEP
        self._depth: float | None = None

    def update(self, rgb: RgbImage, pose: Matrix, intrinsics: Intrinsics) -> KnownDepth | None:
        """
        Return the depth of some pixels of an (H, W, 3) image, None where motion tells none.

        `pose` is the (4, 4) camera-to-world transform, `intrinsics` are of the same view at any
        size. Views of another size of the image are forgotten, and all where the poses do not
        explain how the image moved: then they jumped.

        Raises DiffsegError where the distortion model is not supported.
        """
        view = _view(rgb, pose, intrinsics)
        if view is None or not np.isfinite(pose).all():
            return None
        if self._views and self._views[-1].grey.shape != view.grey.shape:
            self.reset()
        candidates = self._candidates(view)
        known = self._compared(view, candidates[:_TRIES])
        if known is not None:
            self._depth = float(np.median(known.metres))
            self._step = max(_STEP, _SPACING * self._depth)
        elif candidates:
            self._depth = None
        self._keep(view)
        return known and _at_size(known, view.size, (rgb.shape[1], rgb.shape[0]))

    def _compared(self, view: _View, candidates: list[_View]) -> KnownDepth | None:
        """
        Return what the first view tells that tells enough.

        Views that show something else are forgotten, and all if the poses jumped.
        """
        for earlier in candidates:
            known, agreeing = _triangulated(view, earlier, self._depth)
            if agreeing is None:
                self._views = [other for other in self._views if other is not earlier]
            elif agreeing < _LEAST_AGREEING:
                self.reset()
                return None
            elif len(known.metres) >= _LEAST_POINTS:
                return known
        return None

    def _keep(self, view: _View) -> None:
        if self._views and _apart(view, self._views[-1]) < self._step:
            return
        self._views.append(view)
        if len(self._views) > _KEPT:
            if self._depth is None:
                del self._views[1::2]
                self._step *= 2
            else:
                del self._views[0]

    def _candidates(self, view: _View) -> list[_View]:
        """Return the views that may show the same from elsewhere, the best first."""
        views = [other for other in self._views if _apart(view, other) >= _STEP
                 and view.pose[:3, 2] @ other.pose[:3, 2] >= _MOST_TURNED]
        if self._depth is None:
            return sorted(views, key=lambda other: -_apart(view, other))
        wanted = _BASELINE * self._depth
        return sorted(views, key=lambda other: abs(np.log(_apart(view, other) / wanted)))


def _view(rgb: RgbImage, pose: Matrix, intrinsics: Intrinsics) -> _View | None:
    """Return the image in grey, at most 640 pixels long; None of one that is too small."""
    height, width = rgb.shape[:2]
    share = min(1.0, _LONGEST_SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    if min(size) < _LEAST_SIDE:
        return None
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return _View(grey, pose, intrinsics.resized(*size))


def _apart(one: _View, other: _View) -> float:
    return float(np.linalg.norm(one.pose[:3, 3] - other.pose[:3, 3]))


def _at_size(known: KnownDepth, size: tuple[int, int], wanted: tuple[int, int]) -> KnownDepth:
    """Return pixels of an image of one (width, height) as those of another one."""
    columns, rows = (np.minimum(((part + 0.5) * other / own).astype(np.intp), other - 1)
                     for part, own, other in zip((known.columns, known.rows), size, wanted))
    return KnownDepth(rows, columns, known.metres)


def _triangulated(now: _View, before: _View,
                  depth: float | None) -> tuple[KnownDepth, float | None]:
    """
    Return the corners whose depth two views tell, and the share of those followed that fits.

    The share is None where too few were followed to tell.
    """
    motion = np.linalg.inv(before.pose) @ now.pose
    corners, ends = _pairs(now, before, motion, depth)
    if len(corners) < _LEAST_POINTS:
        none = np.zeros(0, np.intp)
        return KnownDepth(none, none, np.zeros(0, np.float32)), None
    rays, other = _rays(corners, now), _rays(ends, before)
    motion = _with_turn(motion, rays, other, before.intrinsics.fx)
    metres, parallax = _depths(rays, other, motion)
    turned = rays @ motion[:3, :3].T
    points = turned * metres[:, None] + motion[:3, 3]
    error, at_infinity = (np.linalg.norm(_seen(places, before) - ends, axis=1)
                          for places in (points, turned))
    limit = _REPROJECTED * max(before.size) / _LONGEST_SIDE
    fits = (error <= limit) & (metres > 0) & (points[:, 2] > 0)
    kept = fits & (parallax >= _LEAST_PARALLAX)
    # Where few rays are apart, it is mostly errors that set them apart.
    if kept.sum() < _LEAST_APART * fits.sum():
        kept[:] = False
    columns, rows = np.rint(corners[kept]).astype(np.intp).T
    # Far points may come to lie behind the cameras by a fraction of a pixel: these fit as well.
    return (KnownDepth(rows, columns, metres[kept].astype(np.float32)),
            float(np.mean(fits | (at_infinity <= limit))))


def _pairs(now: _View, before: _View, motion: Matrix,
           depth: float | None) -> tuple[Pixels, Pixels]:
    """Return (N, 2) columns and rows of corners now, and where these were in the view before."""
    found = cv2.goodFeaturesToTrack(now.grey, _CORNERS, _QUALITY, _GAP)
    corners: Pixels = np.zeros((0, 2), np.float32) if found is None else found[:, 0]
    # A ray of unknown depth is followed to infinity: by the turn alone.
    shift = motion[:3, 3] / depth if depth else np.zeros(3)
    guess = _seen(_rays(corners, now) @ motion[:3, :3].T + shift, before)
    inside = _inside(guess, before)
    corners, guess = corners[inside], guess[inside]
    if not len(corners):
        return corners, guess
    ends, followed = _followed(now, before, corners, guess)
    # Where a lens has no inverse there are no rays.
    followed &= np.isfinite(_rays(ends, before)).all(axis=1)
    return corners[followed], ends[followed]


def _inside(pixels: Pixels, view: _View) -> npt.NDArray[np.bool_]:
    x, y = pixels.T
    width, height = view.size
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _rays(pixels: Pixels, view: _View) -> Rays:
    """Return the (N, 3) rays through (N, 2) columns and rows, with z 1."""
    ahead = pixel_rays(pixels[:, 0], pixels[:, 1], view.intrinsics)
    return np.concatenate([ahead, np.ones((len(ahead), 1))], axis=1)


def _seen(points: Rays, view: _View) -> Pixels:
    """Return the (N, 2) columns and rows of (N, 3) points, NaN behind the camera."""
    x, y, z = points.T.astype(np.float32)
    return np.stack(project(x, y, np.where(z > 0, z, np.float32(np.nan)), view.intrinsics), axis=1)


def _followed(now: _View, before: _View, corners: Pixels,
              guess: Pixels) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Return the (N, 2) places of corners in the view before, and which lead back."""
    def follow(one: _View, other: _View, places: Pixels, start: Pixels) -> Any:
        return cv2.calcOpticalFlowPyrLK(one.grey, other.grey, places, start.copy(),
                                        winSize=(_PATCH, _PATCH), maxLevel=_LEVELS,
                                        flags=cv2.OPTFLOW_USE_INITIAL_FLOW)[:2]

    ends, there = follow(now, before, corners, guess)
    back, here = follow(before, now, ends, ends - (guess - corners))
    followed = (there[:, 0] > 0) & (here[:, 0] > 0)
    followed &= _inside(ends, before)
    limit = _RETURNED * max(before.size) / _LONGEST_SIDE
    return ends, followed & (np.linalg.norm(back - corners, axis=1) <= limit)


def _with_turn(motion: Matrix, rays: Rays, other: Rays, focal: float) -> Matrix:
    """
    Return the motion with the small turn that brings rays nearest to their epipolar planes.

    The turn of poses is often off by tenths of a degree, which are pixels. What the rays do not
    tell of it is held at 0, by counting 0.1 degrees as much as an error of one pixel.
    """
    turned, shift = rays @ motion[:3, :3].T, motion[:3, 3]
    across = np.cross(other, shift)
    slopes = np.cross(turned, across)
    # In pixels beside the epipolar line in the other image.
    size = focal / np.maximum(np.linalg.norm(np.cross(shift, turned)[:, :2], axis=1), 1e-9)
    errors, slopes = (across * turned).sum(axis=1) * -size, slopes * size[:, None]
    turn, prior = np.zeros(3), np.eye(3) / _TURN**2
    for _ in range(_ROUNDS):
        left = errors - slopes @ turn
        weights = 1 / (1 + np.square(left))
        turn = np.linalg.solve((slopes * weights[:, None]).T @ slopes + prior,
                               slopes.T @ (weights * errors))
    better = motion.copy()
    better[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ motion[:3, :3]
    return better


def _depths(rays: Rays, other: Rays, motion: Matrix) -> tuple[Rays, Rays]:
    """
    Return (N,) depths at which rays meet those of the other view best, and the angles between.

    `motion` leads from the view of `rays` to the other one. Depth times turned ray plus shift is
    parallel to the other ray: one unknown, by least squares.
    """
    turned = rays @ motion[:3, :3].T
    across = np.cross(other, turned)
    with np.errstate(divide='ignore', invalid='ignore'):
        metres = -(across * np.cross(other, motion[:3, 3])).sum(axis=1) / (across**2).sum(axis=1)
    angle = np.arctan2(np.linalg.norm(across, axis=1), (other * turned).sum(axis=1))
    return metres, angle
