"""Publishes a sequence at its own pace, as a camera would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
import struct
import time
from types import TracebackType
from typing import Any

from diffseg_ros.demo.recorder import DIAGNOSTICS, NODE
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.message_builders import camera_info_message, image_message, transform_message
from diffseg_ros.io.message_types import typestore
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import Frame
import numpy as np
import numpy.typing as npt

OPTICAL_FRAME = 'camera_optical_frame'
FIXED_FRAME = 'map'
TF = '/tf'
CAMERA_TOPICS = {'rgb/camera_info': 'sensor_msgs/msg/CameraInfo',
                 'depth_registered/image_rect': 'sensor_msgs/msg/Image',
                 'rgb/image_raw': 'sensor_msgs/msg/Image'}
"""What is published for every frame, in this order, and the types."""

_NS = 1_000_000_000
_STAMP = struct.Struct('<iI')


@dataclass(frozen=True)
class PreparedFrame:
    """
    A frame as serialised messages, whose stamps are filled in when it is sent.

    Attributes
    ----------
    pose
        (4, 4) camera-to-world.
    messages
        CDR bytes by topic.

    """

    pose: npt.NDArray[np.float64]
    messages: dict[str, bytearray]

    def stamped(self, stamp: int) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, CDR bytes) with the stamp (ns) in the header."""
        for topic, data in self.messages.items():
            _STAMP.pack_into(data, 4, *divmod(stamp, _NS))
            yield topic, bytes(data)


def prepare_frames(sequence: SequenceFolder) -> Iterator[PreparedFrame]:
    """
    Yield the frames of a sequence folder ready to be sent.

    Raises
    ------
    DiffsegError
        A frame lacks depth, intrinsics or a pose, or cannot be read.

    """
    for number in range(sequence.frame_count):
        source = sequence.read(number)
        frame = source.frame
        if frame is None:
            raise DiffsegError(f'{sequence.name} frame {number}: {source.error}')
        if frame.depth is None or frame.intrinsics is None or frame.pose is None:
            raise DiffsegError(f'{sequence.name} frame {number}: depth, camera.json and '
                               'poses.txt are needed to play it')
        yield PreparedFrame(frame.pose, _serialised(frame))


def _serialised(frame: Frame) -> dict[str, bytearray]:
    messages = {
        'rgb/camera_info': camera_info_message(frame.intrinsics, 0, OPTICAL_FRAME),
        'depth_registered/image_rect': image_message(frame.depth, 0, OPTICAL_FRAME),
        'rgb/image_raw': image_message(frame.rgb, 0, OPTICAL_FRAME)}
    return {topic: bytearray(typestore().serialize_cdr(messages[topic], type_name))
            for topic, type_name in CAMERA_TOPICS.items()}


def serialised_transform(pose: npt.NDArray[np.float64], stamp: int) -> bytes:
    """Return a tf2_msgs/TFMessage from the fixed frame to the camera as CDR bytes."""
    message = transform_message(pose, stamp, FIXED_FRAME, OPTICAL_FRAME)
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


class Player:
    """The camera's side of the demo: publishes frames and listens to the node's diagnostics."""

    def __init__(self, domain_id: int) -> None:
        """Join the ROS domain."""
        from diagnostic_msgs.msg import DiagnosticArray
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, Image

        self._context = rclpy.Context()
        self._context.init(args=[], domain_id=domain_id)
        self._node = rclpy.create_node('diffseg_demo_camera', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        kinds = {'Image': Image, 'CameraInfo': CameraInfo}
        self._publishers = {
            topic: self._node.create_publisher(kinds[kind.rpartition('/')[2]], topic, sensor)
            for topic, kind in CAMERA_TOPICS.items()}
        self._transforms = self._transform_publisher()
        self._node.create_subscription(DiagnosticArray, DIAGNOSTICS, self._on_diagnostics, 10)
        self.diagnostics: dict[str, str] = {}
        self.complaint = ''
        self.status_count = 0

    def __enter__(self) -> Player:
        """Return the player."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Leave the ROS domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    @property
    def connected(self) -> bool:
        """Whether the node takes all three camera topics and says that it is active."""
        return (self.diagnostics.get('state') == 'active'
                and all(item.get_subscription_count() for item in self._publishers.values()))

    @property
    def settled(self) -> bool:
        """Whether the node says that the fate of every frame it received is known."""
        counts = frame_counts(self.diagnostics)
        return bool(counts) and counts['received'] == sum(counts.values()) - counts['received']

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Handle messages until the condition holds; return whether it did in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def play(self, frames: Iterable[PreparedFrame], period: int,
             check: Callable[[], None]) -> Iterator[int]:
        """
        Publish a frame every `period` nanoseconds and yield the stamp of each.

        The stamps are exactly `period` apart; `check` is called between frames and may raise.
        """
        stamp = time.time_ns() + period
        for frame in frames:
            while (left := stamp - time.time_ns()) > 0:
                self._executor.spin_once(timeout_sec=left / _NS)
            check()
            if self._transforms is not None:
                self._transforms.publish(serialised_transform(frame.pose, stamp))
            for topic, data in frame.stamped(stamp):
                self._publishers[topic].publish(data)
            yield stamp
            stamp += period

    def _transform_publisher(self) -> Any:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return None
        return self._node.create_publisher(TFMessage, TF, 100)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(NODE[1:]):
                self.diagnostics = {item.key: item.value for item in status.values}
                self.complaint = status.message if status.level >= status.ERROR else ''
                self.status_count += 1


def frame_counts(values: dict[str, str]) -> dict[str, int]:
    """Return the counters in a diagnostics status: received, processed and every loss."""
    names = [name for name in values
             if name in ('received', 'processed', 'failed', 'idle') or name.startswith('dropped.')]
    return {name: int(values[name]) for name in names}
