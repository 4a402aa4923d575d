"""Reports of several sequences as one, and how one way of tracking compares with another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MEASURES = ('stq', 'sq', 'aq', 'idf1', 'hota', 'miou', 'best_track_iou', 'flip_rate',
            'compared_share', 'voxel_agreement', 'tracks', 'tracks_per_frame', 'largest_share',
            'unlabelled_share', 'miou_untracked', 'keyframe_share', 'id_switches')
"""What is averaged over sequences."""

_HIGHER_IS_BETTER = ('stq', 'aq', 'idf1', 'hota', 'best_track_iou', 'voxel_agreement')
_LOWER_IS_BETTER = ('flip_rate',)

Report = dict[str, Any]


def mean_report(reports: Sequence[Report]) -> Report:
    """
    Return the mean of the measures over the sequences that have them, each of equal weight.

    `frames` is the sum; a measure that no sequence has is None.
    """
    mean: Report = {'frames': sum(report['frames'] for report in reports)}
    for key in MEASURES:
        values = [report[key] for report in reports if report.get(key) is not None]
        mean[key] = sum(values) / len(values) if values else None
    return mean


def gains(report: Report, yardstick: Report) -> dict[str, float | None]:
    """
    Return how many times better each measure is than the yardstick's.

    Above 1 is better throughout: for flip_rate it says how many times fewer flips there are.
    None where either lacks the measure or the division has no result.
    """
    found = {key: _ratio(report[key], yardstick[key]) for key in _HIGHER_IS_BETTER}
    return found | {key: _ratio(yardstick[key], report[key]) for key in _LOWER_IS_BETTER}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
