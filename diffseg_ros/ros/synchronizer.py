"""Pairs images with depth and camera_info by stamp; only the newest frame waits."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
import threading
import time
from typing import Any

from diffseg_ros.config import NodeConfig
from diffseg_ros.io.message_buffer import MessageBuffer
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.messages import stamp_of
from diffseg_ros.time_rules import clock_jumped_back, TIME_JUMP_NS

_REMEMBERED_STAMPS = 64
_MOST_WAITING = 32
_TIMEOUTS_IN_A_ROW = 3
_SHORT_EPOCH_IMAGES = 10
_SHORT_EPOCHS_IN_A_ROW = 3


@dataclass(frozen=True)
class SyncedMessages:
    """
    An image and the messages that belong to it.

    Attributes
    ----------
    arrival
        When the image arrived, in seconds of the synchroniser's clock.
    outputs
        Names of the outputs that had subscribers then.
    depth
        Message of the image's stamp, else the nearest within the tolerance, or None.
    camera_info
        Message of the image's stamp, else the topic's latest, or None.

    """

    image: Any
    stamp: int
    epoch: int
    arrival: float
    outputs: Set[str]
    depth: Any = None
    camera_info: Any = None


class PartnerTopic:
    """
    The messages of depth or camera_info, and whether images wait for them.

    After three timeouts in a row images no longer wait, until a message arrives in time again.
    So a topic that is absent, slow or stamped differently delays three images only.

    Attributes
    ----------
    tolerance
        Largest difference in nanoseconds between the stamps of an image and its message.
    latest
        Newest message, or None.
    offset
        How much later (ns) the nearest message was when an image went on without one; None
        since a message was found.

    """

    def __init__(self) -> None:
        self.tolerance = 0
        self.clear()

    def clear(self) -> None:
        """Forget all messages, and let images wait again."""
        self.buffer: MessageBuffer[Any] = MessageBuffer()
        self.latest: Any = None
        self.arrived_in_time()

    def arrived_in_time(self) -> None:
        """Let images wait again."""
        self._timeouts = 0
        self.offset: int | None = None

    def needs_waiting(self, stamp: int) -> bool:
        """Return whether an image waits, as its message or a nearer one may still come."""
        if self._timeouts >= _TIMEOUTS_IN_A_ROW or self.buffer.find(stamp) is not None:
            return False
        passed = self.buffer.newest is not None and self.buffer.newest > stamp
        return not passed or self.buffer.find(stamp, self.tolerance) is None

    def take(self, stamp: int) -> Any:
        """Return the message for an image, or None; no older image may be asked for later."""
        message = self.buffer.find(stamp, self.tolerance)
        if message is None:
            self._timeouts += 1
            self.offset = self.buffer.offset(stamp)
        else:
            self.arrived_in_time()
        self.buffer.discard(before=stamp - self.tolerance + 1)
        return message


class FrameSynchronizer:
    """
    Holds at most one frame for the worker: the newest complete one.

    An image is complete when depth and camera_info of its own stamp are there, or after
    `timeout` seconds. With a tolerance it is also complete when depth within it is there and
    later depth too, so that no nearer one can follow. A complete frame replaces an older one,
    which is dropped as `superseded`.

    Stamps are compared with each other, never with the clock. A time jump begins a new epoch; a
    smaller step back is `late`, the same stamp again a `duplicate`. Images that come sooner than
    `min_period` (ns, 0 is off) allows are dropped as `rate_limit`.
    """

    def __init__(self, counters: Counters, *, timeout: float = 0.1,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self.min_period = 0
        self.depth = PartnerTopic()
        self.camera_info = PartnerTopic()
        self.epoch = 0
        self._counters = counters
        self._clock = clock
        self._changed = threading.Condition()
        self._open = False
        self._waiting: dict[int, SyncedMessages] = {}
        self._ready: SyncedMessages | None = None
        self._arrivals: dict[int, float] = {}
        self._newest: int | None = None
        self._due: int | None = None
        self._short_epochs = 0

    @property
    def unstable_stamps(self) -> bool:
        """Whether stamps jump back every few images, as with two clocks on one topic."""
        return (self._short_epochs >= _SHORT_EPOCHS_IN_A_ROW
                and len(self._arrivals) < _SHORT_EPOCH_IMAGES)

    def configure(self, config: NodeConfig) -> None:
        """Apply the node's settings from the next message on."""
        self.timeout = config.sync_timeout
        self.depth.tolerance = round(config.sync_slop * 1e9)
        self.min_period = round(1e9 / config.max_rate) if config.max_rate else 0

    def start(self) -> None:
        """Accept images from now on, without any memory of earlier messages."""
        with self._changed:
            if self._newest is not None:
                self._begin_epoch()
            self.depth.clear()
            self.camera_info.clear()
            self._open = True

    def close(self) -> None:
        """Drop the images that wait and end the worker: `take` returns None."""
        with self._changed:
            self._open = False
            self._drop_waiting('deactivated')
            self._changed.notify_all()

    def restart(self) -> None:
        """Begin a new epoch with the next image, whatever its stamp."""
        with self._changed:
            self._begin_epoch()

    def add_image(self, message: Any, outputs: Set[str], *, enabled: bool = True) -> None:
        """Accept an image, with the outputs that have subscribers; without any it is idle."""
        stamp = stamp_of(message)
        with self._changed:
            self._counters.add('received')
            if self._open:
                self._begin_epoch_if_clock_jumped(stamp)
            fate = self._why_not_processed(stamp, outputs, enabled=enabled)
            if fate:
                self._counters.add(fate)
                return
            self._waiting[stamp] = SyncedMessages(message, stamp, self.epoch, self._clock(),
                                                  outputs)
            self._update_ready()

    def add_depth(self, message: Any) -> None:
        """Accept a depth image."""
        self._add_partner(self.depth, message)

    def add_camera_info(self, message: Any) -> None:
        """Accept a camera_info."""
        self._add_partner(self.camera_info, message)

    def take(self, *, wait: bool = True) -> SyncedMessages | None:
        """Return the newest frame as soon as there is one; None when closed."""
        with self._changed:
            while self._open:
                self._update_ready()
                if self._ready is not None:
                    messages, self._ready = self._ready, None
                    return messages
                if not wait:
                    break
                oldest = min((image.arrival for image in self._waiting.values()), default=None)
                self._changed.wait(None if oldest is None else max(
                    oldest + self.timeout - self._clock(), 1e-3))
            return None

    def _add_partner(self, topic: PartnerTopic, message: Any) -> None:
        stamp = stamp_of(message)
        with self._changed:
            topic.latest = message
            topic.buffer.add(stamp, message)
            earliest = self._clock() - self.timeout
            if any(abs(stamp - other) <= topic.tolerance and arrival >= earliest
                   for other, arrival in self._arrivals.items()):
                topic.arrived_in_time()
            self._update_ready()

    def _why_not_processed(self, stamp: int, outputs: Set[str], *, enabled: bool) -> str:
        """Return what an image counts as when it is not processed; note its stamp if in order."""
        if not self._open:
            return 'dropped.deactivated'
        if stamp in self._arrivals:
            return 'dropped.duplicate'
        if self._newest is not None and stamp < self._newest:
            return 'dropped.late'
        self._newest = stamp
        self._arrivals[stamp] = self._clock()
        if len(self._arrivals) > _REMEMBERED_STAMPS:
            del self._arrivals[next(iter(self._arrivals))]
        if not enabled:
            return 'dropped.disabled'
        if not outputs:
            return 'idle'
        return 'dropped.rate_limit' if self._exceeds_rate(stamp) else ''

    def _exceeds_rate(self, stamp: int) -> bool:
        """Return whether an image comes too soon; a tenth of a period is tolerated as jitter."""
        if not self.min_period:
            return False
        if self._due is None or stamp >= self._due + self.min_period:
            self._due = stamp
        if stamp < self._due - self.min_period // 10:
            return True
        self._due += self.min_period
        return False

    def _begin_epoch_if_clock_jumped(self, stamp: int) -> None:
        if clock_jumped_back(self._newest, stamp):
            short = len(self._arrivals) < _SHORT_EPOCH_IMAGES
            self._short_epochs = self._short_epochs + 1 if short else 0
            self._begin_epoch()
            # Depth may have jumped back before the images; what came then is kept.
            for topic in (self.depth, self.camera_info):
                topic.buffer.discard(after=stamp + TIME_JUMP_NS)

    def _begin_epoch(self) -> None:
        self._drop_waiting('superseded')
        self._arrivals.clear()
        self._newest = self._due = None
        self.epoch += 1

    def _drop_waiting(self, cause: str) -> None:
        self._counters.add(f'dropped.{cause}', len(self._waiting) + (self._ready is not None))
        self._waiting.clear()
        self._ready = None

    def _update_ready(self) -> None:
        """Make the newest image that is complete, or has waited long enough, the ready one."""
        excess, now = len(self._waiting) - _MOST_WAITING, self._clock()
        for number, (stamp, image) in reversed(list(enumerate(self._waiting.items()))):
            if (now - image.arrival >= self.timeout or number < excess
                    or not self.depth.needs_waiting(stamp)
                    and not self.camera_info.needs_waiting(stamp)):
                self._make_ready(image)
                break
        self._changed.notify_all()

    def _make_ready(self, image: SyncedMessages) -> None:
        older = [stamp for stamp in self._waiting if stamp < image.stamp]
        for stamp in (*older, image.stamp):
            del self._waiting[stamp]
        self._counters.add('dropped.superseded', len(older) + (self._ready is not None))
        self._ready = replace(
            image, depth=self.depth.take(image.stamp),
            camera_info=self.camera_info.take(image.stamp) or self.camera_info.latest)
