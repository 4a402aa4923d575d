"""From synchronised messages to a Frame, with the reason where it can give no cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.calibration import (
    intrinsics_from_camera_info,
    registered_depth,
    Size,
    UnregisteredDepthError,
)
from diffseg_ros.io.messages import check_depth, decode_colour
from diffseg_ros.ros.camera_motion import CameraMotion
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.sparse_ranges import SparseRanges
from diffseg_ros.ros.synchronizer import FrameSynchronizer, SyncedMessages
from diffseg_ros.time_rules import sufficient_slop
from diffseg_ros.types import DepthImage, Frame, Intrinsics


@dataclass(frozen=True)
class Topics:
    """Full names of the subscribed topics, for messages to the user."""

    image: str
    depth: str
    camera_info: str


class NoCloud(NamedTuple):
    """Why a frame can give no cloud: no depth, no intrinsics; '' where it has them."""

    depth: str
    intrinsics: str

    def __str__(self) -> str:
        return ' and '.join(filter(None, self))


class FrameConverter:
    """
    Decodes messages. An unusable image is an error; the rest only costs the cloud.

    `depth_scale` is the unit of 16-bit depth in metres; `ranges` are those of another sensor.
    """

    def __init__(self, synchronizer: FrameSynchronizer, topics: Topics, counters: Counters,
                 motion: CameraMotion, depth_scale: float = 0.001,
                 ranges: SparseRanges | None = None) -> None:
        self._depth_scale = depth_scale
        self.motion = motion
        self.ranges = ranges
        self._synchronizer = synchronizer
        self._topics = topics
        self._counters = counters

    def convert(self, messages: SyncedMessages) -> tuple[Frame, NoCloud]:
        """
        Return the frame, and the reasons why it can give no cloud.

        Raises
        ------
        DiffsegError
            The image itself cannot be used.

        """
        try:
            rgb = decode_colour(messages.image)
        except DiffsegError as error:
            raise DiffsegError(f'{self._topics.image}: {error}') from error
        size = rgb.shape[1], rgb.shape[0]
        depth, no_depth_reason = self._depth(messages, size)
        intrinsics, no_intrinsics_reason = self._intrinsics(messages, size)
        frame_id = messages.image.header.frame_id
        pose = self.motion.pose(frame_id, messages.stamp, self._synchronizer.timeout)
        fixed_frame = self.motion.fixed_frame
        ranges = self.ranges.points(frame_id, messages.stamp) if self.ranges else None
        up = self.motion.up(frame_id, messages.stamp) if pose is None else None
        frame = Frame(rgb, messages.stamp, frame_id, depth, intrinsics, pose, fixed_frame, ranges,
                      up=up, odom_pose=self.motion.odom_pose(frame_id, messages.stamp))
        return frame, NoCloud(no_depth_reason, no_intrinsics_reason)

    def _depth(self, messages: SyncedMessages, size: Size) -> tuple[DepthImage | None, str]:
        topic, message = self._topics.depth, messages.depth
        try:
            # A topic that holds no depth is named even where stamps or frames differ too.
            if (any_depth := message or self._synchronizer.depth.latest) is not None:
                check_depth(any_depth)
            if message is None:
                return None, self._why_no_depth(topic)
            return registered_depth(message, size, messages.image.header.frame_id,
                                    self._depth_scale), ''
        except UnregisteredDepthError as error:
            self._counters.add('fault.depth_unregistered')
            return None, f'{topic}: {error}'
        except DiffsegError as error:
            self._counters.add('fault.depth_unusable')
            return None, f'{topic}: {error}'

    def _why_no_depth(self, topic: str) -> str:
        depth = self._synchronizer.depth
        if depth.latest is None:
            return f'no depth on {topic}'
        self._counters.add('fault.depth_missing')
        if depth.offset is not None:
            slop = sufficient_slop(depth.offset)
            remedy = (f'sync_slop allows {depth.tolerance / 1e6:.1f} ms; set it to {slop:g}'
                      if slop else 'both must set header.stamp, and by the same clock')
            return (f'depth on {topic} is stamped {depth.offset / 1e6:+.1f} ms from the images; '
                    f'{remedy}')
        return (f'no depth on {topic} within {self._synchronizer.timeout * 1e3:.0f} ms after an '
                'image of its stamp')

    def _intrinsics(self, messages: SyncedMessages, size: Size) -> tuple[Intrinsics | None, str]:
        topic = self._topics.camera_info
        if messages.camera_info is None:
            return None, f'no camera_info on {topic}'
        try:
            return intrinsics_from_camera_info(messages.camera_info, self._topics.image,
                                               size), ''
        except DiffsegError as error:
            self._counters.add('fault.camera_info_unusable')
            return None, f'{topic}: {error}'


def depth_encoding(message: Any) -> str:
    """Return '16UC1' or '32FC1', as a depth image came; None and all others are 32FC1."""
    encoding = str(getattr(message, 'encoding', '') or getattr(message, 'format', ''))
    return '16UC1' if encoding.startswith(('16UC1', 'mono16')) else '32FC1'
