"""The best views of chosen objects in a recording: crops with depth, mask and pose."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
from diffseg_ros.geometry.camera import rectify, unproject_pixels, visible_pixels
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.point_cloud import CloudConfig, usable_depth
from diffseg_ros.types import (
    DepthImage,
    Frame,
    Intrinsics,
    LabelImage,
    Mask,
    Matrix,
    RgbImage,
    Track,
)
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
"""(N, 3) metres."""

MOST_VIEWS = 24
"""Views kept of an object."""

_LEAST_PIXELS = 60
_CUT_COUNTS = 0.25
"""A view of a part of the object counts as one with this share of its pixels."""
_LEAST_SHARE = 0.1
"""Views with less than this share of the best one's pixels are not used."""
_MARGIN, _LEAST_MARGIN = 0.5, 8
_EDGE = 0.03
"""Step to a neighbouring pixel, as a share of the depth, from which on it is an edge."""
_AROUND = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class ObjectView:
    """
    What a frame shows of an object and around it, without lens distortion.

    Attributes
    ----------
    rgb
        (h, w, 3) uint8.
    depth
        (h, w) float32 metres, NaN where it was not measured and at its edges.
    mask
        (h, w) bool, the pixels of the object.
    intrinsics
        Of the crop.
    pose
        (4, 4) camera to world.
    whole
        Whether the border of the image does not cut the object.

    """

    rgb: RgbImage
    depth: DepthImage
    mask: Mask
    intrinsics: Intrinsics
    pose: Matrix
    whole: bool = True

    @cached_property
    def measured(self) -> DepthImage:
        """(h, w) float32 depth of the object, 0 elsewhere and at the rim of the mask."""
        inner = cv2.erode(self.mask.astype(np.uint8), _AROUND) > 0
        return np.where(inner, np.nan_to_num(self.depth), np.float32(0))

    @cached_property
    def pixels(self) -> int:
        """How many pixels have measured depth of the object."""
        return int(np.count_nonzero(self.measured))

    @property
    def points(self) -> Points:
        """(N, 3) measured points of the object in the world; computed anew each time."""
        rows, columns = np.nonzero(self.measured)
        local = unproject_pixels(self.depth, self.intrinsics, rows, columns)
        return local @ self.pose[:3, :3].T + self.pose[:3, 3]

    @cached_property
    def direction(self) -> npt.NDArray[np.float64]:
        """(3,) unit vector from the object to the camera, in the world."""
        away = self.pose[:3, 3] - np.median(self.points, axis=0)
        return away / np.linalg.norm(away)

    @cached_property
    def nearest(self) -> DepthImage:
        """(h, w) float32: the nearest depth at and around each pixel, 0 where one has none."""
        return cv2.erode(np.nan_to_num(self.depth), _AROUND)

    def seen(self, points: Points) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp],
                                            npt.NDArray[np.intp]]:
        """
        Return how far points are from the camera, along its axis, and the pixels they fall on.

        Of (N, 3) points in the world those in view: metres, flat indices of pixels, and which
        points they are.
        """
        turn = self.pose[:3, :3].astype(np.float32)
        local: npt.NDArray[np.float32] = (points - self.pose[:3, 3]).astype(np.float32) @ turn
        rows, columns, which = visible_pixels(local, self.intrinsics)
        pixels = np.ravel_multi_index((rows, columns), self.depth.shape)
        return local[which, 2], pixels, which

    @property
    def worth(self) -> float:
        """Pixels, less where the object is cut."""
        return self.pixels * (1.0 if self.whole else _CUT_COUNTS)


class ObjectViews:
    """
    Collects views of the objects with some ids, at most 24 of each.

    Of the two views whose directions are the nearest to each other the one that shows less goes.
    Depth that a model predicted is no measurement. While an object moves it gives no view, and
    views of before do not fit those of after: of the times at rest the one that shows most counts.
    """

    def __init__(self, ids: Collection[int], config: CloudConfig | None = None) -> None:
        self._ids = sorted(set(ids))
        self._config = config or CloudConfig()
        self._views: dict[int, list[ObjectView]] = {number: [] for number in self._ids}
        self._before: dict[int, list[ObjectView]] = {number: [] for number in self._ids}
        self._frames = dict.fromkeys(self._ids, 0)

    def add(self, frame: Frame, labels: LabelImage, pose: Matrix,
            tracks: Iterable[Track] = ()) -> None:
        """
        Take what a frame shows; one without depth or intrinsics shows nothing.

        `labels` are (H, W) ids of the same view, `pose` is the (4, 4) camera-to-world transform.
        Raises DiffsegError when the distortion model is not supported.
        """
        present = [number for number in self._ids if (labels == number).any()]
        if not present or frame.depth is None or frame.intrinsics is None:
            return
        moving = {track.id for track in tracks if track.moving}
        whole = _whole_view(frame, pose, self._config)
        for number in present:
            self._frames[number] += 1
            if number in moving:
                self._before[number] = self._longest(number)
                self._views[number] = []
                continue
            view = _crop(whole, labels == number, frame.intrinsics)
            if view is not None:
                self._views[number] = _chosen([*self._views[number], view])

    def views(self, number: int) -> list[ObjectView]:
        """Return the views kept of an object, in the order of their time."""
        views = self._longest(number)
        best = max((view.pixels for view in views), default=0)
        return [view for view in views if view.pixels >= _LEAST_SHARE * best]

    def frames(self, number: int) -> int:
        """Return in how many frames with depth and pose an object was in view."""
        return self._frames[number]

    def _longest(self, number: int) -> list[ObjectView]:
        return max(self._views[number], self._before[number],
                   key=lambda views: sum(view.pixels for view in views))


