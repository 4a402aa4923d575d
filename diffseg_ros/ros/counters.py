"""Where every received image went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
import threading


@dataclass(frozen=True)
class Totals:
    """
    A consistent copy of the counters.

    Once nothing waits: received = processed + failed + idle + sum(dropped.values()).

    Attributes
    ----------
    idle
        Images that nobody subscribed to a result of.
    dropped
        Images not processed, by cause.
    faults
        Troubles that cost no image, such as depth that could not be used, by cause.

    """

    received: int = 0
    processed: int = 0
    failed: int = 0
    idle: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Images whose fate is known."""
        return self.processed + self.failed + self.idle + sum(self.dropped.values())

    @property
    def in_flight(self) -> int:
        """Images that wait or are being processed."""
        return self.received - self.settled


class Counters:
    """Counts from any thread."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._fates: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    def received(self) -> None:
        """Count an image that came in."""
        self._add(self._fates, 'received')

    def processed(self) -> None:
        """Count an image whose results were published."""
        self._add(self._fates, 'processed')

    def failed(self) -> None:
        """Count an image whose processing raised."""
        self._add(self._fates, 'failed')

    def idle(self) -> None:
        """Count an image that nobody wanted a result of."""
        self._add(self._fates, 'idle')

    def dropped(self, cause: str, count: int = 1) -> None:
        """Count images left out because of `cause`."""
        self._add(self._dropped, cause, count)

    def fault(self, cause: str, count: int = 1) -> None:
        """Count a trouble that cost no image."""
        self._add(self._faults, cause, count)

    def totals(self) -> Totals:
        """Return all counts of one moment."""
        with self._lock:
            return Totals(**self._fates, dropped=dict(self._dropped), faults=dict(self._faults))

    def _add(self, counter: Counter[str], key: str, count: int = 1) -> None:
        with self._lock:
            counter[key] += count
