"""When each track was seen, and a plot of it: a row per track, frames from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.types import LabelImage
from diffseg_ros.viz.colours import label_colours
from diffseg_ros.viz.figures import save_figure, style_axes
import numpy as np
import numpy.typing as npt

MAX_TRACKS = 40
"""Rows of a plot; shorter tracks are only counted."""

_WIDTH_INCHES = 10.0
_ROW_INCHES = 0.17
_LEAST_ROWS = 3
_INK = '0.25'

IdSwitches = Sequence[tuple[int, int, int]]
"""Frame, id before and id after of each identity switch."""


@dataclass
class TrackLife:
    """
    When one track was seen.

    Attributes
    ----------
    spans
        First and last frame of each run of frames that show the track.

    """

    track_id: int
    spans: list[list[int]] = field(default_factory=list)

    @property
    def birth(self) -> int:
        """First frame that shows the track."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """Last frame that shows the track."""
        return self.spans[-1][1]

    @property
    def frames_seen(self) -> int:
        """In how many frames the track was seen."""
        return sum(last - first + 1 for first, last in self.spans)


class Timeline:
    """
    Follows which ids the frames show; between two spans a track is lost.

    Memory grows with the number of spans.

    Attributes
    ----------
    stamps
        Nanoseconds, one per frame.

    """

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self._lives: dict[int, TrackLife] = {}

    def add(self, stamp: int, labels: LabelImage) -> None:
        """Add the next frame: its stamp in nanoseconds and (H, W) ids, negative = unlabelled."""
        frame = len(self.stamps)
        self.stamps.append(stamp)
        ids = distinct_labels(labels)
        for track_id in ids[ids >= 0].tolist():
            life = self._lives.setdefault(track_id, TrackLife(track_id))
            if life.spans and life.spans[-1][1] == frame - 1:
                life.spans[-1][1] = frame
            else:
                life.spans.append([frame, frame])

    def lives(self) -> list[TrackLife]:
        """Return all tracks, those seen in most frames first, of equals the oldest."""
        return sorted(self._lives.values(),
                      key=lambda life: (-life.frames_seen, life.birth, life.track_id))


def draw_timeline(timeline: Timeline, path: Path, title: str = '',
                  switches: IdSwitches | None = None) -> None:
    """
    Draw when tracks start, are lost and end; tracks seen most come first.

    Above the rows a histogram shows how many tracks each frame has. Colours are those of
    overlays. `switches` is None without truth.

    Raises
    ------
    DiffsegError
        The timeline has no frame, or the file cannot be written.

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
    figure.suptitle(_title(title, timeline, len(shown), switches), fontsize=11)
    handles, names = rows.get_legend_handles_labels()
    figure.legend(handles, names, loc='outside lower center', ncols=len(names), frameon=False,
                  fontsize=8)
    save_figure(figure, path)


def _edges(stamps: list[int]) -> tuple[npt.NDArray[np.float64], str]:
    """Return where each frame begins and the last one ends, and what the axis shows."""
    seconds = (np.array(stamps, np.int64) - stamps[0]) / 1e9
    steps = np.diff(seconds)
    if len(steps) and (steps > 0).all():
        return np.append(seconds, seconds[-1] + float(np.median(steps))), 'seconds'
    return np.arange(len(stamps) + 1, dtype=np.float64), 'frame'


def _title(title: str, timeline: Timeline, shown: int, switches: IdSwitches | None) -> str:
    tracks = len(timeline.lives())
    parts = [title] if title else []
    parts.append(f'{_count(len(timeline.stamps), "frame")}, {_count(tracks, "track")}')
    if shown < tracks:
        parts.append(f'the {shown} seen in most frames are shown')
    if switches is not None:
        parts.append(_count(len(switches), 'identity switch', 'es'))
    return ', '.join(parts)


def _count(number: int, noun: str, plural: str = 's') -> str:
    return f'{number} {noun}{"" if number == 1 else plural}'


def _draw_counts(axes: Any, timeline: Timeline, lives: list[TrackLife],
                 edges: npt.NDArray[np.float64]) -> None:
    change = np.zeros(len(timeline.stamps) + 1)
    births = np.zeros(len(timeline.stamps))
    for life in lives:
        births[life.birth] += 1
        for first, last in life.spans:
            change[first] += 1
            change[last + 1] -= 1
    seen = change.cumsum()[:-1]
    axes.stairs(seen, edges, fill=True, color='0.82', label='seen')
    axes.stairs(births, edges, fill=True, color='#d1495b', label='born')
    axes.legend(loc='upper right', ncols=2, fontsize=8, frameon=False, borderpad=0)
    axes.set_ylabel('tracks', fontsize=9)
    axes.set_ylim(0, 1.35 * max(1, seen.max()))
    axes.locator_params(axis='y', integer=True, nbins=3)
    style_axes(axes, 'x')


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
    axes.plot(*(zip(*ended) if ended else ([], [])), linestyle='none', marker='x',
              markersize=4.5, markeredgewidth=1.1, color=_INK, zorder=3, clip_on=False,
              label='last seen')
    axes.set_yticks(range(len(shown)), [str(life.track_id) for life in shown], fontsize=7)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.set_ylabel('track', fontsize=9)
    for marks in axes.lines:
        # Unclipped ones would widen the margins, those without a point up to the corner (0, 0).
        marks.set_in_layout(False)
    style_axes(axes, 'x')


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
    axes.plot(*(zip(*marks) if marks else ([], [])), linestyle='none', marker='D',
              markersize=3.6, markerfacecolor='white', markeredgecolor='black', zorder=5,
              label='identity switch')
