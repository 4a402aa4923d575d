"""The table that `diffseg_evaluate tracks` prints."""

from __future__ import annotations

from typing import Any

_COLUMNS = {'miou': ('mIoU', '.3f'), 'stq': ('STQ', '.3f'), 'aq': ('AQ', '.3f'),
            'idf1': ('IDF1', '.3f'), 'hota': ('HOTA', '.3f'),
            'best_track_iou': ('best IoU', '.3f'), 'flip_rate': ('flips', '.4f'),
            'voxel_agreement': ('voxels', '.3f'), 'compared_share': ('compared', '.3f'),
            'tracks': ('tracks', '.0f'), 'tracks_per_frame': ('a frame', '.1f'),
            'largest_share': ('largest', '.3f'), 'unlabelled_share': ('unlab.', '.3f')}
_NAME_WIDTH = 32
_WIDTH = 9


def print_heading(name: str) -> None:
    """Print the names of the columns."""
    _print_row(name, [title for title, _ in _COLUMNS.values()] + ['ms'])


def print_report(name: str, report: dict[str, Any]) -> None:
    """Print the measures of one sequence, or of the mean of several."""
    cells = [_cell(report.get(key), form) for key, (_, form) in _COLUMNS.items()]
    latency = report.get('latency_ms', {}).get('total')
    _print_row(name, [*cells, _cell(latency and latency['mean'], '.0f')])


def print_gains(name: str, gains: dict[str, float | None]) -> None:
    """Print how many times better than the yardstick the measures are."""
    _print_row(name, [_gain(gains.get(key)) for key in _COLUMNS])


def _cell(value: float | None, form: str) -> str:
    return '-' if value is None else format(value, form)


def _gain(value: float | None) -> str:
    return '' if value is None else f'x{value:.2f}'


def _print_row(name: str, cells: list[str]) -> None:
    print(f'{name:{_NAME_WIDTH}}' + ''.join(f'{cell:>{_WIDTH}}' for cell in cells).rstrip(),
          flush=True)
