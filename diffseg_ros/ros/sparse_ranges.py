"""Ranges of another sensor, from the topic `depth.sparse_topic`."""

from __future__ import annotations

import threading
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.message_buffer import MessageBuffer
from diffseg_ros.io.range_messages import (
    decode_ranges,
    moved_points,
    RANGE_TYPES,
    SPARSE_LONGEST_NS,
    SPARSE_TOLERANCE_NS,
)
from diffseg_ros.ros.camera_motion import CameraMotion
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.messages import message_class, stamp_of
from diffseg_ros.types import Points
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.timer import Timer

_LOOK_SECONDS = 0.5
_QUEUE = 10


class SparseRanges:
    """
    Subscribes to a topic as soon as its type is known, and returns what was measured at a stamp.

    What is missing costs the ranges of an image only: it is counted, and `problem` says why the
    last image has none, '' if it has some.
    """

    def __init__(self, topic: str, motion: CameraMotion, counters: Counters) -> None:
        self.problem = ''
        self._topic = topic
        self._motion = motion
        self._counters = counters
        self._lock = threading.Lock()
        self._messages: MessageBuffer[Any] = MessageBuffer()
        self._wrong_type = ''
        self._subscription: Subscription | None = None
        self._timer: Timer | None = None

    def start(self, node: Node) -> None:
        """Look for the topic until it is there."""
        self._topic = node.resolve_topic_name(self._topic)
        self._look(node)
        if self._subscription is None:
            self._timer = node.create_timer(_LOOK_SECONDS, lambda: self._look(node),
                                            clock=Clock(clock_type=ClockType.STEADY_TIME))

    def stop(self, node: Node) -> None:
        """Unsubscribe, and forget what came."""
        if self._timer is not None:
            node.destroy_timer(self._timer)
        if self._subscription is not None:
            node.destroy_subscription(self._subscription)
        self._timer = self._subscription = None
        with self._lock:
            self._messages.clear()

    def add(self, message: Any) -> None:
        """Keep a message."""
        with self._lock:
            self._messages.add(stamp_of(message), message)

    def points(self, frame_id: str, stamp: int) -> Points | None:
        """Return (N, 3) float32 metres in a camera's frame at a stamp (ns), or None."""
        with self._lock:
            message = self._messages.find(stamp, SPARSE_LONGEST_NS)
            offset = self._messages.offset(stamp)
        near = offset is not None and abs(offset) <= SPARSE_TOLERANCE_NS
        cause, reason = 'missing', self._why_none(offset)
        try:
            if message is not None:
                points = decode_ranges(message)
                source = message.header.frame_id
                transform = self._motion.moved(source, stamp_of(message), frame_id, stamp)
                if transform is None and near:
                    transform = self._motion.between(source, frame_id, stamp)
                if transform is not None:
                    self.problem = ''
                    return moved_points(points, transform)
                if near:
                    cause, reason = 'no_transform', (
                        f'no transform leads from {source!r} to the camera {frame_id!r} at the '
                        'stamp of the image: publish it on /tf or /tf_static, with camera_motion '
                        'auto or tf')
        except DiffsegError as error:
            cause, reason = 'unusable', str(error)
        self._counters.add(f'fault.sparse_{cause}')
        self.problem = f'{self._topic}: {reason}'
        return None

    def _why_none(self, offset: int | None) -> str:
        if offset is not None:
            return (f'the nearest message is {offset / 1e6:+.0f} ms from the image; '
                    f'{SPARSE_TOLERANCE_NS / 1e6:.0f} ms are allowed, '
                    f'{SPARSE_LONGEST_NS / 1e6:.0f} ms where TF or odometry tell how the robot '
                    'moved between them')
        if self._subscription is None:
            return self._wrong_type or 'nobody publishes it'
        return 'no message came yet'

    def _look(self, node: Node) -> None:
        types = dict(node.get_topic_names_and_types()).get(self._topic, [])
        kind = next((name for name in types if name in RANGE_TYPES), None)
        if kind is None:
            self._wrong_type = (f'it is of type {", ".join(types)}; {" or ".join(RANGE_TYPES)} is '
                                'needed' if types else '')
            return
        if self._timer is not None:
            self._timer.cancel()
        self._subscription = node.create_subscription(
            message_class(kind), self._topic, self.add,
            QoSProfile(depth=_QUEUE, reliability=ReliabilityPolicy.BEST_EFFORT))
