"""Compares two replays of one recording, frame by frame and track by track."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from diffseg_ros.comparison.matching import frame_overlaps, Match, match_ids, Overlaps, summed
from diffseg_ros.comparison.replay_folder import ReplayFolder
from diffseg_ros.comparison.tracks import Spans, track_changes, TrackChange, TrackSide
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_labels
from diffseg_ros.types import LabelImage, UNLABELLED
from diffseg_ros.viz.plots import Timeline
import numpy as np

FIGURES = ('moved_share_mean', 'moved_share_worst', 'tracks_lost', 'tracks_gained',
           'tracks_fragmented', 'tracks_merged', 'names_changed', 'seconds_ratio', 'frames_lost',
           'frames_gained')
"""The figures of a comparison; more is worse throughout."""

_NO_MATCH = Match(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Comparison:
    """
    A replay against an older one of the same recording, or by itself.

    Attributes
    ----------
    old
        None for a replay by itself; nothing has changed then.
    frames
        Numbers of the frames that are compared, those of both replays.
    moved
        Share of pixels, 0 to 1, of each of these frames whose id is not the same thing's.
    in_view
        How many tracks each of these frames of the new replay shows.
    frames_lost, frames_gained
        Numbers of the frames that only the old or only the new replay has.
    match
        Which old and new ids are the same thing.
    tracks
        The worst first.

    """

    name: str
    new: ReplayFolder
    old: ReplayFolder | None
    frames: list[int]
    moved: list[float]
    in_view: list[int]
    frames_lost: list[int] = field(default_factory=list)
    frames_gained: list[int] = field(default_factory=list)
    match: Match = _NO_MATCH
    tracks: list[TrackChange] = field(default_factory=list)

    @cached_property
    def figures(self) -> dict[str, float | int | None]:
        """FIGURES of the comparison; None where a replay lacks what one needs."""
        if self.old is None:
            return {}
        changes = Counter(change for track in self.tracks for change in track.changes)
        named = self.old.names is not None and self.new.names is not None
        before, after = (folder.stages.get('total') for folder in (self.old, self.new))
        values = (float(np.mean(self.moved)), max(self.moved), changes['lost'], changes['gained'],
                  changes['fragmented'], changes['merged'], changes['renamed'] if named else None,
                  after / before if before and after is not None else None,
                  len(self.frames_lost), len(self.frames_gained))
        return dict(zip(FIGURES, values))

    def report(self) -> dict[str, Any]:
        """Return everything for JSON; shares have five decimals."""
        stages = {**(self.old.stages if self.old else {}), **self.new.stages}
        return {
            'name': self.name, 'new': str(self.new.path),
            'old': str(self.old.path) if self.old else None,
            'figures': {key: round(value, 5) if isinstance(value, float) else value
                        for key, value in self.figures.items()},
            'frames': self.frames, 'moved': [round(share, 5) for share in self.moved],
            'in_view': self.in_view, 'frames_lost': self.frames_lost,
            'frames_gained': self.frames_gained,
            'stages_ms': {stage: {'old': self.old.stages.get(stage) if self.old else None,
                                  'new': self.new.stages.get(stage)} for stage in stages},
            'tracks': [_track_report(track) for track in self.tracks]}


def compare_folders(new: Path, old: Path | None, name: str = '') -> Comparison:
    """
    Compare what two replays of one recording wrote; without `old` describe the new one.

    `name` is what the recording is called, by default as report.json has it.

    The labels of one frame are in memory at a time, and of each frame which ids met.

    Raises
    ------
    DiffsegError
        A folder holds no replay, an image cannot be read, two images of a frame differ in size,
        or the replays have no frame in common.

    """
    after = ReplayFolder.open(new)
    if name:
        after = replace(after, source=name)
    if old is None:
        side = _Side(after)
        for number in after.labels:
            side.read(number, counted=True)
        tracks = [TrackChange(None, track) for track in side.tracks().values()]
        tracks.sort(key=lambda row: -row.moved_pixels)
        return Comparison(after.source, after, None, side.numbers, [0.0] * len(side.numbers),
                          side.timeline.counts, tracks=tracks)
    return _compared(after, ReplayFolder.open(old))


def _compared(new: ReplayFolder, old: ReplayFolder) -> Comparison:
    sides = _Side(old), _Side(new)
    frames = [number for number in old.labels if number in new.labels]
    if not frames:
        raise DiffsegError(f'{new.path} and {old.path}: have no frame in common; replay the same '
                           'recording with the same --every and --limit')
    overlaps: list[Overlaps] = []
    for number in sorted({*old.labels, *new.labels}):
        shared = number in old.labels and number in new.labels
        before, after = (side.read(number, counted=shared) for side in sides)
        if before is not None and after is not None:
            _check_sizes(before, after, new.labels[number], old.labels[number])
            overlaps.append(frame_overlaps(before, after))
    total = summed(overlaps)
    match = match_ids(total)
    with_names = old.names is not None and new.names is not None
    tracks = track_changes(sides[0].tracks(), sides[1].tracks(), total, match,
                           with_names=with_names)
    in_view = dict(zip(sides[1].numbers, sides[1].timeline.counts))
    return Comparison(
        new.source, new, old, frames, [match.moved_share(frame) for frame in overlaps],
        [in_view[number] for number in frames],
        [number for number in old.labels if number not in new.labels],
        [number for number in new.labels if number not in old.labels], match, tracks)


class _Side:
    """Reads the labels of one replay and follows its tracks."""

    def __init__(self, folder: ReplayFolder) -> None:
        self._folder = folder
        self._pixels: Counter[int] = Counter()
        self.numbers: list[int] = []
        self.timeline = Timeline()

    def read(self, number: int, *, counted: bool) -> LabelImage | None:
        """Return the labels of a frame, None where the replay lacks it; count its pixels."""
        if number not in self._folder.labels:
            return None
        labels = read_labels(self._folder.labels[number])
        self.numbers.append(number)
        self.timeline.add(number, labels)
        if counted:
            sizes = np.bincount(labels.ravel() - UNLABELLED)
            present = np.flatnonzero(sizes)
            self._pixels.update(dict(zip((present + UNLABELLED).tolist(),
                                         sizes[present].tolist())))
        return labels

    def tracks(self) -> dict[int, TrackSide]:
        """Return all tracks by id."""
        names = self._folder.names or {}
        return {life.track_id: TrackSide(life.track_id, self._pixels[life.track_id],
                                         life.frames_seen, self._spans(life.spans),
                                         names.get(life.track_id, ''))
                for life in self.timeline.lives()}

    def _spans(self, spans: list[list[int]]) -> Spans:
        return tuple((self.numbers[first], self.numbers[last]) for first, last in spans)


def _check_sizes(before: LabelImage, after: LabelImage, new: Path, old: Path) -> None:
    if before.shape != after.shape:
        sizes = ' and '.join(f'{labels.shape[1]}x{labels.shape[0]}' for labels in (after, before))
        raise DiffsegError(f'{new} and {old}: are {sizes} pixels; replays of one recording, of '
                           'the same size, are needed')


def _track_report(track: TrackChange) -> dict[str, Any]:
    kept = track.kept
    return {'changes': list(track.changes), 'kept': None if kept is None else round(kept, 5),
            'moved_pixels': track.moved_pixels, 'pieces': list(track.pieces),
            'parts': list(track.parts),
            **{key: side and {'id': side.id, 'pixels': side.pixels, 'frames': side.frames,
                              'first': side.spans[0][0], 'last': side.spans[-1][1],
                              'name': side.name}
               for key, side in (('old', track.old), ('new', track.new))}}
