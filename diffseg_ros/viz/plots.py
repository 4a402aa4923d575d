"""Plots: when each track was seen, and accuracy against confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.io.images import write_bytes
from diffseg_ros.types import LabelImage
from diffseg_ros.viz.colours import label_colours
import numpy as np
import numpy.typing as npt

MAX_TRACKS = 40
"""Rows of a timeline; tracks seen in fewer frames are only counted."""

IdSwitches = Sequence[tuple[int, int, int]]
"""Frame, id before and id after of each identity switch."""

_WIDTH_INCHES = 10.0
_ROW_INCHES = 0.17
_LEAST_ROWS = 3
_INK = '0.25'
_LEAST_SHARE = 0.002


@dataclass
class TrackLife:
    """A track, when it was seen, and the first and last frame of each run that shows it."""

    track_id: int
    birth: int
    end: int
    frames_seen: int = 0
    spans: list[list[int]] = field(default_factory=list)


class Timeline:
    """Follows which ids the frames show, with their stamps (ns) and numbers of tracks."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.counts: list[int] = []
        self._lives: dict[int, TrackLife] = {}

    def add(self, stamp: int, labels: LabelImage) -> None:
        """Add the next frame: its stamp in nanoseconds and (H, W) ids, negative = unlabelled."""
        frame = len(self.stamps)
        ids = distinct_labels(labels)
        ids = ids[ids >= 0]
        self.stamps.append(stamp)
        self.counts.append(len(ids))
        for track_id in ids.tolist():
            life = self._lives.setdefault(track_id, TrackLife(track_id, frame, frame))
            if life.spans and life.end == frame - 1:
                life.spans[-1][1] = frame
            else:
                life.spans.append([frame, frame])
            life.end = frame
            life.frames_seen += 1

    def lives(self) -> list[TrackLife]:
        """Return all tracks, those seen in most frames first, of equals the oldest."""
        return sorted(self._lives.values(),
                      key=lambda life: (-life.frames_seen, life.birth, life.track_id))


def draw_timeline(timeline: Timeline, path: Path, title: str = '',
                  switches: IdSwitches | None = None) -> None:
    """
    Draw when tracks start, are lost and end, in the colours of overlays.

    Above the rows a histogram shows how many tracks each frame has. `switches` is None without
    truth. Raises DiffsegError when the timeline has no frame or the file cannot be written.
    """
    from matplotlib.figure import Figure

    if not timeline.stamps:
        raise DiffsegError(f'{path}: no frame to show')
    lives = timeline.lives()
    shown = lives[:MAX_TRACKS]
    rows_high = max(_LEAST_ROWS, len(shown)) * _ROW_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, rows_high + 2.1), dpi=110, layout='constrained')
    counts, rows = figure.subplots(2, 1, sharex=True,
                                   gridspec_kw={'height_ratios': [0.8, rows_high]})
    edges, unit = _edges(timeline.stamps)
    _draw_counts(counts, timeline, lives, edges)
    _draw_rows(rows, shown, edges)
    if switches is not None:
        _draw_switches(rows, switches, shown, edges)
    rows.set(xlabel=unit, xlim=(edges[0], edges[-1]))
    figure.align_ylabels()
    parts = [title, f'frames: {len(timeline.stamps)}', f'tracks: {len(lives)}']
    if len(shown) < len(lives):
        parts.append(f'shown are the {len(shown)} seen in most frames')
    if switches is not None:
        parts.append(f'identity switches: {len(switches)}')
    figure.suptitle(', '.join(filter(None, parts)), fontsize=11)
    handles, names = rows.get_legend_handles_labels()
    figure.legend(handles, names, loc='outside lower center', ncols=len(names), frameon=False,
                  fontsize=8)
    _save(figure, path)


def _edges(stamps: list[int]) -> tuple[npt.NDArray[np.float64], str]:
    """Return where each frame begins and the last one ends, and what the axis shows."""
    seconds = (np.array(stamps, np.int64) - stamps[0]) / 1e9
    steps = np.diff(seconds)
    if len(steps) and (steps > 0).all():
        return np.append(seconds, seconds[-1] + float(np.median(steps))), 'seconds'
    return np.arange(len(stamps) + 1, dtype=np.float64), 'frame'


def _draw_counts(axes: Any, timeline: Timeline, lives: list[TrackLife],
                 edges: npt.NDArray[np.float64]) -> None:
    births = np.zeros(len(timeline.stamps))
    for life in lives:
        births[life.birth] += 1
    axes.stairs(timeline.counts, edges, fill=True, color='0.82', label='seen')
    axes.stairs(births, edges, fill=True, color='#d1495b', label='born')
    axes.legend(loc='upper right', ncols=2, fontsize=8, frameon=False, borderpad=0)
    axes.set_ylabel('tracks', fontsize=9)
    axes.set_ylim(0, 1.35 * max(1, *timeline.counts))
    axes.locator_params(axis='y', integer=True, nbins=3)
    _style(axes, 'x')


