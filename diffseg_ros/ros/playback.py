"""Publishes a recording on the topics of a camera, at its own pace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import importlib
import time
from typing import Any

from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock

_QUEUE = 20
_MATCH_SECONDS = 1.0
_CLOCK_SECONDS = 0.01
_STOP_SECONDS = 0.2
_DELIVERY_SECONDS = 2
_NS = 1_000_000_000


class Playback:
    """A node with a publisher per topic; messages go out as the bytes they were recorded as."""

    def __init__(self, topics: dict[str, str], *, clock: bool = False,
                 context: Context | None = None, arguments: list[str] | None = None) -> None:
        """
        Advertise `topics`, given by name with their message types.

        Parameters
        ----------
        topics
            Types whose packages are not installed are left out and listed in `missing`.
        clock
            Also publish the recording's time on /clock.
        context
            The default one where None.
        arguments
            Further ROS arguments, such as remappings.

        """
        self._context = context
        self.node = Node('diffseg_player', context=context, cli_args=arguments,
                         start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.missing: list[str] = []
        self._publishers: dict[str, Any] = {}
        for topic, type_name in topics.items():
            kind = _message_class(type_name)
            if kind is None:
                self.missing.append(f'{topic} ({type_name})')
            else:
                self._publishers[topic] = self.node.create_publisher(kind, topic, _qos(topic))
        self._clock = self.node.create_publisher(Clock, '/clock', 10) if clock else None

    def wait(self, topic: str, seconds: float, stopped: Callable[[], bool]) -> bool:
        """Wait until someone takes `topic`; return whether that came to pass."""
        end = time.monotonic() + seconds
        while not self._publishers[topic].get_subscription_count():
            if time.monotonic() > end or stopped():
                return False
            self._executor.spin_once(timeout_sec=0.05)
        # A writer knows its reader before the reader knows it.
        time.sleep(_MATCH_SECONDS)
        return True

    def play(self, messages: Iterable[Any], rate: float, stopped: Callable[[], bool]) -> int:
        """
        Send every message at its time divided by `rate`; return how many went out.

        What is late goes out at once and is not left out. `stopped` ends it early.
        """
        count = 0
        start: tuple[float, int] | None = None
        for item in messages:
            began, first = start = start or (time.monotonic(), item.time)
            self._spin_until(began + (item.time - first) / _NS / rate, item.time, rate, stopped)
            if stopped():
                break
            if item.topic in self._publishers:
                self._tick(item.time)
                self._publishers[item.topic].publish(item.data)
                count += 1
        return count

    def finish(self) -> None:
        """Wait, for a few seconds at most, until readers that want every message have them."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=_DELIVERY_SECONDS))

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self.node.destroy_node()

    def _spin_until(self, due: float, stamp: int, rate: float,
                    stopped: Callable[[], bool]) -> None:
        """Handle callbacks until `due`, when the recording's time is `stamp`."""
        step = _CLOCK_SECONDS if self._clock is not None else _STOP_SECONDS
        while (left := due - time.monotonic()) > 0 and not stopped():
            self._tick(stamp - int(left * rate * _NS))
            self._executor.spin_once(timeout_sec=min(left, step))

    def _tick(self, now: int) -> None:
        if self._clock is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now, _NS)
            self._clock.publish(message)


def _qos(topic: str) -> QoSProfile:
    if topic.endswith('tf_static'):
        return QoSProfile(depth=_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=_QUEUE)


def _message_class(type_name: str) -> Any:
    package, _, name = type_name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        return None
