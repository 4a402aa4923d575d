"""What a comparison reads of the folder that a replay wrote."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
import json
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_bytes, sorted_images


@dataclass(frozen=True)
class ReplayFolder:
    """
    The results of one replay.

    Attributes
    ----------
    source
        Name of the recording; that of the folder where report.json does not say.
    labels
        Label images by the frame's number in the recording, in order.
    names
        What each track is called, by id; None where naming was off.
    stages
        Mean milliseconds of each stage; empty without report.json.

    """

    path: Path
    source: str
    labels: dict[int, Path]
    names: dict[int, str] | None
    stages: dict[str, float]

    @classmethod
    def open(cls, path: Path) -> ReplayFolder:
        """
        Return what `diffseg_replay --output PATH` left there.

        Raises
        ------
        DiffsegError
            There are no labels, or report.json or names.csv cannot be read.

        """
        labels = {int(file.stem): file for file in sorted_images(path / 'labels', ('.png',))
                  if file.stem.isdecimal()}
        if not labels:
            raise DiffsegError(f'{path}: has no labels/NNNNNN.png; name a folder that '
                               'diffseg_replay wrote')
        source, stages = _report(path / 'report.json')
        return cls(path, source or path.resolve().name, labels, _names(path / 'names.csv'), stages)

    def overlay(self, number: int) -> Path | None:
        """Return the overlay of a frame, None where there is none."""
        path = self.path / 'overlay' / f'{self.labels[number].stem}.jpg'
        return path if path.is_file() else None


def _report(path: Path) -> tuple[str, dict[str, float]]:
    """Return the name of the source and the mean milliseconds by stage."""
    if not path.is_file():
        return '', {}
    try:
        report: dict[str, Any] = json.loads(read_bytes(path))
        return str(report.get('source', '')), {
            stage: float(times['mean']) for stage, times in report['latency_ms'].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DiffsegError(f'{path}: is no report of diffseg_replay ({error}); replay the '
                           'recording again, or move the file away') from error


def _names(path: Path) -> dict[int, str] | None:
    if not path.is_file():
        return None
    try:
        rows = csv.DictReader(StringIO(read_bytes(path).decode()))
        return {int(row['id']): row['name'] for row in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise DiffsegError(f'{path}: has no columns id and name ({error}); replay the recording '
                           'again, or move the file away') from error
