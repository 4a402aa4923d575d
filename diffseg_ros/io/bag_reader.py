"""Reads the raw messages of rosbag2 recordings, which are checked for damage."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
import os
from pathlib import Path
import sqlite3
import struct
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BAG_SUFFIXES
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

_MCAP_CHUNK = b'\x06'


class BagReader:
    """
    An open bag: a single file, or a folder with or without metadata.yaml.

    Attributes
    ----------
    topics
        Message type by topic name, in the order of the bag.
    counts
        Number of messages by topic name.

    """

    def __init__(self, path: Path) -> None:
        """Open and check the bag; raise DiffsegError if it is damaged, empty or unsupported."""
        self._readers: list[Reader] = []
        with ExitStack() as stack:
            for file in _storage_files(path):
                _check_size(file)
            for part in [path] if _is_unit(path) else _storage_files(path):
                reader = _opened(part)
                stack.callback(reader.close)
                self._readers.append(reader)
            self._readers.sort(key=lambda reader: reader.start_time)
            self.topics, self.counts = self._read_index()
            if not sum(self.counts.values()):
                raise DiffsegError(f'{path}: the bag is empty (no messages)')
            self._stack = stack.pop_all()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def messages(self, topics: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
        """
        Yield (topic, log time in ns, CDR bytes) in the order of log times.

        Raises DiffsegError where the bag turns out to be damaged.
        """
        for reader in self._readers:
            chosen = [item for item in reader.connections if item.topic in topics]
            if not chosen:
                continue
            try:
                for connection, log_time, data in reader.messages(chosen):
                    yield connection.topic, log_time, data
            except (GeneratorExit, DiffsegError):
                raise
            except Exception as error:  # the readers raise many kinds for damaged data
                raise _damaged(reader.path, error) from error

    def first(self, topic: str) -> bytes | None:
        """Return the first message of a topic, or None."""
        return next((data for _, _, data in self.messages([topic])), None)

    def _read_index(self) -> tuple[dict[str, str], dict[str, int]]:
        topics: dict[str, str] = {}
        counts: dict[str, int] = {}
        for reader in self._readers:
            for item in reader.connections:
                topics.setdefault(item.topic, item.msgtype)
            for item in _counted(reader):
                counts[item.topic] = counts.get(item.topic, 0) + item.msgcount
        return topics, counts


def _is_unit(path: Path) -> bool:
    return path.is_file() or (path / 'metadata.yaml').exists()


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in BAG_SUFFIXES)


def _counted(reader: Reader) -> list[Connection]:
    """Return the connections of the files themselves: metadata.yaml may be out of date."""
    storages = getattr(reader.storage, 'storages', None)
    if not storages:
        return reader.connections
    return [item for storage in storages for item in storage.connections]


def _opened(path: Path) -> Reader:
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # the readers raise many kinds for damaged data
        raise _damaged(path, error) from error
    try:
        for storage in getattr(reader.storage, 'storages', None) or [reader.storage]:
            _check_chunks(storage)
    except Exception as error:
        reader.close()
        raise _damaged(path, error) from error
    return reader


def _damaged(path: object, error: Exception) -> DiffsegError:
    if isinstance(error, DiffsegError):
        return error
    reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
    return DiffsegError(f'{path}: the bag is truncated or damaged, or of an unsupported kind '
                        f'({reason}); record it again, or try ros2 bag reindex / mcap recover')


def _check_size(path: Path) -> None:
    """Refuse files that are cut, which their reader may not notice before the middle."""
    if path.suffix != '.db3':
        return
    log = Path(f'{path}-wal')
    if log.exists() and log.stat().st_size:
        raise DiffsegError(f'{path}: the recording was not closed, {log.name} holds messages; '
                           f'run: sqlite3 {path} "PRAGMA wal_checkpoint(TRUNCATE)"')
    with path.open('rb') as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b'SQLite format 3\0'):
        raise _damaged(path, ValueError('no SQLite header'))
    page, = struct.unpack('>H', header[16:18])
    changes, pages, valid_for = (struct.unpack('>I', header[at:at + 4])[0]
                                 for at in (24, 28, 92))
    expected = (65536 if page == 1 else page) * pages
    size = os.path.getsize(path)
    if changes == valid_for and size < expected:
        raise _damaged(path, ValueError(f'{size} of {expected} bytes'))
    _check_pages(path)


def _check_pages(path: Path) -> None:
    database = sqlite3.connect(f'{path.resolve().as_uri()}?immutable=1', uri=True)
    try:
        verdict, = database.execute('PRAGMA quick_check(1)').fetchone()
    except sqlite3.Error as error:
        raise _damaged(path, error) from error
    finally:
        database.close()
    if verdict != 'ok':
        raise _damaged(path, ValueError(verdict))


def _check_chunks(storage: Any) -> None:
    """Refuse an mcap file whose index points outside of its chunks."""
    for chunk in getattr(storage, 'chunks', ()):
        storage.bio.seek(chunk.chunk_start_offset)
        head = storage.bio.read(9)
        if (head[:1] != _MCAP_CHUNK or len(head) < 9
                or struct.unpack('<Q', head[1:])[0] + 9 != chunk.chunk_length
                or chunk.chunk_start_offset + chunk.chunk_length > storage.data_end):
            raise ValueError(f'no chunk at byte {chunk.chunk_start_offset}')
