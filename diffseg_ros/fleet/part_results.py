"""
What the pipeline made of the parts of a recording, written down and joined to one.

A part begins some frames early. Where it overlaps the part before, the ids of both that have the
most pixels in common are the same thing. The others are matched by the places in the world that
they have in common, where camera poses and depth tell these; what has no match is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import gzip
from pathlib import Path
import pickle
import time
from typing import cast, IO, TYPE_CHECKING

from diffseg_ros.comparison.matching import frame_overlaps, Ids, match_ids, Overlaps, summed
from diffseg_ros.errors import DiffsegError, UsageError
from diffseg_ros.fleet.recordings import Part
from diffseg_ros.geometry.label_images import compact, distinct_labels
from diffseg_ros.tracking.memory_file import Memory, read_memory
from diffseg_ros.types import Frame, Result, UNLABELLED
import numpy as np

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_MEMORY, _END = '.memory', '.end'
_CHANGED = ('the recording was changed, or read differently, while its parts were labelled; label '
            'it again')
_NO_IMAGE = np.zeros((2, 2, 3), np.uint8)


@dataclass(frozen=True)
class _Entry:
    """A result without its image, or why there is none; `place` counts the frames in use."""

    place: int
    result: Result | None = None
    error: str = ''
    new_depth: bool = False

    @classmethod
    def of(cls, place: int, frame: Frame, pipeline: Pipeline) -> _Entry:
        """Process a frame."""
        try:
            result = pipeline.process(frame)
        except DiffsegError as error:
            return cls(place, error=str(error))
        new_depth = result.frame is not frame
        kept = (replace(result.frame, rgb=_NO_IMAGE) if new_depth
                else Frame(_NO_IMAGE, frame.stamp))
        return cls(place, replace(result, frame=kept), new_depth=new_depth)

    def with_frame(self, frame: Frame) -> Result:
        """
        Return the result with the image again.

        Raises DiffsegError where there is none, and UsageError where it is of another frame.
        """
        if self.result is None:
            raise DiffsegError(self.error)
        if self.result.frame.stamp != frame.stamp:
            raise UsageError(_CHANGED)
        if self.new_depth:
            frame = replace(self.result.frame, rgb=frame.rgb)
        return replace(self.result, frame=frame)


@dataclass(frozen=True)
class _End:
    """What reports tell of the pipeline of a part, and the epoch that it ended in."""

    model: dict[str, str]
    naming: dict[str, str]
    depth: dict[str, str]
    seconds: float
    epoch: int


class PartWriter:
    """Writes what comes of the frames of a part, in order."""

    def __init__(self, file: IO[bytes], pipeline: Pipeline) -> None:
        self._file, self._pipeline = file, pipeline
        self._start, self._epoch = time.monotonic(), 0

    def process(self, place: int, frame: Frame) -> None:
        """Process the frame that is at a place among those in use."""
        entry = _Entry.of(place, frame, self._pipeline)
        if entry.result is not None:
            self._epoch = entry.result.epoch
        pickle.dump(entry, self._file)

    def finish(self, path: Path) -> None:
        """End the file, and write beside a path what is known of the pipeline and its tracks."""
        pickle.dump(None, self._file)
        self._pipeline.save(path.with_suffix(_MEMORY))
        path.with_suffix(_END).write_bytes(pickle.dumps(_End(
            self._pipeline.model, self._pipeline.naming, self._pipeline.depth,
            time.monotonic() - self._start, self._epoch)))


@contextmanager
def part_writer(folder: Path, part: Part, pipeline: Pipeline) -> Iterator[PartWriter]:
    """Open the file of a part; it appears in the folder when the block has ended well."""
    folder.mkdir(exist_ok=True)
    partial = folder / f'{part.number}.partial'
    with gzip.open(partial, 'wb', compresslevel=1) as file:
        writer = PartWriter(cast(IO[bytes], file), pipeline)
        yield writer
        writer.finish(partial)
    partial.rename(folder / str(part.number))


class JoinedPipeline:
    """
    Gives, in place of a `Pipeline`, what was written of the parts of a recording, as of one.

    It is to be given the same frames, in order. `seconds` is what all parts took.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self._folder = folder
        self._next_id = 1
        ends = [self._end(part) for part in parts]
        self._entries = self._joined(parts, [end.epoch for end in ends])
        self.model = ends[-1].model
        self.naming = _summed([end.naming for end in ends], 'naming_failed')
        self.depth = _summed([end.depth for end in ends], 'keyframes', 'failed')
        self.seconds = sum(end.seconds for end in ends)

    @property
    def track_count(self) -> int:
        """How many ids there are."""
        return self._next_id - 1

    def process(self, frame: Frame) -> Result:
        """
        Return the result of the next frame.

        Raises DiffsegError where there is none, and UsageError where the frames are others.
        """
        if (entry := next(self._entries, None)) is None:
            raise UsageError(_CHANGED)
        return entry.with_frame(frame)

    def _read(self, part: Part) -> Iterator[_Entry]:
        with gzip.open(self._folder / str(part.number), 'rb') as file:
            while (entry := cast('_Entry | None', pickle.load(file))) is not None:
                yield entry

    def _end(self, part: Part) -> _End:
        end: _End = pickle.loads((self._folder / f'{part.number}{_END}').read_bytes())
        return end

    def _memory(self, part: Part) -> Memory:
        return read_memory(self._folder / f'{part.number}{_MEMORY}')

    def _joined(self, parts: Sequence[Part], last_epochs: Sequence[int]) -> Iterator[_Entry]:
        entries, numbers, places = self._read(parts[0]), _Numbers(), _Places()
        memory = self._memory(parts[0])
        for place, following in enumerate([*parts[1:], None]):
            after = self._read(following) if following else iter(())
            overlaps: list[Overlaps] = []
            epochs = numbers.epochs
            for entry in entries:
                twin = None
                if following and entry.place >= following.first:
                    other = next(after, None)
                    if other is None or other.place != entry.place:
                        raise UsageError(_CHANGED)
                    twin = other.result
                if entry.result is not None:
                    epoch = numbers.epochs + entry.result.epoch
                    if twin is not None:
                        overlaps.append(frame_overlaps(entry.result.labels, twin.labels))
                        epochs = epoch - twin.epoch
                    elif not overlaps:
                        epochs = epoch
                    result, self._next_id = numbers.apply(entry.result, self._next_id)
                    entry = replace(entry, result=result)
                yield entry
            if following:
                places.add(memory, numbers.epochs + last_epochs[place], numbers.ids)
                memory = self._memory(following)
                common = places.overlaps(memory, epochs + last_epochs[place + 1])
                entries, numbers = after, numbers.after(overlaps, common, epochs)


