"""Where the camera is: motion between RGB-D frames, relocalization, pose in the world."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

import cv2
from diffseg_ros.tracking.tracking_frame import FloatArray, TrackingFrame
from diffseg_ros.tracking.warp import ImageMotion, rigid_source
from diffseg_ros.types import Mask, Matrix
import numpy as np
import numpy.typing as npt

_SAMPLES = 800
_TRIALS, _BATCHES = 96, 4
_CLEAR_SHARE, _SCORED = 0.6, 200
_MINIMUM_POINTS = 30
_MINIMUM_SHARE = 0.35
_NOISE_FLOOR, _NOISE_SHARE = 0.02, 0.02
_REFINEMENTS = 3
_ORB_FEATURES = 600
_THUMBNAIL = 16, 12
_NEW_VIEW_SIMILARITY = 0.8
_KEPT_VIEWS, _RUNNERS_UP = 24, 2
_AGREEING_POINTS = 15
_SURFACE_SHARE = 0.6
_SURFACE_WIDTH = 160
_GIVE_UP_FRAMES = 300

Points = npt.NDArray[np.float64]
Positions = npt.NDArray[np.floating] | npt.NDArray[np.integer]


def camera_motion(now: TrackingFrame, before: TrackingFrame, flow: ImageMotion) -> Matrix | None:
    """
    Return the (4, 4) float64 transform from the camera now to before, None if too few agree.

    Points that optical flow pairs vote by random sampling (Fischler and Bolles 1981); least
    squares (Kabsch 1976) fit those that agree. Where the image moved too far, ORB features
    (Rublee et al., ICCV 2011) pair points. Both frames have depth and intrinsics.
    """
    found = ransac_motion(*_flow_pairs(now, before, flow))
    if found is None:
        found = ransac_motion(*orb_features(now).pairs(orb_features(before)))
    return found


def ransac_motion(here: Points, there: Points, least: int = _MINIMUM_POINTS) -> Matrix | None:
    """
    Return the (4, 4) motion that at least `least` and a third of (N, 3) pairs agree on.

    Samples are scored on about 200 pairs, and are enough once 60 % agree with one.
    """
    if len(here) < least:
        return None
    tolerance = _NOISE_FLOOR + _NOISE_SHARE * there[:, 2]
    triples = np.random.default_rng(0).integers(0, len(here), (_BATCHES, _TRIALS // _BATCHES, 3))
    some = slice(None, None, max(1, len(here) // _SCORED))
    best = -1.0
    inliers: Mask = np.zeros(len(here), bool)
    for batch in triples:
        rotations, shifts = _rigid_fit(here[batch], there[batch])
        apart = rotations @ here[some].T + shifts[:, :, None] - there[some].T
        share = (np.einsum('ijk,ijk->ik', apart, apart) < tolerance[some]**2).mean(axis=1)
        first = share.argmax()
        if share[first] > best:
            best = float(share[first])
            inliers = _agree(here, there, rotations[first], shifts[first], tolerance)
        if best >= _CLEAR_SHARE:
            break
    transform = np.eye(4)
    for _ in range(_REFINEMENTS):
        if inliers.sum() < least:
            return None
        rotation, shift = _rigid_fit(here[inliers], there[inliers])
        inliers = _agree(here, there, rotation, shift, tolerance)
        transform[:3, :3], transform[:3, 3] = rotation, shift
    if inliers.mean() < _MINIMUM_SHARE or inliers.sum() < least:
        return None
    return transform


def _agree(here: Points, there: Points, rotation: Points, shift: Points,
           tolerance: npt.NDArray[np.float64]) -> Mask:
    apart = here @ rotation.T + (shift - there)
    return np.einsum('ij,ij->i', apart, apart) < tolerance**2


def _rigid_fit(here: Points, there: Points) -> tuple[Points, Points]:
    """Return the (..., 3, 3) rotations and (..., 3) shifts between (..., N, 3) point sets."""
    centre, target = here.mean(axis=-2), there.mean(axis=-2)
    covariance = np.swapaxes(here - centre[..., None, :], -1, -2) @ (there - target[..., None, :])
    left, _, right = np.linalg.svd(covariance)
    turn = np.swapaxes(right, -1, -2)
    mirrored = np.linalg.det(turn @ np.swapaxes(left, -1, -2)) < 0
    turn[..., 2] *= np.where(mirrored, -1, 1)[..., None]
    rotation = turn @ np.swapaxes(left, -1, -2)
    return rotation, target - np.einsum('...ij,...j->...i', rotation, centre)


def _flow_pairs(now: TrackingFrame, before: TrackingFrame,
                flow: ImageMotion) -> tuple[Points, Points]:
    """Return (N, 3) points of both frames that show the same, on an even grid of the image."""
    height, width = flow.consistent.shape
    step = max(1, int(np.sqrt(height * width / _SAMPLES)))
    rows, columns = (step // 2 + step * places for places in np.nonzero(
        flow.consistent[step // 2::step, step // 2::step]))
    steps = flow.backward[rows, columns]
    return _both_finite(
        _points(now, rows, columns, (height, width)),
        _points(before, rows + steps[:, 1], columns + steps[:, 0], (height, width)))


def _points(frame: TrackingFrame, rows: Positions, columns: Positions,
            small: tuple[int, ...]) -> Points:
    """Return (N, 3) points at positions of an image of a small shape, NaN without depth."""
    row, column = (
        np.rint((positions + 0.5) * (size / small_size) - 0.5).astype(int).clip(0, size - 1)
        for positions, size, small_size in zip((rows, columns), frame.shape, small, strict=True))
    return frame.points(row, column).astype(np.float64)


def _both_finite(here: Points, there: Points) -> tuple[Points, Points]:
    both = np.isfinite(here).all(axis=1) & np.isfinite(there).all(axis=1)
    return here[both], there[both]


@dataclass(frozen=True)
class OrbFeatures:
    """The (N, 3) points of a frame's corners, NaN without depth, and (N, 32) uint8 descriptors."""

    points: Points
    descriptors: npt.NDArray[np.uint8]

    def pairs(self, other: OrbFeatures) -> tuple[Points, Points]:
        """Return (M, 3) points of both frames whose surroundings match, wherever they are."""
        if not len(self.descriptors) or not len(other.descriptors):
            return np.zeros((0, 3)), np.zeros((0, 3))
        matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        pairs = matcher.match(self.descriptors, other.descriptors)
        return _both_finite(self.points[[pair.queryIdx for pair in pairs]],
                            other.points[[pair.trainIdx for pair in pairs]])


