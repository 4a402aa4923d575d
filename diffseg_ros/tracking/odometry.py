"""How the camera moved between two RGB-D frames, from image motion and both depths."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.tracking.flow import ImageMotion
from diffseg_ros.tracking.tracking_frame import View
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]

_SAMPLES = 800
_TRIALS = 96
_MINIMUM_POINTS = 30
_MINIMUM_SHARE = 0.35
_NOISE_FLOOR, _NOISE_SHARE = 0.02, 0.02
_REFINEMENTS = 3
_FEATURES = 600


def camera_motion(now: View, before: View, motion: ImageMotion,
                  seed: int = 0) -> npt.NDArray[np.float64] | None:
    """
    Estimate the rigid motion that carries most points of one frame onto the other.

    Points that image motion pairs, with depth in both frames, vote by random sampling
    (Fischler and Bolles 1981); the agreeing ones give the motion by least squares (Kabsch 1976).
    Where the image moved too far for that, ORB features (Rublee et al., ICCV 2011) pair points.

    Parameters
    ----------
    now, before
        Both with depth and intrinsics.
    motion
        Image motion between them.
    seed
        Of the sampling; the same input gives the same motion.

    Returns
    -------
    numpy.ndarray or None
        (4, 4) float64 from the camera now to the camera before, or None where too few points
        agree on one.

    """
    found = consensus(*_paired_by_motion(now, before, motion), seed)
    if found is None:
        found = consensus(*features(now).paired(features(before)), seed)
    return found


def consensus(here: Points, there: Points, seed: int = 0, *,
              least: int = _MINIMUM_POINTS) -> Points | None:
    """
    Return the (4, 4) motion that most of (N, 3) paired points agree on.

    None where fewer than `least` or than a third do.
    """
    if len(here) < least:
        return None
    tolerance = _NOISE_FLOOR + _NOISE_SHARE * there[:, 2]
    rng = np.random.default_rng(seed)
    triples = rng.integers(0, len(here), (_TRIALS, 3))
    rotations, shifts = _rigid(here[triples], there[triples])
    moved = rotations @ here.T + shifts[:, :, None]
    agrees = np.linalg.norm(moved - there.T, axis=1) < tolerance
    inliers = agrees[agrees.sum(axis=1).argmax()]
    rotation: Points = np.eye(3)
    shift: Points = np.zeros(3)
    for _ in range(_REFINEMENTS):
        if inliers.sum() < least:
            return None
        rotation, shift = _rigid(here[inliers], there[inliers])
        inliers = np.linalg.norm(here @ rotation.T + shift - there, axis=1) < tolerance
    if inliers.mean() < _MINIMUM_SHARE or inliers.sum() < least:
        return None
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, shift
    return transform


def _paired_by_motion(now: View, before: View, motion: ImageMotion) -> tuple[Points, Points]:
    """Return (N, 3) points of both frames that show the same, on an even grid of the image."""
    rows, columns = np.nonzero(motion.consistent)
    height, width = motion.consistent.shape
    step = max(1, int(np.sqrt(height * width / _SAMPLES)))
    even = (rows % step == step // 2) & (columns % step == step // 2)
    rows, columns = rows[even], columns[even]
    steps = motion.backward[rows, columns]
    scale = now.shape[0] / height, now.shape[1] / width
    here = _points(now, rows, columns, scale)
    there = _points(before, rows + steps[:, 1], columns + steps[:, 0], scale)
    both = np.isfinite(here).all(axis=1) & np.isfinite(there).all(axis=1)
    return here[both], there[both]


@dataclass(frozen=True)
class Features:
    """The (N, 3) places of a view's corners, NaN without depth, and their (N, 32) uint8 words."""

    points: Points
    words: npt.NDArray[np.uint8]

    def paired(self, other: Features) -> tuple[Points, Points]:
        """Return (M, 3) points of both views whose surroundings look alike, wherever they are."""
        if not len(self.words) or not len(other.words):
            return np.zeros((0, 3)), np.zeros((0, 3))
        pairs = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(self.words, other.words)
        points = self.points[[pair.queryIdx for pair in pairs]]
        partners = other.points[[pair.trainIdx for pair in pairs]]
        both = np.isfinite(points).all(axis=1) & np.isfinite(partners).all(axis=1)
        return points[both], partners[both]


def features(view: View) -> Features:
    """Return the corners of a view with depth and intrinsics."""
    corners, words = cv2.ORB.create(_FEATURES).detectAndCompute(view.grey, None)
    if words is None:
        return Features(np.zeros((0, 3)), np.zeros((0, 32), np.uint8))
    places = np.array([corner.pt for corner in corners]).reshape(-1, 2)
    scale = view.shape[0] / view.grey.shape[0], view.shape[1] / view.grey.shape[1]
    return Features(_points(view, places[:, 1], places[:, 0], scale), words)


def _points(view: View, rows: npt.NDArray[np.floating] | npt.NDArray[np.integer],
            columns: npt.NDArray[np.floating] | npt.NDArray[np.integer],
            scale: tuple[float, float]) -> Points:
    """Return (N, 3) points at positions of the small image, NaN where there is no depth."""
    assert view.depth is not None and view.intrinsics is not None
    row = np.rint((rows + 0.5) * scale[0] - 0.5).astype(int).clip(0, view.shape[0] - 1)
    column = np.rint((columns + 0.5) * scale[1] - 0.5).astype(int).clip(0, view.shape[1] - 1)
    depth = view.depth[row, column]
    ray_x, ray_y = (np.broadcast_to(table, view.shape)[row, column]
                    for table in ray_table(view.intrinsics))
    return np.stack([ray_x * depth, ray_y * depth, depth], axis=1).astype(np.float64)


def _rigid(here: Points, there: Points) -> tuple[Points, Points]:
    """Return the (..., 3, 3) rotations and (..., 3) shifts between (..., N, 3) point sets."""
    centre, target = here.mean(axis=-2), there.mean(axis=-2)
    covariance = np.swapaxes(here - centre[..., None, :], -1, -2) @ (there - target[..., None, :])
    left, _, right = np.linalg.svd(covariance)
    turn = np.swapaxes(right, -1, -2)
    mirrored = np.linalg.det(turn @ np.swapaxes(left, -1, -2)) < 0
    turn[..., 2] *= np.where(mirrored, -1, 1)[..., None]
    rotation = turn @ np.swapaxes(left, -1, -2)
    return rotation, target - np.einsum('...ij,...j->...i', rotation, centre)
