"""Rates and percentiles over the recent past, from any thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
import threading
import time

import numpy as np

_WINDOW_SECONDS = 5.0
_KEPT = 300


class RateMeter:
    """Counts events per second over the last five seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without an event."""
        self._clock = clock
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=4096)
        self._last: float | None = None

    def tick(self) -> None:
        """Note an event."""
        with self._lock:
            self._last = self._clock()
            self._times.append(self._last)

    @property
    def rate(self) -> float:
        """Events per second; 0 with fewer than two in the window."""
        with self._lock:
            now = self._clock()
            while self._times and now - self._times[0] > _WINDOW_SECONDS:
                self._times.popleft()
            if len(self._times) < 2:
                return 0.0
            span = max(self._times[-1] - self._times[0], 1e-9)
            return (len(self._times) - 1) / span

    @property
    def seconds_since_last(self) -> float | None:
        """Seconds since the last event, None before the first."""
        with self._lock:
            return None if self._last is None else self._clock() - self._last


class Percentiles:
    """The last 300 values of several named quantities."""

    def __init__(self) -> None:
        """Start without values."""
        self._lock = threading.Lock()
        self._values: dict[str, deque[float]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Note one value of each quantity."""
        with self._lock:
            for name, value in values.items():
                self._values.setdefault(name, deque(maxlen=_KEPT)).append(value)

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return (p50, p95) of each quantity."""
        with self._lock:
            copies = {name: list(values) for name, values in self._values.items()}
        return {name: (float(np.percentile(values, 50)), float(np.percentile(values, 95)))
                for name, values in copies.items()}
