"""What a worker of diffseg_relabel does with a recording: a replay that appears when whole."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
import hashlib
from itertools import islice
import os
from pathlib import Path
import re
import shutil
import socket
import time
from typing import Any, cast, TYPE_CHECKING

from diffseg_ros.cli.output_folder import foreign_files, OutputFolder
from diffseg_ros.cli.replay import replay_recording
from diffseg_ros.cli.source_frames import selected_numbers
from diffseg_ros.config import PipelineConfig
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.attempt import node_of_attempt, noted_attempt, reason_of_end, SUFFIX
from diffseg_ros.fleet.copies import copy_folder, remove_abandoned
from diffseg_ros.fleet.index import read_row, ROW, Row, TRACKS, write_row, write_track_table
from diffseg_ros.fleet.part_results import JoinedPipeline, part_writer
from diffseg_ros.fleet.parts import PartRow, parts_of
from diffseg_ros.fleet.recordings import local_copy, Part, Recording
from diffseg_ros.fleet.track_table import TrackTable
from diffseg_ros.io.base import BagSettings, TopicNames
from diffseg_ros.io.source import is_bag, open_source, Source
from diffseg_ros.settings import flatten

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone
    from diffseg_ros.depth.base import DepthModel
    from diffseg_ros.naming.base import NamingModel
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.postprocessing.output_context import OutputContext

COMMAND = 'diffseg_relabel'
_PARTIAL, _OLD, _PARTS = '.partial', '.old', '.parts'
_LEFT_OVER = re.compile(r'\.(.+)\.[0-9a-f]{12}(\.\d+)?(\.partial|\.old|\.parts|\.attempt)')
_OPTIONS = 'every', 'limit', 'clouds', 'no_bag', 'plots'


@dataclass
class RelabelJob:
    """
    Replays recordings into folders of `output`; it loads the models once, where it runs.

    Attributes
    ----------
    options
        Those of `add_replay_options`.
    run_id
        12 hexadecimal digits, other ones in each run of the command.
    timeout
        Seconds that a recording may take; 0 is no limit.
    threads
        Of PyTorch on a CPU, where the settings leave them open.
    split
        Minutes that parts of long recordings take; 0 leaves them whole.
    start
        Folder where relative paths of settings start, the one that the command runs in.

    """

    output: Path
    config: PipelineConfig
    topics: TopicNames
    bags: BagSettings
    options: argparse.Namespace
    run_id: str
    version: str
    timeout: float = 0.0
    threads: int = 1
    split: float = 0.0
    start: Path = field(default_factory=Path.cwd, init=False)
    settings_digest: str = field(default='', init=False)
    _backbone: Backbone | None = field(default=None, init=False)
    _naming: NamingModel | None = field(default=None, init=False)
    _depth: DepthModel | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Compute the digest of the settings and of the files that they name."""
        chosen = {name: getattr(self.options, name) for name in _OPTIONS}
        values = [(name, value) for name, value, _ in flatten(self.config)]
        backbone = self.config.backbone
        files = [_files_of(name) for name in (
            backbone.model, backbone.fuse, self.config.naming.model, self.config.depth.model)]
        text = repr((chosen, self.split, values, self.config.vocabulary, self.topics, self.bags,
                     files))
        self.settings_digest = hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def lock(self) -> Path:
        """The file that holds `run_id` while the command runs."""
        return self.output / '.diffseg_relabel.lock'

    def check_machine(self) -> None:
        """
        Raise DiffsegError where this machine has another folder at the path of the output.

        Go to the folder of the command, as far as the machine has it.
        """
        try:
            found = self.lock.read_text()
        except OSError:
            found = ''
        if found != self.run_id:
            raise DiffsegError(f'--output {self.output}: {socket.gethostname()} does not have '
                               'there what the machine of the command has; name a folder that all '
                               'share, at the same path')
        with suppress(OSError):  # a machine without it needs none of the files there
            os.chdir(self.start)

    def blank_row(self, recording: Recording) -> Row:
        """Return the row of a recording with which nothing was done yet."""
        return Row(recording.name, recording.address, recording.digest, self.settings_digest,
                   self.config.backbone.model, self.version,
                   worker=f'{socket.gethostname()}:{os.getpid()}')

    def done(self, recording: Recording) -> Row | None:
        """Return the row of an earlier run that made the same, whole; None without one."""
        place = self.output / recording.name
        row = read_row(place)
        if row is None or not row.same_work(self.blank_row(recording)):
            return None
        with suppress(OSError):  # a later diffseg_replay into the folder made it another
            if (place / 'report.json').stat().st_mtime_ns <= (place / ROW).stat().st_mtime_ns:
                return row
        return None

    def tasks(self, recording: Recording) -> list[Recording]:
        """Return the parts that a long recording on this machine is labelled in, or itself."""
        if not self.split or not recording.local:
            return [recording]
        try:
            source = self._open(Path(recording.address))
        except Exception:  # its row will tell
            return [recording]
        every, tracking = self.options.every, self.config.tracking
        length = round(source.frame_count / every * 60 * self.split / max(source.seconds, 1e-9))
        parts = parts_of(len(self._numbers(source)), length,
                         tracking.keyframe_interval * tracking.confirm_after)
        return [replace(recording, part=part) for part in parts] if parts[1:] else [recording]

    def check_place(self, recording: Recording) -> None:
        """Raise DiffsegError where results would replace another recording's or foreign files."""
        place = self.output / recording.name
        if os.path.lexists(place) and (not place.is_dir() or place.is_symlink()):
            raise DiffsegError(f'{place}: is in the way of the results of {recording.address}; '
                               'name another folder, or move it away')
        if foreign := next(iter(foreign_files(place)), None):
            raise DiffsegError(f'{foreign}: would be replaced with its folder, but {COMMAND} did '
                               'not write it, or it was changed since; name another folder, or '
                               'move it away')
        if (row := read_row(place)) and row.source != recording.address:
            raise DiffsegError(f'{place}: holds the results of {row.source}, which those of '
                               f'{recording.address} would replace; name another folder, or move '
                               'it away')

    def remove_left_over(self) -> None:
        """Remove what a killed run left half-made, and copies that ended workers left here."""
        remove_abandoned()
        for path in self.output.iterdir():
            if (found := _LEFT_OVER.fullmatch(path.name)) is None:
                continue
            if found[3] == _OLD and not (place := self.output / found[1]).exists():
                path.rename(place)  # it was killed within `_move`
            else:
                _remove(path)

    def remove_parts(self, row: Row) -> None:
        """Remove what was labelled of the parts of a recording; to others it is gone at once."""
        with suppress(OSError):
            _remove(self._hidden(row, _PARTS).rename(self._hidden(row, _PARTIAL)))

    def again(self, recording: Recording, node: str, alive: Callable[[str], bool]) -> Row | None:
        """Return the row of a recording that ended its worker before, None to go on."""
        if recording.parts and not self._hidden(recording, _PARTS).exists():
            return self.done(recording)  # its machine was lost after all was done
        note = self._hidden(recording, SUFFIX)
        before = node_of_attempt(note)
        if before is None:
            return None
        row = replace(self.blank_row(recording), error=reason_of_end(note, self.timeout))
        remove_abandoned()
        for left in (note, self._hidden(recording, _PARTIAL)):
            _remove(left)
        return row if alive(before) else None

    def run(self, recording: Recording, node: str, tick: Callable[[int, int], None]) -> Row:
        """Label a recording; whatever fails is the error of the row."""
        row, start = self.blank_row(recording), time.monotonic()
        try:
            with noted_attempt(self._hidden(recording, SUFFIX), node) as watch:
                self._load()
                start = time.monotonic()
                watch(self.timeout)
                try:
                    with local_copy(recording, copy_folder(self.run_id, recording.name)) as path:
                        if recording.part is not None:
                            return self._label_part(row, path, recording.part, tick)
                        return self._replay(row, path, recording, tick, start)
                finally:
                    _remove(self._hidden(recording, _PARTIAL))
        except Exception as error:
            return replace(row, seconds=time.monotonic() - start, error=describe_error(error))

    def _load(self) -> None:
        """Load the models, unless an earlier recording did."""
        if self._backbone is not None:
            return
        from diffseg_ros.depth.loader import load_depth_model
        from diffseg_ros.naming.loader import load_naming_model
        from diffseg_ros.pipeline import Pipeline

        backbone = self.config.backbone
        if not backbone.cpu_threads:
            backbone = backbone.replace(cpu_threads=self.threads)
        if self.config.naming.model:
            self._naming = load_naming_model(self.config.naming.model, backbone)
        depth = self.config.depth
        if depth.model:
            self._depth = load_depth_model(depth.model, depth, backbone)
        loaded = Pipeline(self.config.replace(backbone=backbone), naming_model=self._naming,
                          depth_model=self._depth)
        self._backbone = loaded.backbone

    def _pipeline(self) -> Pipeline:
        from diffseg_ros.pipeline import Pipeline

        return Pipeline(self.config, backbone=self._backbone, naming_model=self._naming,
                        depth_model=self._depth)

    def _open(self, path: Path) -> Source:
        return open_source(path, self.topics if is_bag(path) else TopicNames(), self.bags)

    def _numbers(self, source: Source) -> range:
        return selected_numbers(source, self.options.every, self.options.limit)

    def _label_part(self, row: Row, path: Path, part: Part, tick: Callable[[int, int], None]
                    ) -> PartRow:
        source = self._open(path)
        numbers = self._numbers(source)[part.first:part.end]
        frames = islice(source.numbered_frames(numbers.start), 0, len(numbers) * numbers.step,
                        numbers.step)
        with part_writer(self._hidden(row, _PARTS), part, self._pipeline()) as writer:
            for place, item in enumerate(frames, part.first):
                if item.frame is not None:
                    writer.process(place, item.frame)
                tick(place + 1 - part.first, len(numbers))
        return PartRow(**asdict(row), part=part.number)

    def _replay(self, row: Row, path: Path, recording: Recording,
                tick: Callable[[int, int], None], start: float) -> Row:
        partial = self._hidden(row, _PARTIAL)
        _remove(partial)
        source, joined = self._open(path), None
        total = len(self._numbers(source))
        tracks, frames = TrackTable(), 0
        if recording.parts:
            joined = JoinedPipeline(self._hidden(row, _PARTS), recording.parts)

        def observe(context: OutputContext) -> None:
            nonlocal frames
            frames += 1
            tracks.add(context)
            if joined is None:  # the frames of parts were counted when they were labelled
                tick(frames, total)

        def load() -> Pipeline:
            return cast('Pipeline', joined) if joined else self._pipeline()

        arguments = argparse.Namespace(**vars(self.options) | {'source': path, 'output': partial})
        report = replay_recording(source, arguments, self.config, load, lambda: False,
                                  observe=observe)
        row = replace(row, model=report['model'], frames=report['frames'],
                      failed=report['frames_failed'], tracks=report['tracks'],
                      seconds=time.monotonic() - start + (joined.seconds if joined else 0.0))
        with OutputFolder(partial, COMMAND, (TRACKS, ROW), clear=False):
            write_track_table(partial, tracks.table(row.recording))
            write_row(partial, row)
        self.check_place(recording)
        self._move(partial, row)
        self.remove_parts(row)
        return row

    def _move(self, partial: Path, row: Row) -> None:
        """Put whole results in the place of earlier ones."""
        place, old = self.output / row.recording, self._hidden(row, _OLD)
        if place.exists():
            place.rename(old)
        partial.rename(place)
        _remove(old)

    def _hidden(self, one: Recording | Row, suffix: str) -> Path:
        task = one.task if isinstance(one, Recording) else one.recording
        name, _, part = task.partition('/')
        return self.output / f'.{name}.{self.run_id}{part and f".{part}"}{suffix}'


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # a worker may be ending there
    else:
        path.unlink(missing_ok=True)


def _files_of(name: str) -> list[Any]:
    """Return names, sizes and times of the files at a local path, none where there is none."""
    path = Path(name).expanduser() if name else None
    if path is None or not path.exists():
        return []
    files = sorted(path.rglob('*')) if path.is_dir() else [path]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files
            if file.is_file()]
