"""/diagnostics: the node's status in one sentence and in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from diffseg_ros.ros.counters import Counters, in_flight
from diffseg_ros.ros.status import NodeStatus, status_message, StatusLogger
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

_TICK_SECONDS = 0.2
_REST_SECONDS = 0.3

CollectStatus = Callable[[Counter[str], str], tuple[NodeStatus, dict[str, str]]]
"""
Returns the status and further values; is given the totals of the counters, and the cause for
which all images since the last report were dropped ('' where there is none).
"""


class Diagnostics:
    """
    Publishes every `period` seconds, and soon after the counters come to rest.

    The timer runs on a steady clock, so that it also works while simulated time stands still.
    """

    def __init__(self, node: Node, period: float, counters: Counters,
                 collect_status: CollectStatus) -> None:
        self.period = period
        self._node = node
        self._counters = counters
        self._collect_status = collect_status
        self._name = f'{node.get_fully_qualified_name().lstrip("/")}: pipeline'
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._logger = StatusLogger(node.get_logger())
        self._published = self._seen = counters.totals()
        self._published_at, self._changed_at = -period, 0.0
        self._refused = ''
        node.create_timer(_TICK_SECONDS, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, *, flush: bool = False) -> None:
        """Publish now; with `flush` wait, for half a second at most, until it has arrived."""
        totals = self._counters.totals()
        if totals['received'] > self._published['received']:
            self._refused = _refused(self._published, totals)
        status, values = self._collect_status(totals, self._refused)
        level, text = status_message(status)
        self._logger.report(level, text)
        values = {**{key: str(count) for key, count in sorted(totals.items())}, **values}
        message = DiagnosticArray(status=[DiagnosticStatus(
            level=bytes([level]), name=self._name, message=text,
            hardware_id=values.get('model', ''),
            values=[KeyValue(key=key, value=value) for key, value in values.items()])])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._published, self._published_at = totals, time.monotonic()
        if flush:
            self._publisher.wait_for_all_acked(Duration(seconds=0.5))

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Publish from a thread of its own, while work in this one keeps the timer waiting."""
        done = threading.Event()

        def beat() -> None:
            self.publish()
            while not done.wait(self.period):
                self.publish()

        thread = threading.Thread(target=beat, name='diffseg_diagnostics', daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _tick(self) -> None:
        now, totals = time.monotonic(), self._counters.totals()
        if totals != self._seen:
            self._seen, self._changed_at = totals, now
        at_rest = (totals != self._published and not in_flight(totals)
                   and now - self._changed_at >= _REST_SECONDS)
        if at_rest or now - self._published_at >= self.period:
            self.publish()


def process_memory() -> dict[str, str]:
    """Return the megabytes of main memory of this process; {} where the system has no /proc."""
    try:
        with open('/proc/self/status') as file:
            lines = dict(line.split(':', 1) for line in file)
        return {'memory_mb': f'{int(lines["VmRSS"].split()[0]) / 1024:.0f}'}
    except (OSError, KeyError, ValueError):
        return {}


def _refused(before: Counter[str], after: Counter[str]) -> str:
    """Return the cause if every image received in between was dropped for its stamp."""
    new = after - before
    causes = ('duplicate', 'late')
    return next((cause for cause in causes if new[f'dropped.{cause}'] >= new['received']), '')
