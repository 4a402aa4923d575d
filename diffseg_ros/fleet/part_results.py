"""
What the pipeline made of the parts of a recording, written down and joined to one.

A part begins some frames early. Where it overlaps the part before, the ids of both that have the
most pixels in common are the same thing. Of the others, those are that have most of the places in
the world in common, where camera poses and depth tell these; all others are new.
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
from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.recordings import Part
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.tracking.memory_file import Memory, read_memory
from diffseg_ros.types import Frame, Result, UNLABELLED
import numpy as np

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_MEMORY = '.memory'
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
        """Return the result with the image again; raise DiffsegError where there is none."""
        if self.result is None:
            raise DiffsegError(self.error)
        if self.result.frame.stamp != frame.stamp:
            raise DiffsegError('the recording was changed while its parts were labelled')
        if self.new_depth:
            frame = replace(self.result.frame, rgb=frame.rgb)
        return replace(self.result, frame=frame)


@dataclass(frozen=True)
class _End:
    """What reports tell of the pipeline of a part."""

    model: dict[str, str]
    naming: dict[str, str]
    depth: dict[str, str]
    seconds: float


class PartWriter:
    """Writes what comes of the frames of a part, in order."""

    def __init__(self, file: IO[bytes], pipeline: Pipeline) -> None:
        self._file, self._pipeline = file, pipeline
        self._start = time.monotonic()

    def process(self, place: int, frame: Frame) -> None:
        """Process the frame that is at a place among those in use."""
        pickle.dump(_Entry.of(place, frame, self._pipeline), self._file)

    def finish(self, memory: Path) -> None:
        """Write what reports tell of the pipeline, and to a file where its tracks are."""
        self._pipeline.save(memory)
        pickle.dump(_End(self._pipeline.model, self._pipeline.naming, self._pipeline.depth,
                         time.monotonic() - self._start), self._file)


@contextmanager
def part_writer(folder: Path, part: Part, pipeline: Pipeline) -> Iterator[PartWriter]:
    """Open the file of a part; it appears in the folder when the block has ended well."""
    folder.mkdir(exist_ok=True)
    partial = folder / f'{part.number}.partial'
    with gzip.open(partial, 'wb', compresslevel=1) as file:
        writer = PartWriter(cast(IO[bytes], file), pipeline)
        yield writer
        writer.finish(folder / f'{part.number}{_MEMORY}')
    partial.rename(folder / str(part.number))


class JoinedPipeline:
    """
    Gives, in place of a `Pipeline`, what was written of the parts of a recording, as of one.

    It is to be given the same frames, in order. `model`, `naming`, `depth` and `seconds`, which
    all parts took, are known after the last.
    """

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self._folder = folder
        self._entries = self._joined(parts)
        self._next_id = 1
        self.model: dict[str, str] = {}
        self.naming: dict[str, str] = {}
        self.depth: dict[str, str] = {}
        self.seconds = 0.0

    @property
    def track_count(self) -> int:
        """How many ids there are."""
        return self._next_id - 1

    def process(self, frame: Frame) -> Result:
        """Return the result of the next frame; raise DiffsegError where there is none."""
        return next(self._entries).with_frame(frame)

    def _read(self, part: Part) -> Iterator[_Entry]:
        with gzip.open(self._folder / str(part.number), 'rb') as file:
            while isinstance(found := pickle.load(file), _Entry):
                yield found
        self.seconds += found.seconds
        self.model = found.model
        self.naming = _summed(self.naming, found.naming, 'naming_failed')
        self.depth = _summed(self.depth, found.depth, 'keyframes', 'failed')

    def _memory(self, part: Part) -> Memory:
        return read_memory(self._folder / f'{part.number}{_MEMORY}')

    def _joined(self, parts: Sequence[Part]) -> Iterator[_Entry]:
        entries, numbers, places = self._read(parts[0]), _Numbers(), _Places()
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            after = self._read(following) if following else iter(())
            overlaps: list[Overlaps] = []
            epochs = numbers.epochs
            for entry in entries:
                twin = None
                if following and entry.place >= following.first:
                    twin = next(after).result
                if entry.result is not None:
                    if twin is not None:
                        overlaps.append(frame_overlaps(entry.result.labels, twin.labels))
                        epochs = numbers.epochs + entry.result.epoch - twin.epoch
                    result, self._next_id = numbers.apply(entry.result, self._next_id)
                    entry = replace(entry, result=result)
                yield entry
            if following:
                places.add(self._memory(part), numbers.ids)
                common = places.overlaps(self._memory(following))
                entries, numbers = after, numbers.after(overlaps, common, epochs)


def _summed(before: dict[str, str], last: dict[str, str], *counts: str) -> dict[str, str]:
    """Return the report of the last part with the counts of all before added."""
    return last | {name: str(int(before.get(name, 0)) + int(last[name]))
                   for name in counts if name in last}


class _Numbers:
    """Which ids of a recording those of a part are, and how many epochs went before it."""

    def __init__(self, ids: dict[int, int] | None = None, epochs: int = 0) -> None:
        self.ids = {UNLABELLED: UNLABELLED, **(ids or {})}
        self.epochs = epochs

    def apply(self, result: Result, next_id: int) -> tuple[Result, int]:
        """Return a result of the part as one of the recording, and the next id that is free."""
        present = distinct_labels(result.labels).tolist()
        for identity in sorted({*present, *(track.id for track in result.tracks)}):
            if identity not in self.ids:
                self.ids[identity] = next_id
                next_id += 1
        known = np.array(sorted(present))
        values = np.array([self.ids[identity] for identity in known.tolist()], np.int32)
        tracks = sorted((replace(track, id=self.ids[track.id]) for track in result.tracks),
                        key=lambda track: track.id)
        return replace(result, labels=values[np.searchsorted(known, result.labels)],
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
    """Which id of a recording each voxel of the world was last seen to be of."""

    def __init__(self) -> None:
        self._fixed_frame = ''
        self._keys: Ids = np.zeros(0, np.int64)
        self._ids: Ids = np.zeros(0, np.int64)

    def add(self, memory: Memory, ids: Mapping[int, int]) -> None:
        """Add the places of a part, whose ids are these of the recording."""
        if memory.fixed_frame != self._fixed_frame:
            self._fixed_frame = memory.fixed_frame
            self._keys, self._ids = self._keys[:0], self._ids[:0]
        numbers = np.array([ids.get(identity, UNLABELLED)
                            for identity in memory.voxel_ids.tolist()], np.int64)
        keys = np.concatenate([memory.voxel_keys, self._keys])
        self._keys, first = np.unique(keys, return_index=True)
        self._ids = np.concatenate([numbers, self._ids])[first]

    def overlaps(self, memory: Memory) -> Overlaps:
        """Return how many voxels the ids so far and those of the next part have in common."""
        found = np.zeros((0, 3), np.int64)
        if memory.fixed_frame and memory.fixed_frame == self._fixed_frame:
            _, own, other = np.intersect1d(self._keys, memory.voxel_keys, return_indices=True)
            pairs, counts = np.unique(
                np.stack([self._ids[own], memory.voxel_ids[other].astype(np.int64)]), axis=1,
                return_counts=True)
            found = np.column_stack([*pairs, counts])
        return Overlaps(*found.T)
