"""Reports of several recordings or data sets: their names, mean and comparison, and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffseg_ros.errors import DiffsegError

Report = dict[str, Any]

COUNTS = ('frames', 'frames_failed', 'images')
"""Values that are summed over recordings, not averaged."""

_HIGHER_IS_BETTER = ('stq', 'aq', 'idf1', 'hota', 'best_track_iou', 'voxel_agreement')
_LOWER_IS_BETTER = ('flip_rate',)


def check_names(names: Sequence[str]) -> None:
    """Raise DiffsegError if two recordings or data sets have the same name."""
    if len(set(names)) < len(names):
        raise DiffsegError(f'{", ".join(names)}: every name must be different, because the report '
                           'is by name; rename a folder or file')


def mean_report(reports: Sequence[Report]) -> Report:
    """
    Return the mean of every number over the reports that have it, each of equal weight.

    COUNTS are summed; a measure that no report has is None.
    """
    mean: Report = {}
    for key in dict.fromkeys(key for report in reports for key in report):
        values = [report.get(key) for report in reports]
        numbers = [value for value in values if isinstance(value, int | float)]
        if key in COUNTS:
            mean[key] = sum(numbers)
        elif numbers or all(value is None for value in values):
            mean[key] = sum(numbers) / len(numbers) if numbers else None
    return mean


def relative_gain(report: Report, baseline: Report) -> dict[str, float | None]:
    """
    Return by which factor each measure is better than the baseline's.

    Above 1 is better throughout: for flip_rate it is how many times fewer flips there are. None
    where either lacks the measure or the division has no result.
    """
    found = {key: _ratio(report[key], baseline[key]) for key in _HIGHER_IS_BETTER}
    return found | {key: _ratio(baseline[key], report[key]) for key in _LOWER_IS_BETTER}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


class Table:
    """
    Prints reports, one a line.

    `columns` gives a title and a format by the key of the value; dots lead into nested values.
    Measures that are None in `empty`, the values before the first frame, get a column as well.
    Widths are in characters.
    """

    def __init__(self, columns: Mapping[str, tuple[str, str]], empty: Report, *,
                 name_width: int, width: int) -> None:
        others = {key: (key, '.3f') for key, value in empty.items() if value is None}
        self._columns = {**columns, **{key: column for key, column in others.items()
                                       if key not in columns}}
        self._name_width, self._width = name_width, width

    def print_heading(self, name: str) -> None:
        self._print(name, [title for title, _ in self._columns.values()])

    def print_row(self, name: str, report: Report) -> None:
        """Print the values of a report, '-' where there is none."""
        self._print(name, [_cell(report, key, form)
                           for key, (_, form) in self._columns.items()])

    def print_gain(self, name: str, gain: Mapping[str, float | None]) -> None:
        """Print by which factors a report is better, see `relative_gain`."""
        values = [gain.get(key) for key in self._columns]
        self._print(name, ['' if value is None else f'x{value:.2f}' for value in values])

    def _print(self, name: str, cells: Sequence[str]) -> None:
        widths = [max(self._width, len(title) + 1) for title, _ in self._columns.values()]
        row = ''.join(f'{cell:>{width}}' for cell, width in zip(cells, widths))
        print(f'{name:{self._name_width}}{row}'.rstrip(), flush=True)


def _cell(report: Report, key: str, form: str) -> str:
    value: Any = report
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, dict) else None
    return '-' if value is None else format(value, form)
