"""Messages of one topic by stamp, to find the partner of another topic's message."""

from __future__ import annotations

from typing import Generic, TypeVar

from diffseg_ros.time_rules import clock_jumped_back

_Message = TypeVar('_Message')


class MessageBuffer(Generic[_Message]):
    """
    The newest messages of a topic, found by their stamps (nanoseconds).

    Beyond `capacity` the message with the lowest stamp is dropped. A stamp that jumps back, as
    when a recording loops, drops all messages before it; `newest` is the highest stamp since.
    """

    def __init__(self, capacity: int = 32) -> None:
        self._capacity = capacity
        self._messages: dict[int, _Message] = {}
        self.newest: int | None = None

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, stamp: int, message: _Message, *, late: bool = False) -> None:
        """Keep a message; one of the same stamp is replaced. A `late` one is no jump."""
        if not late and clock_jumped_back(self.newest, stamp):
            self.clear()
        self.newest = stamp if self.newest is None else max(stamp, self.newest)
        self._messages[stamp] = message
        if len(self._messages) > self._capacity:
            del self._messages[min(self._messages)]

    def find(self, stamp: int, tolerance: int = 0) -> _Message | None:
        """Return the message of that stamp, else the nearest within `tolerance` ns, or None."""
        offset = self.offset(stamp)
        if offset is None or abs(offset) > tolerance:
            return None
        return self._messages[stamp + offset]

    def find_last(self, stamp: int) -> _Message | None:
        """Return the newest message that is not after a stamp, or None."""
        last = max((other for other in self._messages if other <= stamp), default=None)
        return None if last is None else self._messages[last]

    def offset(self, stamp: int) -> int | None:
        """Return how much later (ns) the nearest message is; the earlier of two as near."""
        return min((other - stamp for other in self._messages),
                   key=lambda offset: (abs(offset), offset), default=None)

    def discard(self, *, before: int | None = None, after: int | None = None) -> None:
        """Drop the messages with stamps below `before` and above `after`."""
        for stamp in list(self._messages):
            if (before is not None and stamp < before) or (after is not None and stamp > after):
                del self._messages[stamp]

    def clear(self) -> None:
        self._messages.clear()
        self.newest = None
