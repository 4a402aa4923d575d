"""Where every received image went, and rates and percentiles of the recent past."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
import threading
import time

from diffseg_ros.timing import percentiles

_WINDOW_SECONDS = 5.0
_KEPT = 300


class Counters:
    """
    Counts by the keys of /diagnostics, from any thread.

    Every image is `received`, and then `processed`, `failed`, `idle` (nobody subscribed to an
    output) or `dropped.CAUSE`. Problems that cost no image are `fault.CAUSE`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(received=0, processed=0, failed=0, idle=0)

    def add(self, key: str, count: int = 1) -> None:
        """Count an image or a problem."""
        if count:
            with self._lock:
                self._counts[key] += count

    def totals(self) -> Counter[str]:
        """Return the counts of one moment, with `dropped` for the sum of all causes."""
        with self._lock:
            totals = self._counts.copy()
        totals['dropped'] = sum(count for key, count in totals.items()
                                if key.startswith('dropped.'))
        return totals


def in_flight(totals: Mapping[str, int]) -> int:
    """Return how many images wait or are being processed."""
    return totals['received'] - sum(
        totals[key] for key in ('processed', 'failed', 'idle', 'dropped'))


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
        self._values: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def add(self, values: Mapping[str, float]) -> None:
        """Add one value of each quantity."""
        with self._lock:
            for name, value in values.items():
                self._values[name].append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return 'p50' and 'p95' of each quantity."""
        with self._lock:
            return {name: percentiles(list(values)) for name, values in self._values.items()}
