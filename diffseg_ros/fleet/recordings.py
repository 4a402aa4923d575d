"""Finds recordings in folders, lists, globs and stores, and brings them to where they are read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from glob import glob
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, IO, NamedTuple, NoReturn

from diffseg_ros.error_text import printable
from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.copies import held_folder, remove_abandoned
from diffseg_ros.fleet.index import Row
from diffseg_ros.io.base import BAG_SUFFIXES
from diffseg_ros.io.images import IMAGE_SUFFIXES
from diffseg_ros.io.source import VIDEO_SUFFIXES
import fsspec

OURS = '.diffseg_manifest.jsonl'
"""This file lists what a command wrote into a folder, which are no recordings."""
_LIST_SUFFIX = '.txt'
_LONGEST_NAME = 190
"""Bytes; file systems take 255, and names of what is half-made are longer."""


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
        """Unique name of what is meant; a slash is in that of a part alone."""
        return self.name if self.part is None else f'{self.name}/{self.part.number}'


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
        for recording in recordings:
            if (shown := printable(recording.address)) != recording.address:
                raise DiffsegError(f'{shown}: its name is not UTF-8, which the tables cannot '
                                   'hold; rename it')
        found |= {recording.address: recording for recording in recordings}
    return sorted(_with_unique_names(found.values()), key=lambda recording: recording.name)


def named_as_before(recordings: Sequence[Recording], rows: Mapping[str, Row]) -> list[Recording]:
    """
    Return the recordings, sorted; one that has a row in the index keeps its name there.

    Of the others, those of such a name, or of that of one that failed, get a hash of their
    address behind it, so that no row is lost.
    """
    names = {row.source: name for name, row in rows.items()}
    taken = {name for name, row in rows.items() if row.error}
    taken |= {names[one.address] for one in recordings if one.address in names}
    return sorted((replace(one, name=names[one.address]) if one.address in names
                   else _hashed(one) if one.name in taken else one
                   for one in recordings), key=lambda recording: recording.name)


@contextmanager
def local_copy(recording: Recording, folder: Path) -> Iterator[Path]:
    """Give the local path of a recording; what lies elsewhere is in `folder` for the block."""
    if recording.local:
        yield Path(recording.address)
        return
    remove_abandoned()
    with held_folder(folder):
        store, path = fsspec.core.url_to_fs(recording.address)
        target = folder / PurePosixPath(path).name
        files = store.find(path)  # named one by one, as `get` takes [ and * in a name for a glob
        store.get(files, [str(target / PurePosixPath(file).relative_to(path)) for file in files])
        yield target


def _without_lists(sources: Iterable[str]) -> Iterator[str]:
    """Yield the sources, with what text lists name in their places."""
    for source in sources:
        if not source.endswith(_LIST_SUFFIX):
            yield source
            continue
        try:
            with fsspec.open(source, 'r', encoding='utf-8-sig') as file:
                lines = [line.strip() for line in file]
        except (OSError, ImportError, ValueError) as error:
            raise DiffsegError(f'{source}: the list cannot be read ({error}); give a text file '
                               'with a recording in each line') from error
        named = [line for line in lines if line and not line.startswith('#')]
        if wrong := next((line for line in named if line.endswith(_LIST_SUFFIX)), ''):
            raise DiffsegError(f'{source}: names another list, {wrong}; give both as SOURCE')
        if not named:
            raise DiffsegError(f'{source}: the list is empty; give a text file with a recording '
                               'in each line')
        yield from named


def _in(source: str) -> Iterator[Recording]:
    store, root = fsspec.core.url_to_fs(source)
    local = 'file' in (store.protocol if isinstance(store.protocol, tuple) else (store.protocol,))
    if local:
        root = os.path.abspath(root)
    roots = [root]
    if not store.exists(root):
        found = glob(root, recursive=True) if local else store.glob(root)
        roots = sorted(found) if set(source) & set('*?[') else []
    if not roots:
        raise DiffsegError(f'{source}: no such file or folder; give recordings, folders with '
                           'recordings, globs or a text list of them')
    for place in roots:
        files = _local_files(place) if local else {
            str(PurePosixPath(path).relative_to(place)): _stamp(entry)
            for path, entry in store.find(place, detail=True).items()}
        for part, digest in _grouped(files, partial(_opened, store, place)).items():
            path = PurePosixPath(place) / part
            name = part if part != '.' else path.name
            yield Recording(name.replace('/', '__'),
                            str(path) if local else store.unstrip_protocol(str(path)),
                            digest, local)


def _opened(store: fsspec.AbstractFileSystem, folder: str, file: str) -> IO[bytes]:
    opened: IO[bytes] = store.open(f'{folder}/{file}')
    return opened


def _local_files(root: str) -> dict[str, str]:
    """
    Return size and time of the files at a local path by their relative paths.

    Links to folders are followed, those to a folder that is found anyway are not.
    """
    if not os.path.isdir(root):
        return {'.': _local_stamp(root)}
    files: dict[str, str] = {}
    seen: set[tuple[int, int]] = set()
    tops = [root]
    for top in tops:
        for folder, folders, names in os.walk(top, onerror=_cannot_be_listed):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith('.'))
            paths = [os.path.join(folder, name) for name in folders]
            tops += [path for path in paths if os.path.islink(path)]
            files |= {os.path.relpath(path, root): _local_stamp(path)
                      for path in (os.path.join(folder, name) for name in names)}
    return files


def _cannot_be_listed(error: OSError) -> NoReturn:
    raise error


def _local_stamp(path: str) -> str:
    """Return size and time of a file, of a link those of what it leads to, if that is there."""
    try:
        status = os.stat(path)
    except OSError:
        status = os.lstat(path)
    return f'{status.st_size} {status.st_mtime}'


def _stamp(entry: Mapping[str, Any]) -> str:
    """Return size and time, or what else a store tells, of a file."""
    changed = next((entry[key] for key in ('mtime', 'ETag', 'LastModified', 'updated')
                    if entry.get(key) is not None), '')
    return f'{entry.get("size")} {changed}'


def _grouped(files: Mapping[str, str], opened: Callable[[str], IO[bytes]]) -> dict[str, str]:
    """
    Return the digests of the recordings that files belong to, by their relative paths.

    `opened` opens one of the files.
    """
    inside = defaultdict(set)
    for file in files:
        inside[str(PurePosixPath(file).parent)].add(PurePosixPath(file).name)
    if set(files) == {'.'}:
        return {'.': _digest([('.', files['.'])])}
    ours = {path for folder, names in inside.items() if OURS in names
            for path in _written(folder, opened)}
    whole = {folder for one, names in inside.items() for folder in _folders(one, names)}
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file, stamp in sorted(files.items()):
        path = PurePosixPath(file)
        above = [str(folder) for folder in reversed(path.parents)]
        if ours & {file, *above} or any(part.startswith('.') for part in path.parts):
            continue
        recording = next((folder for folder in above if folder in whole), None)
        if recording is None:
            recording = _alone(path, inside[str(path.parent)])
        if recording is not None:
            parts[recording].append((str(path.relative_to(recording)), stamp))
    return {recording: _digest(entries) for recording, entries in parts.items()}


def _folders(folder: str, names: set[str]) -> Iterator[str]:
    """Yield the folder, or the one above, where its files say that it is one recording."""
    path = PurePosixPath(folder)
    bag = any(name.endswith(BAG_SUFFIXES) for name in names)
    if 'rgb.txt' in names or bag and 'metadata.yaml' in names:
        yield folder
    if path.name in ('rgb', 'color') and _images(names):
        yield str(path.parent)


def _written(folder: str, opened: Callable[[str], IO[bytes]]) -> list[str]:
    """Return the folder if a command had it for its results, else what one wrote beside others."""
    files = []
    with opened(str(PurePosixPath(folder) / OURS)) as manifest:
        for line in manifest:
            try:
                path = PurePosixPath(folder) / json.loads(line)[1]
            except (ValueError, TypeError, LookupError):
                return [folder]
            if str(path.parent) != folder:
                return [folder]
            files.append(str(path))
    return files or [folder]


def _alone(path: PurePosixPath, beside: set[str]) -> str | None:
    """Return the recording that a file is, or that an image is a frame of; none beside bags."""
    if path.name.endswith(BAG_SUFFIXES) or path.suffix.lower() in VIDEO_SUFFIXES:
        return str(path)
    bags = any(name.endswith(BAG_SUFFIXES) for name in beside)
    return str(path.parent) if _images({path.name}) and not bags else None


def _images(names: set[str]) -> bool:
    return any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names)


def _digest(entries: Sequence[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(entries).encode('utf-8', 'surrogateescape')).hexdigest()[:16]


def _with_unique_names(recordings: Iterable[Recording]) -> Iterator[Recording]:
    """Yield the recordings; a long name, or that of several, gets a hash of the address."""
    recordings = list(recordings)
    times = Counter(recording.name for recording in recordings)
    for one in recordings:
        long = len(one.name.encode()) > _LONGEST_NAME
        yield _hashed(one) if long or times[one.name] > 1 else one


def _hashed(recording: Recording) -> Recording:
    start = recording.name.encode()[:_LONGEST_NAME].decode(errors='ignore')
    digest = hashlib.sha256(recording.address.encode()).hexdigest()
    return replace(recording, name=f'{start}-{digest[:8]}')
