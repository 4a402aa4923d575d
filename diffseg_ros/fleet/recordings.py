"""Finds recordings in folders, lists, globs and stores, and brings them to where they are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import hashlib
from pathlib import Path, PurePosixPath
import shutil
from typing import Any, NamedTuple

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BAG_SUFFIXES
from diffseg_ros.io.images import IMAGE_SUFFIXES
from diffseg_ros.io.source import VIDEO_SUFFIXES
import fsspec

OURS = '.diffseg_manifest.jsonl'
"""A folder with this file holds what a command wrote, no recordings."""
_LIST_SUFFIX = '.txt'


class Part(NamedTuple):
    """
    A part of a recording, in places among the frames in use.

    It is read from `first` on; its results are those from `begin` until before `end`.
    """

    number: int
    first: int
    begin: int
    end: int


@dataclass(frozen=True)
class Recording:
    """
    One recording, or a part of it.

    Attributes
    ----------
    name
        Unique name of the folder that its results get.
    address
        Local path, or URL that fsspec knows.
    digest
        Hash of the names, sizes and times of its files: another one says that it was changed.
    local
        Whether `address` is a local path.
    part
        The part of it that is meant, None for all of it.
    parts
        The parts that are labelled and only need to be joined.

    """

    name: str
    address: str
    digest: str
    local: bool
    part: Part | None = None
    parts: tuple[Part, ...] = ()

    @property
    def task(self) -> str:
        """Unique name of what is meant."""
        return self.name if self.part is None else f'{self.name}.part{self.part.number}'


def find_recordings(sources: Iterable[str]) -> list[Recording]:
    """
    Return the recordings that are named or lie in what is named, sorted by name.

    Each source is a recording, a folder that is searched for recordings, a glob, or a text file
    (.txt) with a source in each line; local, or any URL that fsspec knows, such as s3://.

    Raises
    ------
    DiffsegError
        There is nothing at one of the sources, no recording in it, or it cannot be read.

    """
    found: dict[str, Recording] = {}
    for source in _without_lists(sources):
        try:
            recordings = list(_in(source))
        except (OSError, ImportError, ValueError) as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise DiffsegError(f'{source}: cannot be read ({reason}); check the address, and the '
                               'right to read it') from error
        if not recordings:
            raise DiffsegError(f'{source}: no recording there; bags (.mcap, .db3, bag folders), '
                               'sequence folders (rgb/), folders of images and videos are found')
        found |= {recording.address: recording for recording in recordings}
    return sorted(_with_unique_names(found.values()), key=lambda recording: recording.name)


@contextmanager
def local_copy(recording: Recording, folder: Path) -> Iterator[Path]:
    """Give the local path of a recording; what lies elsewhere is in `folder` for the block."""
    if recording.local:
        yield Path(recording.address)
        return
    try:
        store, path = fsspec.core.url_to_fs(recording.address)
        target = folder / PurePosixPath(path).name
        store.get(path, str(target), recursive=bool(store.isdir(path)))
        yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _without_lists(sources: Iterable[str]) -> Iterator[str]:
    """Yield the sources, with what text lists name in their places."""
    for source in sources:
        if not source.endswith(_LIST_SUFFIX):
            yield source
            continue
        try:
            with fsspec.open(source, 'r', encoding='utf-8') as file:
                lines = [line.strip() for line in file]
        except (OSError, ImportError, ValueError) as error:
            raise DiffsegError(f'{source}: the list cannot be read ({error}); give a text file '
                               'with a recording in each line') from error
        yield from (line for line in lines if line and not line.startswith('#'))


def _in(source: str) -> Iterator[Recording]:
    store, root = fsspec.core.url_to_fs(source)
    local = 'file' in (store.protocol if isinstance(store.protocol, tuple) else (store.protocol,))
    roots = [root]
    if not store.exists(root):
        roots = sorted(store.glob(root)) if set(source) & set('*?[') else []
    if not roots:
        raise DiffsegError(f'{source}: no such file or folder; give recordings, folders with '
                           'recordings, globs or a text list of them')
    for place in roots:
        listing = store.find(place, detail=True)
        files = {str(PurePosixPath(path).relative_to(place)): _stamp(entry)
                 for path, entry in listing.items()}
        for part, digest in _grouped(files).items():
            path = PurePosixPath(place) / part
            name = part if part != '.' else path.name
            yield Recording(name.replace('/', '__'),
                            str(path) if local else store.unstrip_protocol(str(path)),
                            digest, local)


def _stamp(entry: Mapping[str, Any]) -> str:
    """Return size and time, or what else a store tells, of a file."""
    changed = next((entry[key] for key in ('mtime', 'ETag', 'LastModified', 'updated')
                    if entry.get(key) is not None), '')
    return f'{entry.get("size")} {changed}'


def _grouped(files: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the recordings that files belong to, by their relative paths."""
    inside = defaultdict(set)
    for file in files:
        inside[str(PurePosixPath(file).parent)].add(PurePosixPath(file).name)
    if set(files) == {'.'}:
        return {'.': _digest([('', files['.'])])}
    ours = {folder for folder, names in inside.items() if OURS in names}
    whole = {folder for one, names in inside.items() for folder in _folders(one, names)}
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file, stamp in sorted(files.items()):
        path = PurePosixPath(file)
        above = [str(folder) for folder in reversed(path.parents)]
        if ours & set(above) or any(part.startswith('.') for part in path.parts):
            continue
        recording = next((folder for folder in above if folder in whole), None)
        if recording is None:
            recording = _alone(path)
        if recording is not None:
            parts[recording].append((file, stamp))
    return {recording: _digest(entries) for recording, entries in parts.items()}


def _folders(folder: str, names: set[str]) -> Iterator[str]:
    """Yield the folder, or the one above, where its files say that it is one recording."""
    path = PurePosixPath(folder)
    bag = any(name.endswith(BAG_SUFFIXES) for name in names)
    if 'rgb.txt' in names or bag and 'metadata.yaml' in names:
        yield folder
    if path.name in ('rgb', 'color') and _images(names):
        yield str(path.parent)


def _alone(path: PurePosixPath) -> str | None:
    """Return the recording that a file is, or that an image is a frame of."""
    if path.name.endswith(BAG_SUFFIXES) or path.suffix.lower() in VIDEO_SUFFIXES:
        return str(path)
    return str(path.parent) if _images({path.name}) else None


def _images(names: set[str]) -> bool:
    return any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names)


def _digest(entries: Sequence[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(entries).encode('utf-8', 'surrogateescape')).hexdigest()[:16]


def _with_unique_names(recordings: Iterable[Recording]) -> Iterator[Recording]:
    """Yield the recordings; those of one name get a hash of their address behind it."""
    recordings = list(recordings)
    times = Counter(recording.name for recording in recordings)
    for recording in recordings:
        name = recording.name
        if times[name] > 1:
            address = recording.address.encode('utf-8', 'surrogateescape')
            name = f'{name}-{hashlib.sha256(address).hexdigest()[:8]}'
        yield Recording(name, recording.address, recording.digest, recording.local)
