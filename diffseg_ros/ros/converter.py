"""From the messages of one moment to a Frame, and why it lacks what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import is_pinhole
from diffseg_ros.io.encodings import check_depth
from diffseg_ros.io.image_messages import (
    decode_colour,
    decode_compressed_colour,
    decode_compressed_depth,
    decode_depth,
    intrinsics_from_camera_info,
)
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.message_buffer import Partners
from diffseg_ros.ros.motion import CameraMotion
from diffseg_ros.ros.synchronizer import Bundle, Intake
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Topics:
    """Full names of the topics taken in, for messages to the user."""

    image: str
    depth: str
    camera_info: str


class Assembler:
    """Decodes bundles. What cannot be used costs the cloud, not the masks."""

    def __init__(self, intake: Intake, topics: Topics, counters: Counters,
                 motion: CameraMotion) -> None:
        """Keep whom to ask about missing messages and motion, and where to count faults."""
        self.motion = motion
        self._intake = intake
        self._topics = topics
        self._counters = counters

    def assemble(self, bundle: Bundle) -> tuple[Frame, str]:
        """
        Return the frame, and in words why it can give no cloud ('' when it can).

        Raises
        ------
        DiffsegError
            The image itself cannot be used.

        """
        try:
            rgb = _either(decode_colour, decode_compressed_colour)(bundle.image)
        except DiffsegError as error:
            raise DiffsegError(f'{self._topics.image}: {error}') from error
        depth, depth_trouble = self._depth(bundle)
        intrinsics, info_trouble = self._intrinsics(bundle)
        frame_id = bundle.image.header.frame_id
        pose = self.motion.pose(frame_id, bundle.stamp, self._intake.timeout)
        frame = Frame(rgb, bundle.stamp, frame_id, depth, intrinsics, pose)
        return frame, ' and '.join(filter(None, (depth_trouble, info_trouble)))

    def _depth(self, bundle: Bundle) -> tuple[npt.NDArray[np.float32] | None, str]:
        topic = self._topics.depth
        if fault := self._depth_fault(bundle):
            self._counters.fault('depth_unusable')
            return None, f'{topic}: {fault}'
        if bundle.depth is None:
            return None, self._missing(self._intake.depth, 'depth', topic)
        frame_id = bundle.depth.header.frame_id
        if frame_id != bundle.image.header.frame_id:
            self._counters.fault('depth_unregistered')
            return None, (f'unregistered depth on {topic}: its frame_id is {frame_id!r}, that of '
                          f'the images {bundle.image.header.frame_id!r}')
        try:
            return _either(decode_depth, decode_compressed_depth)(bundle.depth), ''
        except DiffsegError as error:
            self._counters.fault('depth_unusable')
            return None, f'{topic}: {error}'

    def _depth_fault(self, bundle: Bundle) -> str:
        """Return why the topic's messages are no depth, whatever their stamps and frames."""
        message = self._intake.depth.latest if bundle.depth is None else bundle.depth
        try:
            if message is not None:
                check_depth(message)
        except DiffsegError as error:
            return str(error)
        return ''

    def _intrinsics(self, bundle: Bundle) -> tuple[Intrinsics | None, str]:
        topic = self._topics.camera_info
        if bundle.camera_info is None:
            return None, f'no camera_info on {topic}'
        try:
            intrinsics = intrinsics_from_camera_info(bundle.camera_info)
            # Refuses distortion that no cloud can be made with, before anything is published.
            is_pinhole(intrinsics)
            return intrinsics, ''
        except DiffsegError as error:
            self._counters.fault('camera_info_unusable')
            return None, f'{topic}: {error}'

    def _missing(self, partners: Partners, what: str, topic: str) -> str:
        if not partners.count:
            return f'no {what} on {topic}'
        self._counters.fault(f'{what}_missing')
        if partners.skew is not None:
            return (f'{what} on {topic} is stamped {partners.skew / 1e6:+.1f} ms from the images; '
                    f'sync_slop allows {self._intake.slop / 1e6:.1f} ms')
        return (f'no {what} on {topic} within {self._intake.timeout * 1e3:.0f} ms after an image '
                'of its stamp')


def _either(raw: Callable[[Any], Any], compressed: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda message: (raw if hasattr(message, 'encoding') else compressed)(message)