def orb_features(frame: TrackingFrame) -> OrbFeatures:
    """Return the corners of a frame with depth and intrinsics."""
    corners, descriptors = cv2.ORB.create(_ORB_FEATURES).detectAndCompute(frame.grey, None)
    if descriptors is None:
        return OrbFeatures(np.zeros((0, 3)), np.zeros((0, 32), np.uint8))
    columns, rows = np.array([corner.pt for corner in corners]).T
    return OrbFeatures(_points(frame, rows, columns, frame.grey.shape), descriptors)


@dataclass(frozen=True)
class _ReferenceView:
    thumbnail: FloatArray
    features: OrbFeatures
    small: TrackingFrame
    pose: Matrix

    def similarity(self, thumbnail: FloatArray) -> float:
        """Return the correlation with the thumbnail of another view."""
        return float(np.vdot(self.thumbnail, thumbnail))


class Relocalizer:
    """
    Finds the camera's pose again by a few of the views that it had.

    Thumbnails choose views; corners with depth must agree on one motion, and surfaces meet.
    """

    def __init__(self) -> None:
        self._views: deque[_ReferenceView] = deque(maxlen=_KEPT_VIEWS)

    def __len__(self) -> int:
        return len(self._views)

    def remember(self, frame: TrackingFrame, pose: Matrix) -> None:
        """Keep a frame with depth and its (4, 4) camera-to-world pose, if it is a new view."""
        thumbnail = _thumbnail(frame)
        if all(view.similarity(thumbnail) < _NEW_VIEW_SIMILARITY for view in self._views):
            self._views.append(_ReferenceView(thumbnail, orb_features(frame), _small(frame), pose))

    def find(self, frame: TrackingFrame, attempt: int = 0) -> Matrix | None:
        """
        Return the (4, 4) camera-to-world pose of a frame with depth, None if unknown.

        Two views are tried, to be fast: the most similar and, by `attempt`, one of the next two.
        """
        if not self._views:
            return None
        thumbnail = _thumbnail(frame)
        views = sorted(self._views, key=lambda view: -view.similarity(thumbnail))
        features, small = orb_features(frame), _small(frame)
        for view in [views[0], *views[1 + attempt % _RUNNERS_UP:][:1]]:
            motion = ransac_motion(*features.pairs(view.features), _AGREEING_POINTS)
            if motion is not None and rigid_source(small, view.small, motion)[1] >= _SURFACE_SHARE:
                return view.pose @ motion
        return None


