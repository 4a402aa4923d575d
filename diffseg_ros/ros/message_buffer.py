"""The stream of messages that belongs to the images: depth or camera_info."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

_KEPT = 32
_PATIENCE = 3


class Partners:
    """
    Messages of one topic by stamp, and whether it pays to wait for them.

    An image waits for its partner until the topic let three images in a row wait in vain; from
    then on no image waits, until a message comes within the time limit after the image of its
    stamp. A topic that is absent, slow or stamped differently therefore delays three images
    and no more.
    """

    def __init__(self) -> None:
        """Start with an empty memory, willing to wait."""
        self._messages: OrderedDict[int, Any] = OrderedDict()
        self._last_stamp: int | None = None
        self._misses = 0
        self.latest: Any = None
        self.count = 0
        self.skew: int | None = None

    @property
    def awaited(self) -> bool:
        """Whether an image should wait for its partner."""
        return self._misses < _PATIENCE

    def add(self, message: Any, stamp: int, jump: int) -> None:
        """Keep a message; one that is more than `jump` ns behind the last clears the memory."""
        if self._last_stamp is not None and self._last_stamp - stamp > jump:
            self._messages.clear()
        self._last_stamp = stamp
        self.latest = message
        self.count += 1
        self._messages[stamp] = message
        if len(self._messages) > _KEPT:
            self._messages.popitem(last=False)

    def find(self, stamp: int, slop: int = 0) -> Any:
        """Return the message of that stamp, else the nearest within `slop` ns, or None."""
        if stamp in self._messages or not slop:
            return self._messages.get(stamp)
        nearest = min(self._messages, key=lambda other: abs(other - stamp), default=None)
        if nearest is None or abs(nearest - stamp) > slop:
            return None
        return self._messages[nearest]

    def decided(self, stamp: int, slop: int = 0) -> bool:
        """Return whether `find` gives what it will ever give, as stamps of a topic rise."""
        if stamp in self._messages:
            return True
        return (slop > 0 and self._last_stamp is not None and self._last_stamp > stamp
                and self.find(stamp, slop) is not None)

    def found(self) -> None:
        """Note that an image got its partner."""
        self._misses = 0
        self.skew = None

    def missed(self, stamp: int) -> None:
        """Note that an image went on without its partner, and how far off the nearest was."""
        self._misses += 1
        if self._messages:
            self.skew = min((other - stamp for other in self._messages), key=abs)

    def forget(self, *, before: int | None = None, after: int | None = None) -> None:
        """Drop messages with stamps up to `before`, or beyond `after`."""
        for stamp in list(self._messages):
            if (before is not None and stamp <= before) or (after is not None and stamp > after):
                del self._messages[stamp]
