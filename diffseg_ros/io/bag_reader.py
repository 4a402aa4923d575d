"""Reads the raw messages of rosbag2 recordings and checks these for damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, ExitStack
from pathlib import Path
import sqlite3
import struct
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BAG_SUFFIXES
from rosbags.rosbag2 import Reader

_MCAP_CHUNK = b'\x06'


class BagReader:
    """
    An open bag: a single file, or a folder with or without metadata.yaml.

    Raises DiffsegError if it is damaged, empty or of an unsupported kind.

    Attributes
    ----------
    topics
        Message type by topic name, in the order of the bag.
    counts
        Number of messages by topic name.

    """

    def __init__(self, path: Path) -> None:
        self.topics: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        files = [path] if path.is_file() else sorted(
            file for file in path.iterdir() if file.suffix in BAG_SUFFIXES)
        for file in files:
            if file.suffix == '.db3':
                _check_database(file)
        parts = [path] if (path / 'metadata.yaml').exists() else files
        with ExitStack() as stack:
            self._readers = [stack.enter_context(closing(_opened(part))) for part in parts]
            self._readers.sort(key=lambda reader: reader.start_time)
            for reader in self._readers:
                for item in reader.connections:
                    self.topics.setdefault(item.topic, item.msgtype)
                # The counts in metadata.yaml may be out of date.
                for storage in _storages(reader):
                    for item in storage.connections:
                        self.counts[item.topic] += item.msgcount
            if not self.counts.total():
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
            except Exception as error:  # the readers raise many kinds for damaged data
                raise _damaged(reader.path, error) from error

    def first(self, topic: str) -> bytes | None:
        """Return the first message of a topic, or None."""
        return next((data for _, _, data in self.messages([topic])), None)


def _opened(path: Path) -> Reader:
    try:
        reader = Reader(path)
        reader.open()
    except Exception as error:  # the readers raise many kinds for damaged data
        raise _damaged(path, error) from error
    try:
        for storage in _storages(reader):
            _check_chunks(storage)
    except Exception as error:
        reader.close()
        raise _damaged(path, error) from error
    return reader


def _storages(reader: Reader) -> list[Any]:
    """Return the readers of the files of a bag."""
    return getattr(reader.storage, 'storages', None) or [reader.storage]


def _damaged(path: object, error: object) -> DiffsegError:
    reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
    return DiffsegError(f'{path}: the bag is truncated or damaged, or of an unsupported kind '
                        f'({reason}); record it again, or try ros2 bag reindex / mcap recover')


def _check_database(path: Path) -> None:
    """Refuse a damaged SQLite file, which its reader may not notice before the middle."""
    log = Path(f'{path}-wal')
    if log.exists() and log.stat().st_size:
        raise DiffsegError(f'{path}: the recording was not closed, {log.name} holds messages; '
                           f'run: sqlite3 {path} "PRAGMA wal_checkpoint(TRUNCATE)"')
    try:
        address = f'{path.resolve().as_uri()}?immutable=1'
        with closing(sqlite3.connect(address, uri=True)) as database:
            verdict, = database.execute('PRAGMA quick_check(1)').fetchone()
            needed, = database.execute('SELECT page_count * page_size FROM pragma_page_count, '
                                       'pragma_page_size').fetchone()
    except sqlite3.Error as error:
        raise _damaged(path, error) from error
    size = path.stat().st_size
    if verdict == 'ok' and size < needed:
        verdict = f'{size} of {needed} bytes'
    if verdict != 'ok':
        raise _damaged(path, verdict)


def _check_chunks(storage: Any) -> None:
    """Refuse an mcap file whose index points outside of its chunks."""
    for chunk in getattr(storage, 'chunks', ()):
        storage.bio.seek(chunk.chunk_start_offset)
        head = storage.bio.read(9)
        if (head[:1] != _MCAP_CHUNK or len(head) < 9
                or struct.unpack('<Q', head[1:])[0] + 9 != chunk.chunk_length
                or chunk.chunk_start_offset + chunk.chunk_length > storage.data_end):
            raise ValueError(f'no chunk at byte {chunk.chunk_start_offset}')
