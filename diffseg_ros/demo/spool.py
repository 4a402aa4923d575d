"""A plain file of serialised messages: cheap to write while time matters, sorted out later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import mmap
from pathlib import Path
import struct

_RECORD = struct.Struct('<HqQ')


@dataclass(frozen=True)
class Recorded:
    """
    A message as it came in.

    Attributes
    ----------
    received
        When it came in, nanoseconds of the system clock.
    data
        CDR bytes.

    """

    topic: str
    received: int
    data: memoryview


class SpoolWriter:
    """Appends messages to a file."""

    def __init__(self, path: Path, topics: list[str]) -> None:
        """Create the file for messages of these topics."""
        self._file = path.open('wb')
        self._numbers = {topic: number for number, topic in enumerate(topics)}

    def write(self, topic: str, received: int, data: bytes) -> None:
        """Append one message."""
        self._file.write(_RECORD.pack(self._numbers[topic], received, len(data)))
        self._file.write(data)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class Spool:
    """Reads what a SpoolWriter wrote, in the order of reception."""

    def __init__(self, path: Path, topics: list[str]) -> None:
        """Map the file and find its messages; one cut off at the end is left out."""
        self._index: list[tuple[str, int, int, int]] = []
        size = path.stat().st_size
        self._view = memoryview(b'')
        if size:
            with path.open('rb') as file:
                self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        place = 0
        while place + _RECORD.size <= size:
            number, received, length = _RECORD.unpack_from(self._view, place)
            place += _RECORD.size
            if place + length > size:
                break
            self._index.append((topics[number], received, place, length))
            place += length

    def messages(self, topic: str | None = None) -> Iterator[Recorded]:
        """Yield all messages, or those of one topic."""
        for name, received, place, length in self._index:
            if topic is None or name == topic:
                yield Recorded(name, received, self._view[place:place + length])
