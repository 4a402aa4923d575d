"""Where every received image went, and rates and percentiles of the recent past."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
import threading
import time
from typing import Literal

from diffseg_ros.timing import percentiles

_WINDOW_SECONDS = 5.0
_KEPT = 300


@dataclass(frozen=True)
class Totals:
    """
    A consistent copy of the counters.

    Once no image waits: received = processed + failed + idle + sum(dropped.values()).

    Attributes
    ----------
    idle
        Images that arrived while nobody subscribed to an output.
    dropped
        Images that were not processed, by cause.
    faults
        Problems that cost no image, such as unusable depth, by cause.

    """

    received: int = 0
    processed: int = 0
    failed: int = 0
    idle: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Images that wait or are being processed."""
        return (self.received - self.processed - self.failed - self.idle
                - sum(self.dropped.values()))


class Counters:
    """Counts images, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def add(self, what: Literal['received', 'processed', 'failed', 'idle']) -> None:
        """Count an image."""
        with self._lock:
            self._images[what] += 1

    def drop(self, cause: str, count: int = 1) -> None:
        """Count images that are not processed because of `cause`."""
        with self._lock:
            self._dropped[cause] += count

    def fault(self, cause: str) -> None:
        """Count a problem that costs no image."""
        with self._lock:
            self._faults[cause] += 1

    def totals(self) -> Totals:
        """Return all counts of one moment."""
        with self._lock:
            return Totals(**self._images, dropped=dict(+self._dropped), faults=dict(self._faults))


class RateMeter:
    """Events per second over the last five seconds, from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: deque[float] = deque(maxlen=4096)

    def tick(self) -> None:
        """Count an event."""
        self._times.append(self._clock())

    @property
    def rate(self) -> float:
        """Events per second; 0 with fewer than two in the last seconds."""
        start = self._clock() - _WINDOW_SECONDS
        times = [moment for moment in self._times.copy() if moment >= start]
        return (len(times) - 1) / max(times[-1] - times[0], 1e-9) if len(times) > 1 else 0.0

    @property
    def seconds_since_last(self) -> float | None:
        """Seconds since the last event, None before the first."""
        return self._clock() - self._times[-1] if self._times else None


class Percentiles:
    """The last 300 values of several named quantities, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, deque[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Add one value of each quantity."""
        with self._lock:
            for name, value in values.items():
                self._values.setdefault(name, deque(maxlen=_KEPT)).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return 'p50' and 'p95' of each quantity."""
        with self._lock:
            return {name: percentiles(list(values)) for name, values in self._values.items()}
