"""Latest-frame-only intake: pairs images with depth and camera_info, keeps the newest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
import threading
import time
from typing import Any

from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.message_buffer import Partners

EPOCH_JUMP = 500_000_000
"""A stamp this many nanoseconds behind the last begins a new epoch."""
_REMEMBERED = 64
_SHORT_EPOCH = 10
_SHORT_EPOCHS = 3
_PENDING = 32


@dataclass(frozen=True)
class Bundle:
    """
    An image and the messages that belong to it.

    Attributes
    ----------
    depth
        Message of the image's stamp, else the nearest that `slop` allows, or None.
    camera_info
        Message of the image's stamp, else the topic's latest, else None.
    arrival
        When the image came, on the intake's clock, in seconds.

    """

    image: Any
    depth: Any
    camera_info: Any
    stamp: int
    epoch: int
    arrival: float


@dataclass
class _Pending:
    image: Any
    arrival: float
    epoch: int


def stamp_of(message: Any) -> int:
    """Return the stamp of a message's header in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class Intake:
    """
    Holds at most one frame for the worker: the newest complete one.

    An image is complete when the depth and camera_info of its own stamp are there, or after
    `timeout` seconds without them (see Partners for when waiting stops). With `slop` it is also
    complete when depth at most `slop` ns away is there and depth after the image's stamp came,
    so that none nearer can follow; the nearest is taken. A complete frame
    replaces older ones, which count as `superseded`. Stamps are compared with each other,
    never with the clock: one more than 0.5 s behind the newest begins a new epoch, a smaller
    step back is `late`, the same again is a `duplicate`. Images closer than `period` ns count
    as `rate_limit`.
    """

    def __init__(self, counters: Counters, *, timeout: float = 0.1,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed and empty."""
        self.timeout = timeout
        self.slop = self.period = 0
        self.depth = Partners()
        self.camera_info = Partners()
        self._counters = counters
        self._clock = clock
        self._changed = threading.Condition()
        self._open = False
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        self._ready: Bundle | None = None
        self._recent: OrderedDict[int, float] = OrderedDict()
        self._newest: int | None = None
        self._due: int | None = None
        self._epoch = self._short_epochs = 0

    @property
    def epoch(self) -> int:
        """Number of times that time jumped back or `restart` was called."""
        return self._epoch

    @property
    def restless(self) -> bool:
        """Whether stamps jump back every few images, as with two clocks on one topic."""
        return self._short_epochs >= _SHORT_EPOCHS and len(self._recent) < _SHORT_EPOCH

    def start(self) -> None:
        """Accept images from now on, without a memory of what came before."""
        with self._changed:
            if self._newest is not None:
                self._begin_epoch()
            self.depth, self.camera_info = Partners(), Partners()
            self._open = True

    def close(self) -> None:
        """Drop what waits and send the worker home: `take` returns None."""
        with self._changed:
            self._open = False
            self._drop_waiting('deactivated')
            self._changed.notify_all()

    def restart(self) -> None:
        """Begin a new epoch with the next image, whatever its stamp."""
        with self._changed:
            self._begin_epoch()

    def add_image(self, message: Any, *, wanted: bool = True, enabled: bool = True) -> None:
        """Take an image in; unwanted ones count as idle, and when not enabled as `disabled`."""
        stamp = stamp_of(message)
        with self._changed:
            self._counters.received()
            cause = self._ordered(stamp) if self._open else 'deactivated'
            if cause is None and not enabled:
                cause = 'disabled'
            if cause is not None:
                self._counters.dropped(cause)
            elif not wanted:
                self._counters.idle()
            elif self._too_soon(stamp):
                self._counters.dropped('rate_limit')
            else:
                now = self._clock()
                self._pending[stamp] = _Pending(message, now, self._epoch)
                self._advance(now)
                self._changed.notify_all()

    def add_depth(self, message: Any) -> None:
        """Take a depth image in."""
        self._add_partner('depth', message)

    def add_camera_info(self, message: Any) -> None:
        """Take a camera_info in."""
        self._add_partner('camera_info', message)

    def take(self, patience: float | None = None) -> Bundle | None:
        """Wait for a frame and hand it over; None when closed or after `patience` seconds."""
        end = None if patience is None else self._clock() + patience
        with self._changed:
            while self._open:
                now = self._clock()
                self._advance(now)
                if self._ready is not None:
                    bundle, self._ready = self._ready, None
                    return bundle
                if end is not None and now >= end:
                    return None
                limits = [entry.arrival + self.timeout for entry in self._pending.values()]
                limits += [] if end is None else [end]
                self._changed.wait(max(min(limits) - now, 1e-3) if limits else None)
            return None

    def _add_partner(self, topic: str, message: Any) -> None:
        stamp = stamp_of(message)
        with self._changed:
            now = self._clock()
            partners: Partners = getattr(self, topic)
            partners.add(message, stamp, EPOCH_JUMP)
            slop = self.slop if topic == 'depth' else 0
            if any(abs(stamp - other) <= slop and now - arrival <= self.timeout
                   for other, arrival in self._recent.items()):
                partners.found()
            self._advance(now)
            self._changed.notify_all()

    def _ordered(self, stamp: int) -> str | None:
        """Return why an image with this stamp cannot be used; note the stamp if it can."""
        if self._newest is not None:
            if self._newest - stamp > EPOCH_JUMP:
                short = len(self._recent) < _SHORT_EPOCH
                self._short_epochs = self._short_epochs + 1 if short else 0
                self._begin_epoch()
                for partners in (self.depth, self.camera_info):
                    partners.forget(after=stamp + EPOCH_JUMP)
            elif stamp in self._recent:
                return 'duplicate'
            elif stamp < self._newest:
                return 'late'
        self._newest = stamp
        self._recent[stamp] = self._clock()
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return None

    def _too_soon(self, stamp: int) -> bool:
        """Return whether the rate limit leaves an image out; a tenth of jitter is forgiven."""
        if not self.period:
            return False
        if self._due is not None and stamp < self._due - self.period // 10:
            return True
        on_time = self._due is not None and stamp < self._due + self.period
        self._due = (self._due if on_time and self._due is not None else stamp) + self.period
        return False

    def _begin_epoch(self) -> None:
        self._drop_waiting('superseded')
        self._recent.clear()
        self._newest = self._due = None
        self._epoch += 1

    def _drop_waiting(self, cause: str) -> None:
        count = len(self._pending) + (self._ready is not None)
        if count:
            self._counters.dropped(cause, count)
        self._pending.clear()
        self._ready = None

    def _advance(self, now: float) -> None:
        """Make the newest image that is complete, or has waited long enough, the ready one."""
        excess = len(self._pending) - _PENDING
        for number, stamp in reversed(list(enumerate(self._pending))):
            entry = self._pending[stamp]
            if (self._complete(stamp) or number < excess
                    or now - entry.arrival >= self.timeout):
                self._release(stamp)
                return

    def _complete(self, stamp: int) -> bool:
        return all(partners.decided(stamp, slop) or not partners.awaited
                   for partners, slop in ((self.depth, self.slop), (self.camera_info, 0)))

    def _release(self, stamp: int) -> None:
        entry = self._pending.pop(stamp)
        older = [other for other in self._pending if other < stamp]
        for other in older:
            del self._pending[other]
        if dropped := len(older) + (self._ready is not None):
            self._counters.dropped('superseded', dropped)
        depth, camera_info = self.depth.find(stamp, self.slop), self.camera_info.find(stamp)
        for partners, message, slop in ((self.depth, depth, self.slop),
                                        (self.camera_info, camera_info, 0)):
            partners.missed(stamp) if message is None else partners.found()
            partners.forget(before=stamp - slop)
        if camera_info is None:
            camera_info = self.camera_info.latest
        self._ready = Bundle(entry.image, depth, camera_info, stamp, entry.epoch, entry.arrival)
