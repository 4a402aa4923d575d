"""What lies where the camera saw through a moment ago: it moved there by itself."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import cv2
from diffseg_ros.geometry.camera import project_depth
from diffseg_ros.tracking.tracking_frame import TrackingFrame
from diffseg_ros.tracking.warp import DEPTH_TOLERANCE, places_in_view, RELATIVE_TOLERANCE
from diffseg_ros.types import DepthImage, Mask, Matrix
import numpy as np

_COLUMNS = 128
_AGO, _LEAST_AGO, _PERIOD = 1_000_000_000, 300_000_000, 150_000_000
_AROUND, _AROUND_ESTIMATED = 3, 7
"""Cells; estimated poses drift by a cell or two in a second."""
_NOISE, _NOISE_SHARE = 0.03, 0.01


@dataclass(frozen=True)
class MovedPoints:
    """
    Which points of a frame moved within the last second, on a grid of about 128 columns.

    The (h, w) bool `moved` is set where the camera saw through the point's place before, `sure`
    where it saw so far beyond that noise is no explanation, `stayed` where it saw a surface there.
    None is set where the place was hidden or out of view, or depth is unknown. `frame` has the
    grid's depth and intrinsics, `pose` is its (4, 4) camera-to-world transform.
    """

    moved: Mask
    sure: Mask
    stayed: Mask
    frame: TrackingFrame
    pose: Matrix


@dataclass(frozen=True)
class _View:
    """A grid's frame, and its depth where each cell has that of the nearest around it."""

    frame: TrackingFrame
    pose: Matrix
    nearest: DepthImage


class FreeSpace:
    """
    Remembers where the camera saw through in the last second, and finds what came there since.

    Parallax does not deceive it, as optical flow can be: it needs depth and the camera's pose.
    Source of the visibility test: Pomerleau et al., "Long-term 3D map maintenance in dynamic
    environments", ICRA 2014.
    """

    def __init__(self) -> None:
        self._views: deque[_View] = deque()

    def clear(self) -> None:
        """Forget all views: poses have another origin now."""
        self._views.clear()

    def update(self, now: TrackingFrame, pose: Matrix) -> MovedPoints | None:
        """
        Take in a frame with depth and its (4, 4) camera-to-world pose; return what moved.

        None less than 0.15 s after the last answer. Nothing moved until a view is 0.3 s old, and
        where more of the frame moved than stayed: then the pose is wrong.
        """
        views = self._views
        # This costs a tenth of the tracking of a frame, and seldom is often enough.
        if views and 0 <= now.stamp - views[-1].frame.stamp < _PERIOD:
            return None
        frame = _grid(now)
        if views and frame.stamp < views[-1].frame.stamp:
            views.clear()
        while len(views) > 1 and frame.stamp - views[1].frame.stamp >= _AGO:
            views.popleft()
        nothing = np.zeros(frame.shape, bool)
        found = MovedPoints(nothing, nothing, nothing, frame, pose)
        if views and frame.stamp - views[0].frame.stamp >= _LEAST_AGO:
            compared = _compare(frame, pose, views[0])
            if np.count_nonzero(compared.sure) <= np.count_nonzero(compared.stayed):
                found = compared
        assert frame.depth is not None
        around = _AROUND_ESTIMATED if frame.pose is None else _AROUND
        nearest = cv2.erode(np.nan_to_num(frame.depth, posinf=0),
                            np.ones((around, around), np.uint8))
        views.append(_View(frame, pose, nearest))
        return found


def _grid(frame: TrackingFrame) -> TrackingFrame:
    """Return a frame with the depth of every so many pixels."""
    assert frame.depth is not None and frame.intrinsics is not None
    step = max(1, round(frame.shape[1] / _COLUMNS))
    depth = np.ascontiguousarray(frame.depth[::step, ::step])
    height, width = depth.shape
    camera = frame.intrinsics
    # The grid's pixels are the corners of cells, not their middles as in a resized image.
    camera = replace(camera, width=width, height=height, fx=camera.fx / step,
                     fy=camera.fy / step, cx=camera.cx / step, cy=camera.cy / step)
    return replace(frame, shape=(height, width), depth=depth, intrinsics=camera)


def _compare(frame: TrackingFrame, pose: Matrix, before: _View) -> MovedPoints:
    assert frame.depth is not None and frame.intrinsics is not None
    assert before.frame.depth is not None and before.frame.intrinsics is not None
    motion = np.linalg.inv(before.pose) @ pose
    columns, rows, z = project_depth(frame.depth, frame.intrinsics, motion,
                                     before.frame.intrinsics)
    index, inside = places_in_view(columns, rows, z, before.frame.shape)
    tolerance = np.maximum(z * np.float32(RELATIVE_TOLERANCE), np.float32(DEPTH_TOLERANCE))
    stayed = inside & (np.abs(before.frame.depth.take(index) - z) <= tolerance)
    nearer = before.nearest.take(index) - z
    moved = inside & (nearer > np.maximum(z * np.float32(_NOISE_SHARE), np.float32(_NOISE)))
    sure = moved & (nearer > z * np.float32(RELATIVE_TOLERANCE) + np.float32(DEPTH_TOLERANCE))
    return MovedPoints(moved, sure, stayed, frame, pose)
