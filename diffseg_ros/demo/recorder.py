"""
Stores what the node publishes, as received; runs as a process of its own.

Nothing is decoded while the run lasts: the node needs the processor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
import signal
import sys
import time
from typing import Any

from diffseg_ros.demo.spool import SpoolWriter

NODE = '/diffseg'
DIAGNOSTICS = '/diagnostics'
LABELS, POINTS = f'{NODE}/labels', f'{NODE}/points'
RECORDED = {
    LABELS: 'sensor_msgs/msg/Image', f'{NODE}/confidence': 'sensor_msgs/msg/Image',
    f'{NODE}/overlay': 'sensor_msgs/msg/Image',
    f'{NODE}/camera_info': 'sensor_msgs/msg/CameraInfo',
    POINTS: 'sensor_msgs/msg/PointCloud2', DIAGNOSTICS: 'diagnostic_msgs/msg/DiagnosticArray'}
"""Topics that are recorded, and their types."""
READY = 'recorder: connected'

_QUEUE = 10


def main(argv: list[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog='diffseg_ros.demo.recorder', description=__doc__)
    parser.add_argument('spool', type=Path, help='file to write')
    arguments = parser.parse_args(argv)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: stopped.append(received))
    spool = SpoolWriter(arguments.spool, list(RECORDED))
    try:
        _record(spool, stopped)
    finally:
        spool.close()
    return 0


def _record(spool: SpoolWriter, stopped: list[int]) -> None:
    from diffseg_ros.ros.transport import use_large_message_profile
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    use_large_message_profile()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('diffseg_demo_recorder')
    subscriptions = [_subscribe(node, topic, type_name, spool)
                     for topic, type_name in RECORDED.items()]
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    announced = False
    while not stopped:
        executor.spin_once(timeout_sec=0.1)
        if not announced and all(item.get_publisher_count() for item in subscriptions):
            print(READY, flush=True)
            announced = True
    _drain(executor)
    node.destroy_node()
    rclpy.try_shutdown()


def _drain(executor: Any, seconds: float = 0.5) -> None:
    """Take what has already arrived."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)


def _subscribe(node: Any, topic: str, type_name: str, spool: SpoolWriter) -> Any:
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    kinds = {kind.__name__: kind for kind in (CameraInfo, DiagnosticArray, Image, PointCloud2)}
    reliability = (ReliabilityPolicy.RELIABLE if topic == DIAGNOSTICS
                   else ReliabilityPolicy.BEST_EFFORT)
    return node.create_subscription(
        kinds[type_name.rpartition('/')[2]], topic, _storing(spool, topic),
        QoSProfile(depth=_QUEUE, reliability=reliability), raw=True)


def _storing(spool: SpoolWriter, topic: str) -> Callable[[bytes], None]:
    def store(data: bytes) -> None:
        spool.write(topic, time.time_ns(), data)
    return store


if __name__ == '__main__':
    sys.exit(main())
