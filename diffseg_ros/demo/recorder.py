"""
Records what the node publishes in an MCAP file; runs as a process of its own.

Messages are neither decoded nor compressed while the run lasts: the node needs the processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import signal
import sys
import time

from diffseg_ros.io.messages import CAMERA_INFO, IMAGE, typestore
from mcap.writer import CompressionType, Writer

NODE = '/diffseg'
DIAGNOSTICS = '/diagnostics'
LABELS, POINTS = f'{NODE}/labels', f'{NODE}/points'
RECORDED = {
    LABELS: IMAGE, f'{NODE}/confidence': IMAGE, f'{NODE}/overlay': IMAGE,
    f'{NODE}/camera_info': CAMERA_INFO, POINTS: 'sensor_msgs/msg/PointCloud2',
    DIAGNOSTICS: 'diagnostic_msgs/msg/DiagnosticArray'}
"""Topics that are recorded, and their types."""
READY = 'recorder: connected'

_QUEUE = 10
_DRAIN_SECONDS = 0.5


def main(argv: list[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog='diffseg_ros.demo.recorder', description=__doc__)
    parser.add_argument('log', type=Path, help='file to write')
    arguments = parser.parse_args(argv)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    with arguments.log.open('wb') as file:
        writer = Writer(file, compression=CompressionType.NONE, enable_crcs=False)
        writer.start('ros2', 'diffseg_ros')
        try:
            _record(writer, lambda: bool(signals))
        finally:
            writer.finish()
    return 0


def _record(writer: Writer, stopped: Callable[[], bool]) -> None:
    from diffseg_ros.ros.player import message_class
    from diffseg_ros.ros.transport import use_large_message_profile
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions

    use_large_message_profile()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('diffseg_demo_recorder')
    subscriptions = [
        node.create_subscription(
            message_class(type_name), topic, _storing(writer, topic, type_name),
            QoSProfile(depth=_QUEUE, reliability=(
                ReliabilityPolicy.RELIABLE if topic == DIAGNOSTICS
                else ReliabilityPolicy.BEST_EFFORT)), raw=True)
        for topic, type_name in RECORDED.items()]
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    announced = False
    while not stopped():
        executor.spin_once(timeout_sec=0.1)
        if not announced and all(item.get_publisher_count() for item in subscriptions):
            print(READY, flush=True)
            announced = True
    end = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < end:  # what has already arrived
        executor.spin_once(timeout_sec=0.02)
    node.destroy_node()
    rclpy.try_shutdown()


def _storing(writer: Writer, topic: str, type_name: str) -> Callable[[bytes], None]:
    """Return a callback that writes serialised messages with the time at which they came in."""
    definition, _ = typestore().generate_msgdef(type_name)
    schema = writer.register_schema(type_name, 'ros2msg', definition.encode())
    channel = writer.register_channel(topic, 'cdr', schema)

    def store(data: bytes) -> None:
        now = time.time_ns()
        writer.add_message(channel, now, data, now)
    return store


if __name__ == '__main__':
    sys.exit(main())
