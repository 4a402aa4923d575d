"""Cuts long recordings into parts that overlap, and tells when all parts of one are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffseg_ros.fleet.index import Row
from diffseg_ros.fleet.recordings import Part, Recording


@dataclass(frozen=True)
class PartRow(Row):
    """What became of a part of a recording; its frames are those of the part."""

    part: int = 0


def parts_of(count: int, length: int, overlap: int) -> list[Part]:
    """Cut `count` frames into parts of about `length`, each with frames of the one before."""
    number = max(1, round(count / max(length, 2 * overlap)))
    ends = [count * place // number for place in range(number + 1)]
    return [Part(place, max(0, begin - overlap), begin, end)
            for place, (begin, end) in enumerate(zip(ends, ends[1:], strict=False))]


class PartsInWork:
    """The recordings of which some parts are labelled and some are not."""

    def __init__(self, tasks: Sequence[Recording]) -> None:
        self._parts: dict[str, list[Recording]] = {}
        for task in tasks:
            if task.part is not None:
                self._parts.setdefault(task.name, []).append(task)
        self._missing = {name: len(parts) for name, parts in self._parts.items()}
        self._failed: set[str] = set()

    def add(self, row: Row) -> Row | Recording | None:
        """
        Take what became of a task.

        Return the row if it is that of a recording, the task that joins the parts of one when all
        are labelled, None if there is nothing to do yet, or no more.
        """
        name = row.recording
        if name in self._failed:
            return None
        if not isinstance(row, PartRow):
            if self._missing.pop(name, None) is not None:
                self._failed.add(name)
            return row
        self._missing[name] -= 1
        if self._missing[name]:
            return None
        del self._missing[name]
        parts = self._parts[name]
        return replace(parts[0], part=None, parts=tuple(task.part for task in parts if task.part))
