"""/diagnostics: the node's status in one sentence and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from diffseg_ros.ros.counters import Counters, Totals
from diffseg_ros.ros.status import NodeStatus, status_message, StatusLogger
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

_TICK_SECONDS = 0.2
_REST_SECONDS = 0.3


@dataclass(frozen=True)
class Report:
    """A status, and the values that are published beside its message."""

    status: NodeStatus
    values: dict[str, str]


class Diagnostics:
    """
    Publishes at a fixed period, and soon after the counters come to rest.

    The timer runs on a steady clock, so that it also works while simulated time stands still.

    Parameters
    ----------
    period
        Seconds between messages.
    counters
        Are published with every report.
    collect_status
        Returns a report; given the totals, and the cause for which all images since the last
        report were dropped ('' where there is none).

    """

    def __init__(self, node: Node, period: float, counters: Counters,
                 collect_status: Callable[[Totals, str], Report]) -> None:
        self.period = period
        self._node = node
        self._counters = counters
        self._collect_status = collect_status
        self._name = f'{node.get_fully_qualified_name().lstrip("/")}: pipeline'
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._logger = StatusLogger(node.get_logger())
        self._published = self._seen = Totals()
        self._published_at, self._changed_at = -period, 0.0
        self._refused = ''
        node.create_timer(_TICK_SECONDS, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, *, flush: bool = False) -> None:
        """Publish now; with `flush` wait, for half a second at most, until it has arrived."""
        totals = self._counters.totals()
        if totals.received > self._published.received:
            self._refused = _refused(self._published, totals)
        report = self._collect_status(totals, self._refused)
        level, text = status_message(report.status)
        self._logger.report(level, text)
        status = DiagnosticStatus(
            level=bytes([level]), name=self._name, message=text,
            hardware_id=report.values.get('model', ''),
            values=[KeyValue(key=key, value=value)
                    for key, value in {**_counts(totals), **report.values}.items()])
        message = DiagnosticArray(status=[status])
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
        at_rest = (totals != self._published and not totals.in_flight
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


def _counts(totals: Totals) -> dict[str, str]:
    counts = {'received': totals.received, 'processed': totals.processed,
              'failed': totals.failed, 'idle': totals.idle,
              'dropped': sum(totals.dropped.values()),
              **{f'dropped.{cause}': count for cause, count in sorted(totals.dropped.items())},
              **{f'fault.{cause}': count for cause, count in sorted(totals.faults.items())}}
    return {key: str(count) for key, count in counts.items()}


def _refused(before: Totals, after: Totals) -> str:
    """Return the cause if every image received in between was dropped for its stamp."""
    received = after.received - before.received
    for cause in ('duplicate', 'late'):
        if after.dropped.get(cause, 0) - before.dropped.get(cause, 0) >= received:
            return cause
    return ''
