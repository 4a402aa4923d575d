"""The names of all tracks of a run: a table for reports, and one beside clouds and maps."""

from __future__ import annotations

from collections.abc import Iterable
import csv
from io import StringIO
from pathlib import Path
from typing import Any

from diffseg_ros.io.images import write_bytes
from diffseg_ros.naming.vocabulary import Vocabulary
from diffseg_ros.types import Track

_COLUMNS = 'id', 'class_id', 'name', 'score', 'kind'


class NameTable:
    """What each track was called last, those that are gone included."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tracks: dict[int, Track] = {}

    def add(self, tracks: Iterable[Track]) -> None:
        """Take the tracks of the next frame."""
        self._tracks.update((track.id, track) for track in tracks if track.name)

    def rows(self) -> list[dict[str, Any]]:
        """Return id, class_id, name, score (0 to 1) and kind of each track with a name, by id."""
        return [{'id': track.id, 'class_id': self._vocabulary.class_of(track.name),
                 'name': track.name, 'score': round(track.name_score, 4),
                 'kind': track.kind.value}
                for _, track in sorted(self._tracks.items())]

    def write(self, path: Path) -> None:
        """Write the rows as CSV; raise DiffsegError if the file cannot be written."""
        text = StringIO()
        table = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
        table.writeheader()
        table.writerows(self.rows())
        write_bytes(path, text.getvalue().encode())