def _small(frame: TrackingFrame) -> TrackingFrame:
    """Return a frame with so few pixels that surfaces can just be compared."""
    rows = max(2, round(frame.shape[0] * _SURFACE_WIDTH / frame.shape[1]))
    return frame.resized((rows, _SURFACE_WIDTH))


def _thumbnail(frame: TrackingFrame) -> FloatArray:
    """Return a small image of mean 0 and length 1."""
    small = cv2.resize(frame.grey, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return small / np.maximum(np.linalg.norm(small), 1e-6).astype(np.float32)


class CameraState(Enum):
    """
    What is known of the camera's pose in the world that positions are kept in.

    TRACKING: the world is that of the frame before, or there is none yet. RESET: it begins here,
    or ends, and earlier positions mean nothing. LOST: the camera's place in it is unknown.
    RELOCALIZED: the camera is found in it again.
    """

    TRACKING = 'tracking'
    RESET = 'reset'
    LOST = 'lost'
    RELOCALIZED = 'relocalized'


class CameraLocalizer:
    """
    Follows the camera's pose in the world, by given poses or by its motion summed up.

    Where the motion is unknown the camera is lost: nothing has a position until a view is known
    again, or a pose is given in a world that began with poses. After 300 frames another world
    begins. `pose` is the last (4, 4) camera-to-world transform, None if unknown.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.pose: Matrix | None = None
        self._posed = False
        self._lost_frames = 0
        self._relocalizer = Relocalizer()

    def update(self, frame: TrackingFrame, motion: Matrix | None, *,
               use_depth: bool) -> CameraState:
        """
        Take in a frame and the (4, 4) motion from the camera now to before, if known.

        A pose of the frame wins over it; only with `use_depth` is it localized without one.
        """
        if frame.pose is not None:
            return self._take_pose(frame.pose)
        if self.pose is not None and motion is not None:
            self.pose = self.pose @ motion
            self._relocalizer.remember(frame, self.pose)
            return CameraState.TRACKING
        if use_depth:
            self.pose = self._relocalizer.find(frame, self._lost_frames)
            if self.pose is not None:
                self._lost_frames = 0
                return CameraState.RELOCALIZED
        self.pose = None
        self._lost_frames += 1
        has_world = self._posed or len(self._relocalizer) > 0
        if has_world and self._lost_frames <= _GIVE_UP_FRAMES:
            return CameraState.LOST
        self._start()
        if use_depth:
            self.pose = np.eye(4)
            self._relocalizer.remember(frame, self.pose)
        return CameraState.RESET if use_depth or has_world else CameraState.TRACKING

    def _take_pose(self, pose: Matrix) -> CameraState:
        state = CameraState.TRACKING
        if not self._posed:
            state = CameraState.RESET
        elif self._lost_frames:
            state = CameraState.RELOCALIZED
        self.pose, self._posed, self._lost_frames = pose, True, 0
        return state