def _summed(reports: Sequence[dict[str, str]], *counts: str) -> dict[str, str]:
    """Return the report of the last part with the counts of all."""
    last = reports[-1]
    return last | {name: str(sum(int(report[name]) for report in reports))
                   for name in counts if name in last}


class _Numbers:
    """Which ids of a recording those of a part are, and how many epochs went before it."""

    def __init__(self, ids: dict[int, int] | None = None, epochs: int = 0) -> None:
        self.ids = {UNLABELLED: UNLABELLED, **(ids or {})}
        self.epochs = epochs

    def apply(self, result: Result, next_id: int) -> tuple[Result, int]:
        """Return a result of the part as one of the recording, and the next id that is free."""
        present: list[int] = distinct_labels(result.labels).tolist()
        for identity in sorted({*present, *(track.id for track in result.tracks)}):
            if identity not in self.ids:
                self.ids[identity] = next_id
                next_id += 1
        values = np.array([self.ids[identity] for identity in present], np.int32)
        tracks = sorted((replace(track, id=self.ids[track.id]) for track in result.tracks),
                        key=lambda track: track.id)
        return replace(result, labels=values.take(compact(result.labels)),
                       tracks=tuple(tracks), epoch=result.epoch + self.epochs), next_id

    def after(self, overlaps: Sequence[Overlaps], places: Overlaps, epochs: int) -> _Numbers:
        """
        Return the numbers of the next part.

        They come from how its labels lie over those of this one, and over the ids of all parts so
        far in the world.
        """
        ids: dict[int, int] = {}
        if overlaps:
            match = match_ids(summed(overlaps))
            ids = {new: self.ids[old] for old, new in
                   zip(match.old.tolist(), match.new.tolist(), strict=True)}
        left = ~np.isin(places.old, list(ids.values())) & ~np.isin(places.new, list(ids))
        match = match_ids(Overlaps(places.old[left], places.new[left], places.pixels[left]))
        return _Numbers(ids | dict(zip(match.new.tolist(), match.old.tolist(), strict=True)),
                        epochs)


class _Places:
    """
    Which id of a recording each voxel of the world was last seen to be of.

    A new epoch, after a time jump, is another world: no id of before comes back.
    """

    def __init__(self) -> None:
        self._world = '', 0
        self._keys: Ids = np.zeros(0, np.int64)
        self._ids: Ids = np.zeros(0, np.int64)

    def add(self, memory: Memory, epoch: int, ids: Mapping[int, int]) -> None:
        """Add the places of a part, at its last epoch; its ids are these of the recording."""
        if (memory.fixed_frame, epoch) != self._world:
            self._world = memory.fixed_frame, epoch
            self._keys, self._ids = self._keys[:0], self._ids[:0]
        numbers = np.array([ids.get(identity, UNLABELLED)
                            for identity in memory.voxel_ids.tolist()], np.int64)
        keys = np.concatenate([memory.voxel_keys, self._keys])
        self._keys, first = np.unique(keys, return_index=True)
        self._ids = np.concatenate([numbers, self._ids])[first]

    def overlaps(self, memory: Memory, epoch: int) -> Overlaps:
        """Return how many voxels the ids so far and those of the next part have in common."""
        found = np.zeros((0, 3), np.int64)
        if memory.fixed_frame and (memory.fixed_frame, epoch) == self._world:
            _, own, other = np.intersect1d(self._keys, memory.voxel_keys, return_indices=True)
            pairs, counts = np.unique(
                np.stack([self._ids[own], memory.voxel_ids[other].astype(np.int64)]), axis=1,
                return_counts=True)
            found = np.column_stack([*pairs, counts])
        return Overlaps(*found.T)
