"""Plot of a calibration report: accuracy against confidence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffseg_ros.viz.figures import save_figure, style_axes

_LEAST_SHARE = 0.002


def draw_calibration(reports: Mapping[str, dict[str, Any]], path: Path, title: str = '') -> None:
    """
    Draw the reliability curve of each report, and below it the share of pixels in each bin.

    Bins with less than 0.2 % of the pixels are left out. The dotted line is what a margin
    between the best segment and all others promises.

    Parameters
    ----------
    reports
        What `Calibration` computes for each data set, by name; 'mean' is drawn thick.
    path
        PNG or another format that Matplotlib writes.
    title
        Above the plot.

    Raises
    ------
    DiffsegError
        The file cannot be written.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.6), dpi=100, layout='constrained')
    curve, shares = figure.subplots(2, 1, sharex=True, gridspec_kw={'height_ratios': [3, 1]})
    curve.plot([0, 1], [0.5, 1], color='0.6', linestyle=':', label='promised')
    for name, report in reports.items():
        _draw_report(curve, shares, name, report, thick=name == 'mean' or len(reports) == 1)
    curve.set_ylabel('accuracy')
    shares.set_ylabel('share of pixels')
    shares.set_xlabel('confidence')
    shares.set_xlim(0, 1)
    for axes in (curve, shares):
        style_axes(axes)
    curve.legend(fontsize=8, frameon=False, loc='lower right')
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _draw_report(curve: Any, shares: Any, name: str, report: dict[str, Any], *,
                 thick: bool) -> None:
    bins = [item for item in report['bins'] if (item['share'] or 0) >= _LEAST_SHARE]
    auroc = '-' if report['auroc'] is None else f'{report["auroc"]:.2f}'
    confidence = [item['confidence'] for item in bins]
    width, colour = (2.0, 'black') if thick else (1.0, None)
    line, = curve.plot(confidence, [item['accuracy'] for item in bins], marker='o', markersize=3,
                       label=f'{name}, AUROC {auroc}', linewidth=width, color=colour)
    shares.plot(confidence, [item['share'] for item in bins], linewidth=width,
                color=line.get_color())
