"""Output folders: cleared only of what an earlier run of the same command wrote, unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
import json
import os
from pathlib import Path

from diffseg_ros.cli.command import make_folder
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.io.images import write_bytes

MANIFEST = '.diffseg_manifest.jsonl'
"""One line for each file written: command, name in the folder, size, time of change in ns."""

_READ = ('', 'rgb', 'depth', 'instances', 'color', 'images', 'labels')

_State = tuple[int, int]


class OutputFolder:
    """
    The files of a command in a folder; the `with` block clears those of its earlier run first.

    `patterns` are names in the folder that the command writes, where the last part may be
    `*SUFFIX` or `**` (all below). The manifest says which of these files the command wrote.

    Parameters
    ----------
    inputs
        Files and folders that the command reads.
    beside
        Whether the files may lie in an input folder, beside what is read.
    clear
        Whether the block begins without the files of the earlier run; else they stay until they
        are replaced.

    Raises
    ------
    DiffsegError
        A file would be overwritten that the command did not write or that was changed since,
        or an input lies where the command writes. Nothing was touched then.

    """

    def __init__(self, path: Path, command: str, patterns: Iterable[str],
                 inputs: Iterable[Path] = (), *, beside: bool = False, clear: bool = True) -> None:
        self.path = path
        self._clear = clear
        self._command = command
        self._patterns = tuple(patterns)
        self._check_inputs(inputs, beside)
        self._written = _read_manifest(path / MANIFEST)
        for file in self._files():
            if self._written.get(self._key(file)) != _state(file):
                raise DiffsegError(f'{file}: cannot be written over: {command} did not write it, '
                                   'or it was changed since; name another folder, or move it away')

    def __enter__(self) -> OutputFolder:
        """Remove what the earlier run wrote, and make the folders."""
        files = list(self._files()) if self._clear else []
        for file in files:
            file.unlink(missing_ok=True)
            self._written.pop(self._key(file), None)
        self._remove_empty(file.parent for file in files)
        for pattern in self._patterns:
            make_folder((self.path / pattern).parent)
        write_bytes(self.path / MANIFEST, ''.join(
            _line(key, state) for key, state in self._written.items()).encode())
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Note what was written; where that is nothing, leave nothing behind."""
        files = list(self._files())
        with suppress(*((WriteError,) if kind else ())):
            self.record(*files)
        if not files:
            if not self._written:
                (self.path / MANIFEST).unlink(missing_ok=True)
            self._remove_empty((self.path / pattern).parent for pattern in self._patterns)
            with suppress(OSError):
                self.path.rmdir()

    def record(self, *files: Path) -> None:
        """Note files that the command has written, so that a later run may remove them."""
        new = {self._key(file): _state(file) for file in files}
        new = {key: state for key, state in new.items() if self._written.get(key) != state}
        self._written |= new
        try:
            with (self.path / MANIFEST).open('a') as manifest:
                manifest.writelines(_line(key, state) for key, state in new.items())
        except OSError as error:
            raise WriteError(f'{self.path / MANIFEST}: cannot be written ({error.strerror})'
                             ) from error

    def remove_written(self, files: Iterable[Path]) -> None:
        """Remove those of some files in the folder that the command wrote, if unchanged since."""
        for file in files:
            if self._written.get(self._key(file)) == _state(file):
                file.unlink()

    def _files(self) -> Iterator[Path]:
        """Yield what exists under the names that the command writes."""
        for pattern in self._patterns:
            path = self.path / pattern
            if path.name == '**':
                yield from (file for file in path.parent.rglob('*')
                            if file.is_symlink() or not file.is_dir())
            elif path.name.startswith('*'):
                yield from sorted(path.parent.glob(path.name))
            elif os.path.lexists(path):
                yield path

    def _check_inputs(self, inputs: Iterable[Path], beside: bool) -> None:
        folder = self.path.resolve()
        written = {(self.path / pattern).resolve() for pattern in self._patterns}
        written |= {path.parent for path in written if path.name.startswith('*')}
        for given in inputs:
            source = given.resolve()
            if (folder in {source / part for part in _READ[beside:]}
                    or written & {source, *source.parents}):
                raise DiffsegError(f'--output {self.path}: {self._command} would write where its '
                                   f'input {given} lies; name another folder')

    def _key(self, file: Path) -> tuple[str, str]:
        return self._command, file.relative_to(self.path).as_posix()

    def _remove_empty(self, folders: Iterable[Path]) -> None:
        below = {one for folder in folders for one in (folder, *folder.parents)
                 if self.path in one.parents}
        for folder in sorted(below, reverse=True):
            with suppress(OSError):
                folder.rmdir()


def foreign_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that no command wrote, or that were changed since."""
    written = {name: state for (_, name), state in _read_manifest(folder / MANIFEST).items()}
    for file in sorted(folder.rglob('*')):
        name = file.relative_to(folder).as_posix()
        if (file.is_symlink() or not file.is_dir()) and name != MANIFEST:
            if written.get(name) != _state(file):
                yield file


def _state(file: Path) -> _State:
    status = file.lstat()
    return status.st_size, status.st_mtime_ns


def _line(key: tuple[str, str], state: _State) -> str:
    return json.dumps([*key, *state]) + '\n'


def _read_manifest(path: Path) -> dict[tuple[str, str], _State]:
    """Return the noted files; a line that cannot be read (cut off by a full disk) notes none."""
    written: dict[tuple[str, str], _State] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, TypeError):
                command, name, size, changed = json.loads(line)
                written[command, name] = size, changed
    return written
