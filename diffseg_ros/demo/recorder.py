"""Records what the node publishes, as received, in an MCAP file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
import time
from types import TracebackType
from typing import Any

from diffseg_ros.io.messages import CAMERA_INFO, IMAGE, typestore
from mcap.writer import CompressionType, Writer

NODE = '/diffseg'
DIAGNOSTICS = '/diagnostics'
LABELS, POINTS = f'{NODE}/labels', f'{NODE}/points'
OVERLAY, TARGET = f'{NODE}/overlay', f'{NODE}/target/mask'
RECORDED = {
    LABELS: IMAGE, f'{NODE}/confidence': IMAGE, OVERLAY: IMAGE, TARGET: IMAGE,
    f'{NODE}/camera_info': CAMERA_INFO, POINTS: 'sensor_msgs/msg/PointCloud2',
    DIAGNOSTICS: 'diagnostic_msgs/msg/DiagnosticArray'}
"""Topics that are recorded, and their types."""

_QUEUE = 10


class Recorder:
    """
    Writes every message of RECORDED that `node` receives, until it is closed.

    Messages are neither decoded nor compressed: the segmentation needs the processor.
    """

    def __init__(self, path: Path, node: Any) -> None:
        from diffseg_ros.ros.messages import message_class
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        self._writer = Writer(str(path), compression=CompressionType.NONE, enable_crcs=False)
        self._writer.start('ros2', 'diffseg_ros')
        self._subscriptions = [
            node.create_subscription(
                message_class(type_name), topic, self._storing(topic, type_name),
                QoSProfile(depth=_QUEUE, reliability=(
                    ReliabilityPolicy.RELIABLE if topic == DIAGNOSTICS
                    else ReliabilityPolicy.BEST_EFFORT)), raw=True)
            for topic, type_name in RECORDED.items()]

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._writer.finish()

    def is_connected(self, outputs: Collection[str]) -> bool:
        """
        Return whether every topic is connected, as seen from here and by the node.

        `outputs` are those that the node knows subscribers of. Either side may be the later one.
        """
        known = {DIAGNOSTICS, *(f'{NODE}/{name}' for name in outputs)}
        return known >= set(RECORDED) and all(
            item.get_publisher_count() for item in self._subscriptions)

    def _storing(self, topic: str, type_name: str) -> Callable[[bytes], None]:
        """Return a callback that writes serialised messages with the time of their reception."""
        definition, _ = typestore().generate_msgdef(type_name)
        schema = self._writer.register_schema(type_name, 'ros2msg', definition.encode())
        channel = self._writer.register_channel(topic, 'cdr', schema)

        def store(data: bytes) -> None:
            now = time.time_ns()
            self._writer.add_message(channel, now, data, now)
        return store
