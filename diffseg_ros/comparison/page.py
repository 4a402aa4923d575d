"""One self-contained page about one or many replays: no server, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
import json
from pathlib import Path
from typing import Any

from diffseg_ros.comparison.comparison import Comparison, FIGURES
from diffseg_ros.comparison.pictures import draw_pictures, shown_ids, worst_frames
from diffseg_ros.comparison.tolerances import excesses
from diffseg_ros.comparison.tracks import Spans, TrackChange
from diffseg_ros.error_text import printable
from diffseg_ros.io.images import write_bytes
from diffseg_ros.viz.colours import label_colours
import numpy as np
import numpy.typing as npt

_TEMPLATE = Path(__file__).with_name('page.html')
_POINTS = (60_000, 60, 1500)
_TRACKS = (6_000, 6, 300)
_GAP_SHARE = 1 / 300


def worst_first(comparisons: Sequence[Comparison], tolerances: Mapping[str, float],
                ) -> list[Comparison]:
    """Return comparisons with most figures beyond their tolerance first, then most moved."""
    return sorted(comparisons, key=lambda item: (
        -len(excesses(item.figures, tolerances)), -(item.figures.get('moved_share_mean') or 0.0),
        item.name))


def write_report(path: Path, comparisons: Sequence[Comparison],
                 tolerances: Mapping[str, float] | None = None) -> None:
    """Write compare.json: every comparison, the worst first; raise WriteError if that fails."""
    allowed = tolerances or {}
    recordings = [{**item.report(),
                   'beyond': [excess.figure for excess in excesses(item.figures, allowed)]}
                  for item in worst_first(comparisons, allowed)]
    report = {'tolerances': dict(allowed), 'recordings': recordings}
    write_bytes(path, printable(json.dumps(report, ensure_ascii=False) + '\n').encode())


def write_page(path: Path, comparisons: Sequence[Comparison], *, title: str,
               tolerances: Mapping[str, float] | None = None, notes: Sequence[str] = ()) -> None:
    """
    Write the page of comparisons, or of replays by themselves.

    The more recordings, the less it says of each: pictures are of the worst frames of the worst
    recordings only, and of long recordings and many tracks a part is shown, which the page says.
    `notes` are sentences for its top, such as recordings without a partner.

    Raises
    ------
    DiffsegError
        A label image cannot be read, or the page cannot be written.

    """
    allowed = tolerances or {}
    ordered = worst_first(comparisons, allowed)
    data = {'title': title, 'tolerances': dict(allowed), 'figures': FIGURES, 'notes': list(notes),
            'recordings': [_recording(item, frames, allowed, len(ordered))
                           for item, frames in zip(ordered, worst_frames(ordered))]}
    # A script element ends at the first "</", wherever that stands.
    embedded = json.dumps(data, ensure_ascii=False, separators=(',', ':')).replace('<', '\\u003c')
    # The title goes in last, before the data: what looks like a mark in either stays as it is.
    page = _TEMPLATE.read_text(encoding='utf-8').replace('{{data}}', embedded, 1)
    write_bytes(path, printable(page.replace('{{title}}', escape(title), 1)).encode())


def _recording(item: Comparison, pictured: Sequence[int], tolerances: Mapping[str, float],
               recordings: int) -> dict[str, Any]:
    points, tracks = (int(np.clip(total // max(1, recordings), least, most))
                      for total, least, most in (_POINTS, _TRACKS))
    report = item.report()
    stages = [[stage, times['old'], times['new']] for stage, times in report['stages_ms'].items()]
    return {'name': item.name, 'old': report['old'], 'new': report['new'],
            'values': list(report['figures'].values()),
            'beyond': [excess.figure for excess in excesses(item.figures, tolerances)],
            'frames': len(item.frames), 'lost': len(item.frames_lost),
            'gained': len(item.frames_gained), 'strip': _strip(item, points),
            'stages': stages, 'count': len(item.tracks),
            'tracks': [_track(item, track) for track in item.tracks[:tracks]],
            'pictures': [{'frame': item.frames[place], **draw_pictures(item, place)}
                         for place in pictured]}


def _strip(item: Comparison, points: int) -> list[list[float]]:
    """Return [frame, moved share, tracks in view] of the worst frame of each stretch."""
    moved, in_view = np.array(item.moved), np.array(item.in_view)
    worst = moved if item.old else in_view
    stretches = np.array_split(np.arange(len(item.frames)), min(points, len(item.frames)))
    places = [int(stretch[np.argmax(worst[stretch])]) for stretch in stretches]
    return [[item.frames[place], round(float(moved[place]), 4), int(in_view[place])]
            for place in places]


def _track(item: Comparison, track: TrackChange) -> list[Any]:
    """Return what the page shows of a track, as a list, which is half as long as a mapping."""
    kept = track.kept
    sides = [side and [side.id, side.pixels, side.frames, side.name,
                       _joined(side.spans, item.frames)] for side in (track.old, track.new)]
    shown = (np.array([track.old.id]) if track.old else
             shown_ids(item, np.array([track.new.id if track.new else 0])))
    return [*sides, list(track.changes), None if kept is None else round(kept, 4),
            track.moved_pixels, track.pieces, track.parts, _hex(label_colours(shown)[0])]


def _joined(spans: Spans, frames: Sequence[int]) -> list[list[int]]:
    """Return spans with the gaps closed that are too short to be seen."""
    gap = max(1.0, (frames[-1] - frames[0]) * _GAP_SHARE)
    joined: list[list[int]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] <= gap:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return joined


def _hex(colour: npt.NDArray[np.uint8]) -> str:
    return '#' + bytes(colour.tolist()).hex()
