"""Predicted depth between keyframes: where pixels were in the keyframe, how far they are now."""

from __future__ import annotations

from dataclasses import dataclass

from diffseg_ros.geometry.camera import ray_table
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.types import DepthImage, Frame, Intrinsics, Mask, Matrix
import numpy as np

_NEAREST = np.float32(1e-3)


@dataclass(frozen=True)
class View:
    """What a keyframe's points need to be moved: where its camera was, as far as known."""

    intrinsics: Intrinsics | None
    pose: Matrix | None
    fixed_frame: str

    @classmethod
    def of(cls, frame: Frame) -> View:
        """Return that of a frame."""
        return cls(frame.intrinsics, *frame.motion)

    def motion_to(self, frame: Frame) -> Matrix | None:
        """Return the (4, 4) transform of points to the camera of a later frame, or None."""
        pose, fixed_frame = frame.motion
        if (self.intrinsics is None or self.pose is None or pose is None
                or self.fixed_frame != fixed_frame):
            return None
        motion: Matrix = np.linalg.inv(pose) @ self.pose
        return motion


class Carrier:
    """
    Carries the depth of a keyframe along with the labels.

    The steps of all frames since are composed, so that each frame's depth is that of the keyframe
    itself: errors of distance do not add up. Where both poses are known, the points are moved with
    the camera.
    """

    def __init__(self) -> None:
        self._way: Source | None = None
        self._lost = False
        self.frames = 0

    def follow(self, step: Source | None) -> None:
        """
        Go on to the next frame.

        Without a step, or where it leads no pixel back, there is no way to the keyframe any more.
        """
        self.frames += 1
        if step is None or (self._way is not None
                            and self._way.index.shape != step.index.shape):
            self._lost = True
        elif not self._lost:
            self._way = step if self._way is None else step.after(self._way)
            self._lost = not self._way.known.any()

    def carry(self, metres: DepthImage, view: View, frame: Frame
              ) -> tuple[DepthImage, Mask] | None:
        """
        Return the depth of the keyframe as it is in a frame, or None where that is not known.

        `metres` are the (H, W) float32 of the keyframe, which had the `view`. The depth comes at
        that size with an (H, W) bool mask of the pixels whose source is known.
        """
        if self._lost:
            return None
        if self._way is None:
            return metres, np.ones(metres.shape, bool)
        height, width = metres.shape
        small = resize_labels(metres, *self._way.index.shape)
        motion = view.motion_to(frame)
        if motion is not None and view.intrinsics is not None:
            small = _moved(small, view.intrinsics.resized(*small.shape[::-1]), motion)
        return (resize_labels(small.take(self._way.index), height, width),
                resize_labels(self._way.known, height, width))


def _moved(metres: DepthImage, intrinsics: Intrinsics, motion: Matrix) -> DepthImage:
    """Return how far from another camera the points of all pixels are, NaN if behind it."""
    ray_x, ray_y = ray_table(intrinsics)
    x, y, z, shift = motion[2].astype(np.float32)
    moved = ((x * ray_x + z) + y * ray_y) * metres + shift
    return np.where(moved > _NEAREST, moved, np.float32(np.nan))
