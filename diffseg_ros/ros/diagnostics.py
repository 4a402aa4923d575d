"""/diagnostics: how the node is, in one sentence and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from diffseg_ros.error_text import gpu_memory, process_memory
from diffseg_ros.ros.counters import Totals
from diffseg_ros.ros.outputs import Outputs
from diffseg_ros.ros.processor import FrameProcessor
from diffseg_ros.ros.status import explain, Situation
from diffseg_ros.ros.status_logger import Narrator
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node

_TICK_SECONDS = 0.2
_QUIET_SECONDS = 0.3


@dataclass(frozen=True)
class Report:
    """
    What one diagnostics message is made of.

    Attributes
    ----------
    milliseconds
        (p50, p95) by name.
    facts
        Further values by name, as text.

    """

    situation: Situation
    totals: Totals
    milliseconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)


def report_of(situation: Situation, totals: Totals, processor: FrameProcessor | None,
              outputs: Outputs | None, epoch: int) -> Report:
    """Return the report with what is known of the frames processed."""
    facts = {'state': situation.state, 'epoch': str(epoch),
             'input_rate_hz': f'{situation.input_rate:.2f}', **process_memory()}
    if processor is None or outputs is None:
        return Report(situation, totals, facts=facts)
    backbone, motion = processor.pipeline.backbone, processor.motion
    situation = replace(
        situation, failure=processor.failure, cloud_trouble=processor.cloud_trouble,
        unencodable=outputs.encoder.unencodable, output_rate=processor.output_rate.rate,
        busy_seconds=processor.busy_seconds)
    facts |= {'output_rate_hz': f'{situation.output_rate:.2f}', 'model': backbone.name,
              'device': str(backbone.device), 'tracks': str(processor.pipeline.track_count),
              'tracks_live': str(processor.live_tracks),
              'camera_motion': motion.source or f'none: {motion.trouble}'.rstrip(': '),
              'unencodable_ids': str(situation.unencodable),
              'last_failure': processor.last_failure, **gpu_memory(str(backbone.device))}
    return Report(situation, totals, processor.milliseconds.summary(), facts)


class Diagnostics:
    """
    Publishes at a fixed period, and soon after the counters came to rest.

    The timer runs on a steady clock, so that it also works while simulated time stands still.
    """

    def __init__(self, node: Node, period: float, look: Callable[[], Report],
                 totals: Callable[[], Totals]) -> None:
        """Begin to publish what `look` sees every `period` seconds."""
        self.period = period
        self._node = node
        self._totals = totals
        self._look = look
        self._name = f'{node.get_fully_qualified_name().lstrip("/")}: pipeline'
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._published_at = -period
        self._published = self._seen = Totals()
        self._refused = ''
        self._narrator = Narrator(node.get_logger())
        self._seen_at = 0.0
        node.create_timer(_TICK_SECONDS, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self, *, flush: bool = False) -> None:
        """Publish now; `flush` gives the message half a second to arrive."""
        report = self._look()
        totals = report.totals
        self._refused = _refused(self._published, totals, self._refused)
        level, sentence = explain(replace(report.situation, refused=self._refused))
        self._narrator.report(level, sentence)
        values = {**_counts(totals), **report.facts}
        for name, (median, high) in report.milliseconds.items():
            values[f'{name}.p50_ms'] = f'{median:.1f}'
            values[f'{name}.p95_ms'] = f'{high:.1f}'
        status = DiagnosticStatus(
            level=bytes([level]), name=self._name, message=sentence,
            hardware_id=report.facts.get('model', ''),
            values=[KeyValue(key=key, value=value) for key, value in values.items()])
        message = DiagnosticArray(status=[status])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
        self._published, self._published_at = totals, time.monotonic()
        if flush:
            self._publisher.wait_for_all_acked(Duration(seconds=0.5))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Publish from a thread of its own, while work in this one holds the timer up."""
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
        now = time.monotonic()
        totals = self._totals()
        if totals != self._seen:
            self._seen, self._seen_at = totals, now
        rested = (totals != self._published and not totals.in_flight
                  and now - self._seen_at >= _QUIET_SECONDS)
        if rested or now - self._published_at >= self.period:
            self.publish()


def _counts(totals: Totals) -> dict[str, str]:
    return {'received': str(totals.received), 'processed': str(totals.processed),
            'failed': str(totals.failed), 'idle': str(totals.idle),
            'dropped': str(sum(totals.dropped.values())),
            **{f'dropped.{cause}': str(count) for cause, count in sorted(totals.dropped.items())},
            **{f'fault.{cause}': str(count) for cause, count in sorted(totals.faults.items())}}


def _refused(before: Totals, after: Totals, last: str) -> str:
    """Return the cause when every image since `before` was refused for its stamp."""
    received = after.received - before.received
    if not received:
        return last
    for cause in ('duplicate', 'late'):
        if after.dropped.get(cause, 0) - before.dropped.get(cause, 0) >= received:
            return cause
    return ''
