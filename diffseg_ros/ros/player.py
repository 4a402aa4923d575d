"""Publishes recorded messages at their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import time
from types import TracebackType
from typing import Any

from diffseg_ros.io.message_stream import TimedMessage
from diffseg_ros.ros.messages import message_class
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock

_QUEUE = 20
_CLOCK_SECONDS = 0.01
_STOP_SECONDS = 0.2
_DELIVERY_SECONDS = 2
_NS = 1_000_000_000


class Player:
    """
    A node with a publisher for each topic; messages go out as the bytes they were recorded as.

    Attributes
    ----------
    node
        For further subscriptions, which `wait_for` and `play` serve.
    missing
        Topics that are not published because the package of their type is not installed.

    """

    def __init__(self, topics: dict[str, str], *, clock: bool = False,
                 context: Context | None = None) -> None:
        """
        Advertise `topics`, given by name with their message types.

        With `clock` the time of the recording is published on /clock.
        """
        self.node = Node('diffseg_player', context=context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.missing: list[str] = []
        self._publishers: dict[str, Any] = {}
        for topic, type_name in topics.items():
            kind = message_class(type_name)
            if kind is None:
                self.missing.append(f'{topic} ({type_name})')
            else:
                self._publishers[topic] = self.node.create_publisher(kind, topic, _qos(topic))
        self._clock = self.node.create_publisher(Clock, '/clock', 10) if clock else None

    def __enter__(self) -> Player:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._executor.shutdown()
        self.node.destroy_node()

    def has_subscribers(self, *topics: str) -> bool:
        """Return whether every one of these topics has a subscriber."""
        return all(self._publishers[topic].get_subscription_count() for topic in topics)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Serve subscriptions until the condition holds; return whether it did in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def play(self, messages: Iterable[TimedMessage], rate: float = 1.0,
             stopped: Callable[[], bool] = lambda: False) -> int:
        """
        Publish every message at its time divided by `rate`; return how many were published.

        Late messages are published at once, none is left out. `stopped` ends it early.
        """
        count = 0
        start: tuple[float, int] | None = None
        for item in messages:
            began, first = start = start or (time.monotonic(), item.time)
            self._spin_until(began + (item.time - first) / _NS / rate, item.time, rate, stopped)
            if stopped():
                break
            if item.topic in self._publishers:
                self._publish_clock(item.time)
                self._publishers[item.topic].publish(item.data)
                count += 1
        return count

    def wait_for_delivery(self) -> None:
        """Wait a few seconds at most until reliable subscribers have received everything."""
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=_DELIVERY_SECONDS))

    def _spin_until(self, due: float, stamp: int, rate: float,
                    stopped: Callable[[], bool]) -> None:
        """Serve subscriptions until `due`, when the time of the recording is `stamp`."""
        step = _CLOCK_SECONDS if self._clock is not None else _STOP_SECONDS
        while (left := due - time.monotonic()) > 0 and not stopped():
            self._publish_clock(stamp - int(left * rate * _NS))
            self._executor.spin_once(timeout_sec=min(left, step))

    def _publish_clock(self, now: int) -> None:
        if self._clock is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(now, _NS)
            self._clock.publish(message)


def _qos(topic: str) -> QoSProfile:
    if topic.endswith('tf_static'):
        return QoSProfile(depth=_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=_QUEUE)