def _whole_view(frame: Frame, pose: Matrix, config: CloudConfig) -> ObjectView:
    """Return a frame without distortion, at the size of its depth, with an empty mask."""
    assert frame.depth is not None and frame.intrinsics is not None
    height, width = frame.depth.shape
    camera = frame.intrinsics.resized(width, height)
    depth = usable_depth(frame.depth, config)
    if frame.depth_confidence is not None:
        depth[frame.depth_confidence < 1] = np.nan
    depth = rectify(depth, camera, cv2.INTER_NEAREST)
    return ObjectView(rectify(resize_labels(frame.rgb, height, width), camera),
                      _without_edges(depth), np.zeros(depth.shape, bool),
                      replace(camera, distortion=()), pose)


def _without_edges(depth: DepthImage) -> DepthImage:
    """Return depth that is NaN at steps, where a pixel may mix what is near and what is far."""
    valid = depth > 0
    farthest = cv2.dilate(np.where(valid, depth, 0), _AROUND)
    nearest = cv2.erode(np.where(valid, depth, np.float32(np.inf)), _AROUND)
    return np.where(valid & (farthest - nearest <= _EDGE * nearest), depth, np.float32(np.nan))


def _crop(frame: ObjectView, mask: Mask, camera: Intrinsics) -> ObjectView | None:
    """Return the part of a frame around a mask, None where too little of it is measured."""
    height, width = frame.depth.shape
    small = resize_labels(mask, height, width).astype(np.uint8)
    mask = rectify(small, camera.resized(width, height), cv2.INTER_NEAREST) > 0
    left, top, across, down = cv2.boundingRect(mask.astype(np.uint8))
    if not across:
        return None
    whole = left > 0 and top > 0 and left + across < width and top + down < height
    beside, above = (max(_LEAST_MARGIN, round(_MARGIN * side)) for side in (across, down))
    rows = slice(max(0, top - above), min(height, top + down + above))
    columns = slice(max(0, left - beside), min(width, left + across + beside))
    part = frame.intrinsics
    part = replace(part, width=columns.stop - columns.start, height=rows.stop - rows.start,
                   cx=part.cx - columns.start, cy=part.cy - rows.start)
    seen = frame.depth[rows, columns]
    mask = _main_surface(mask[rows, columns], seen, part.fx)
    # Copies: a view of the frame would keep the whole frame in memory.
    view = ObjectView(frame.rgb[rows, columns].copy(), seen.copy(), mask, part, frame.pose, whole)
    return view if view.pixels >= _LEAST_PIXELS else None


def _main_surface(mask: Mask, depth: DepthImage, focal: float) -> Mask:
    """
    Return a mask without parts that lie beyond a step in depth from its largest part.

    Parts stay that are no farther before or behind it than it is large. Masks that spill over
    the rim of an object show a part of what lies far behind it.
    """
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(
        (mask & np.isfinite(depth)).astype(np.uint8), connectivity=4)
    if count < 3:
        return mask.copy()
    middles = np.array([np.inf, *(np.median(depth[parts == part]) for part in range(1, count))])
    main = 1 + int(boxes[1:, cv2.CC_STAT_AREA].argmax())
    sides = boxes[main, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    near = np.abs(middles - middles[main]) <= np.hypot(*sides) * middles[main] / focal
    return mask & (near[parts] | (parts == 0))


def _chosen(views: list[ObjectView]) -> list[ObjectView]:
    """Return the views without one if they are too many."""
    if len(views) <= MOST_VIEWS:
        return views
    directions = np.array([view.direction for view in views])
    alike = directions @ directions.T - 2 * np.eye(len(views))
    pair = np.unravel_index(int(alike.argmax()), alike.shape)
    worst = min(pair, key=lambda index: views[index].worth)
    return [view for index, view in enumerate(views) if index != worst]
