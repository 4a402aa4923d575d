"""Clicks on the image or in the scene, from their messages to the object that is followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import visible_pixels
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.transforms import frame_name
from diffseg_ros.ros.camera_motion import CameraMotion
from diffseg_ros.ros.messages import stamp_of
from diffseg_ros.types import DepthImage, Frame, LabelImage, Matrix, Result, Target
import numpy as np

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_KEPT_NS, _APART_NS = 2_000_000_000, 100_000_000
_KEPT_WIDTH = 640
_MOST_WAITING = 16
_TOLERANCE, _RELATIVE_TOLERANCE = 0.1, 0.05

Point = tuple[float, float, float]
Pixel = tuple[float, float]


@dataclass(frozen=True)
class Click:
    """
    A place that somebody clicked on, at a stamp in nanoseconds.

    `place` is a point in metres in the frame `frame_id`, or x and y in pixels where that is None.
    """

    place: Point
    stamp: int
    frame_id: str | None = None

    @classmethod
    def on_point(cls, message: Any) -> Click:
        """Return the click of a PointStamped in the scene."""
        return cls(_place(message), stamp_of(message), message.header.frame_id)

    @classmethod
    def on_pixel(cls, message: Any) -> Click:
        """Return the click of a PointStamped in pixels of the image."""
        return cls(_place(message), stamp_of(message))

    def __str__(self) -> str:
        x, y, z = self.place
        if self.frame_id is None:
            return f'pixel ({x:g}, {y:g})'
        return f'point ({x:g}, {y:g}, {z:g}) in {self.frame_id!r}'


def _place(message: Any) -> Point:
    return message.point.x, message.point.y, message.point.z


@dataclass(frozen=True)
class SeenFrame:
    """
    What is kept of a frame for clicks that refer to it.

    `size` is the (height, width) of its label image; `labels` and `depth` may be smaller.
    """

    frame: Frame
    size: tuple[int, int]
    labels: LabelImage
    depth: DepthImage | None

    @classmethod
    def of(cls, result: Result) -> SeenFrame:
        """Keep at most 640 columns of a frame's labels and depth, and nothing of its image."""
        height, width = result.labels.shape
        small = height, width
        if width > _KEPT_WIDTH:
            small = max(1, round(height * _KEPT_WIDTH / width)), _KEPT_WIDTH
        frame, depth = result.frame, result.frame.depth
        bare = Frame(np.zeros((2, 2, 3), np.uint8), frame.stamp, frame.frame_id, None,
                     frame.intrinsics, frame.pose, frame.fixed_frame)
        return cls(bare, (height, width), resize_labels(result.labels, *small),
                   None if depth is None else resize_labels(depth, *small))

    def pixel(self, click: Click, motion: CameraMotion) -> tuple[Pixel, str]:
        """
        Return x and y of a click, and a remark on the depth there, '' if it agrees.

        Raises
        ------
        DiffsegError
            It cannot be known where the click is in the image, or it is not in the image.

        """
        if click.frame_id is None:
            return click.place[:2], ''
        if self.frame.intrinsics is None:
            raise DiffsegError('the image came without camera_info, so it is not known where the '
                               'point is in it; publish camera_info, or click on a pixel')
        point = self._in_camera(click, motion)
        height, width = self.size
        rows, columns, seen = visible_pixels(point[None].astype(np.float32),
                                             self.frame.intrinsics.resized(width, height))
        if point[2] <= 0:
            raise DiffsegError('it is behind the camera')
        if not len(seen):
            raise DiffsegError('it is outside the image')
        row, column = int(rows[0]), int(columns[0])
        return (column, row), self._remark(float(point[2]), row, column)

    def _in_camera(self, click: Click, motion: CameraMotion) -> np.ndarray:
        """Return the (3,) point in the camera's optical frame."""
        frame, source = self.frame, frame_name(click.frame_id or '')
        point = np.array([*click.place, 1.0])
        if not np.isfinite(point).all():
            raise DiffsegError('it holds NaN or infinity')
        if source == frame_name(frame.frame_id):
            return point[:3]
        to_camera: Matrix | None = None
        if frame.pose is not None and source == frame_name(frame.fixed_frame):
            to_camera = np.asarray(np.linalg.inv(frame.pose), np.float64)
        else:
            to_camera = motion.between(source, frame.frame_id, frame.stamp)
        if to_camera is None:
            raise DiffsegError(f'no transform leads from {click.frame_id!r} to the camera '
                               f'{frame.frame_id!r} at the image; click in the frame of the '
                               'camera, or publish TF or odometry')
        camera: np.ndarray = (to_camera @ point)[:3]
        return camera

    def _remark(self, metres: float, row: int, column: int) -> str:
        """Return how far the surface seen at a pixel is from a point, '' if that is little."""
        if self.depth is None:
            return ''
        height, width = self.depth.shape
        seen = float(self.depth[row * height // self.size[0], column * width // self.size[1]])
        difference = seen - metres
        if not seen > 0 or abs(difference) <= _TOLERANCE + _RELATIVE_TOLERANCE * metres:
            return ''
        side = 'behind' if difference > 0 else 'in front of'
        return f'; what is seen there is {abs(difference):.2f} m {side} the point'


class Clicks:
    """
    Clicks that wait to be answered, and the frames of the last two seconds that they refer to.

    A click is one on the last frame before its stamp; on the newest one where that is not kept, as
    for a stamp of 0. `info` and `warn` log one line. Only `add` may be called from any thread.
    """

    def __init__(self, motion: CameraMotion, info: Callable[[str], None],
                 warn: Callable[[str], None]) -> None:
        self._motion = motion
        self._info, self._warn = info, warn
        self._waiting: deque[Click] = deque(maxlen=_MOST_WAITING)
        self._seen: deque[SeenFrame] = deque()
        self._newest: Result | None = None
        self._epoch = -1

    def add(self, click: Click) -> None:
        """Let a click wait for `answer`; of too many the oldest are forgotten."""
        self._waiting.append(click)

    def remember(self, result: Result) -> None:
        """Keep a frame's result, one each tenth of a second and the newest."""
        if result.epoch != self._epoch:
            self._seen.clear()
            self._epoch = result.epoch
        self._newest, stamp = result, result.frame.stamp
        if not self._seen or stamp - self._seen[-1].frame.stamp >= _APART_NS:
            self._seen.append(SeenFrame.of(result))
        while stamp - self._seen[0].frame.stamp > _KEPT_NS:
            self._seen.popleft()

    def forget(self) -> None:
        """Forget all frames: what they show is in another epoch."""
        self._seen.clear()
        self._newest = None

    def answer(self, pipeline: Pipeline) -> Target | None:
        """Follow what was clicked on, and say so; return the target, None if it is as it was."""
        target = None
        while self._waiting:
            click = self._waiting.popleft()
            try:
                target = self._follow(click, pipeline)
            except DiffsegError as error:
                self._warn(f'{click} not followed: {error}')
        return target

    def _follow(self, click: Click, pipeline: Pipeline) -> Target:
        if self._newest is None:
            raise DiffsegError('no image was processed yet; publish images and subscribe to an '
                               'output')
        seen = self._frame_at(click.stamp, self._newest)
        pixel, remark = seen.pixel(click, self._motion)
        target = pipeline.follow(pixel, resize_labels(seen.labels, *seen.size))
        self._info(f'{click} followed: the target is segment '
                   f'{", ".join(map(str, target.ids))}{remark}')
        return target

    def _frame_at(self, stamp: int, newest: Result) -> SeenFrame:
        before = [seen for seen in self._seen if seen.frame.stamp <= stamp < newest.frame.stamp]
        return before[-1] if before else SeenFrame.of(newest)