def _draw_rows(axes: Any, shown: list[TrackLife], edges: npt.NDArray[np.float64]) -> None:
    colours = label_colours(np.array([life.track_id for life in shown], np.int64)) / 255
    for row, (life, colour) in enumerate(zip(shown, colours)):
        axes.plot([edges[life.birth], edges[life.end + 1]], [row, row], color='0.6',
                  linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        axes.broken_barh([(edges[first], edges[last + 1] - edges[first])
                          for first, last in life.spans], (row - 0.32, 0.64),
                         facecolors=colour, linewidth=0, zorder=2)
    ended = [(edges[life.end + 1], row) for row, life in enumerate(shown)
             if life.end + 2 < len(edges)]
    axes.plot([], [], color='0.6', linewidth=0.8, linestyle=(0, (1, 2)), label='lost')
    axes.plot([edges[life.birth] for life in shown], range(len(shown)), linestyle='none',
              marker='|', markersize=8, markeredgewidth=1.6, color=_INK, zorder=3, clip_on=False,
              label='born')
    axes.plot(*np.reshape(ended, (-1, 2)).T, linestyle='none', marker='x', markersize=4.5,
              markeredgewidth=1.1, color=_INK, zorder=3, clip_on=False, label='last seen')
    axes.set_yticks(range(len(shown)), [str(life.track_id) for life in shown], fontsize=7)
    axes.set_ylabel('track', fontsize=9)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    for marks in axes.lines:
        # Unclipped ones would widen the margins, those without a point up to the corner (0, 0).
        marks.set_in_layout(False)
    _style(axes, 'x')


def _draw_switches(axes: Any, switches: IdSwitches, shown: list[TrackLife],
                   edges: npt.NDArray[np.float64]) -> None:
    """Mark where an object changes tracks, with a line between rows that are both shown."""
    row_of = {life.track_id: row for row, life in enumerate(shown)}
    marks = []
    for frame, before, after in switches:
        rows = [row_of[track] for track in (before, after) if track in row_of]
        place = (edges[frame] + edges[frame + 1]) / 2
        if len(rows) == 2:
            axes.plot([place, place], rows, color='black', linewidth=0.7, alpha=0.6, zorder=4)
        if after in row_of:
            marks.append((place, row_of[after]))
    axes.plot(*np.reshape(marks, (-1, 2)).T, linestyle='none', marker='D', markersize=3.6,
              markerfacecolor='white', markeredgecolor='black', zorder=5, label='identity switch')


def draw_calibration(reports: Mapping[str, dict[str, Any]], path: Path, title: str = '') -> None:
    """
    Draw the reliability curve of each report, and below it the share of pixels in each bin.

    `reports` are what `Calibration` computes for each data set, by name; 'mean' is drawn thick.
    Bins with less than 0.2 % of the pixels are left out. The dotted line is what a margin
    between the best segment and all others promises. Raises DiffsegError when the file cannot be
    written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.6), dpi=100, layout='constrained')
    curve, shares = figure.subplots(2, 1, sharex=True, gridspec_kw={'height_ratios': [3, 1]})
    curve.plot([0, 1], [0.5, 1], color='0.6', linestyle=':', label='promised')
    for name, report in reports.items():
        bins = [item for item in report['bins'] if (item['share'] or 0) >= _LEAST_SHARE]
        auroc = '-' if report['auroc'] is None else f'{report["auroc"]:.2f}'
        confidence = [item['confidence'] for item in bins]
        thick = name == 'mean' or len(reports) == 1
        style = {'linewidth': 2.0, 'color': 'black'} if thick else {'linewidth': 1.0}
        line, = curve.plot(confidence, [item['accuracy'] for item in bins], marker='o',
                           markersize=3, label=f'{name}, AUROC {auroc}', **style)
        style['color'] = line.get_color()
        shares.plot(confidence, [item['share'] for item in bins], **style)
    curve.set(ylabel='accuracy')
    shares.set(xlabel='confidence', ylabel='share of pixels', xlim=(0, 1))
    for axes in (curve, shares):
        _style(axes)
    curve.legend(fontsize=8, frameon=False, loc='lower right')
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _style(axes: Any, grid: str = 'both') -> None:
    """Draw a light grid behind the data ('x', 'y' or 'both') and no frame above or right."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(length=2)
    axes.grid(axis=grid, color='0.92', zorder=0)
    axes.set_axisbelow(True)


def _save(figure: Any, path: Path) -> None:
    """Write a Matplotlib figure whole or not at all; the suffix chooses the format."""
    data = BytesIO()
    figure.savefig(data, format=path.suffix[1:])
    write_bytes(path, data.getvalue())
