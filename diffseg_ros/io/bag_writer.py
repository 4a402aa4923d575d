"""Writes rosbag2 recordings (mcap, sqlite3) that appear complete or not at all."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
import re
import shutil
import sqlite3
import tempfile
from typing import Any

from diffseg_ros.error_text import printable
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.io.messages import require_type, typestore
from rosbags import interfaces
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

_PLUGINS = {'.mcap': StoragePlugin.MCAP, '.db3': StoragePlugin.SQLITE3}
_BAG_FILE = re.compile(r'\.(mcap|db3)(-wal|-shm|\.zstd)?$')
_FOREVER = interfaces.QosTime(2147483647, 4294967295)


class BagWriter:
    """
    A new bag: X.mcap and X.db3 are single files, another name is a bag folder (mcap).

    It is written beside its place and moved there when the `with` block ends; when that ends
    with an exception nothing is left. With `compressed` the chunks of an mcap are packed with
    zstd. Raises DiffsegError when the path exists and may not be overwritten, or the disk
    refuses.

    Attributes
    ----------
    counts
        Number of messages written by topic.

    """

    def __init__(self, path: Path, *, overwrite: bool = False, compressed: bool = False) -> None:
        self._path = path
        self._compressed = compressed
        self._single = path.suffix in _PLUGINS
        self._check_target(overwrite)
        self._connections: dict[str, interfaces.Connection] = {}
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> BagWriter:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f'.{self._path.name}.',
                                                 dir=self._path.parent))
        except OSError as error:
            raise WriteError(f'{self._path}: cannot be written ({error.strerror})') from error
        # Its metadata are text: only a name that is UTF-8 can stand in them.
        self._bag = self._folder / ('bag' if self._single else printable(self._path.name))
        plugin = _PLUGINS.get(self._path.suffix, StoragePlugin.MCAP)
        self._writer = Writer(self._bag, version=9, storage_plugin=plugin)
        if self._compressed and plugin == StoragePlugin.MCAP:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self._writer.close()
                self._move_into_place()
            else:
                self._writer.abort()
        except (OSError, sqlite3.Error) as failure:
            raise WriteError(f'{self._path}: cannot be written ({failure})') from failure
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, topic: str, message: Any, stamp: int) -> None:
        """Write a message of a rosbags type; see `write_raw`."""
        type_name = message.__msgtype__
        self.write_raw(topic, type_name, stamp, typestore().serialize_cdr(message, type_name))

    def write_raw(self, topic: str, type_name: str, stamp: int, data: bytes | memoryview) -> None:
        """
        Write a message of CDR bytes, recorded at `stamp` (ns).

        Raises DiffsegError when the type is unknown or not that of the topic so far.
        """
        connection = self._connections.get(topic)
        if connection is None:
            require_type(type_name)
            connection = self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=typestore(),
                offered_qos_profiles=[_qos(latched=topic.endswith('tf_static'))])
        elif connection.msgtype != type_name:
            raise DiffsegError(f'{self._path} topic {topic}: message of type {type_name}; the '
                               f'topic began with {connection.msgtype}')
        try:
            self._writer.write(connection, stamp, data)
        except (OSError, sqlite3.Error) as error:
            raise WriteError(f'{self._path}: cannot be written ({error})') from error
        self.counts[topic] += 1

    def _check_target(self, overwrite: bool) -> None:
        path = self._path
        if not path.exists():
            return
        if not overwrite:
            raise DiffsegError(f'{path}: exists already; choose another name or allow '
                               'overwriting')
        if path.is_dir() and (self._single or not (path / 'metadata.yaml').exists()):
            raise DiffsegError(f'{path}: is a folder and no bag; it is not overwritten')
        for entry in sorted(path.iterdir()) if path.is_dir() else ():
            if entry.name != 'metadata.yaml' and not _BAG_FILE.search(entry.name):
                raise DiffsegError(f'{path}: holds {entry.name}, which is no part of a bag; it is '
                                   'not overwritten, choose another name')
        if path.is_file() and not self._single:
            raise DiffsegError(f'{path}: is a file; a bag folder cannot take its place')

    def _move_into_place(self) -> None:
        if self._single:
            os.replace(self._bag / f'{self._bag.name}{self._path.suffix}', self._path)
            return
        if self._path.exists():
            os.replace(self._path, self._folder / 'replaced')
        os.replace(self._bag, self._path)


def _qos(*, latched: bool) -> interfaces.Qos:
    """Return the profile that playback offers; a latched topic reaches late subscribers."""
    durability = interfaces.QosDurability
    return interfaces.Qos(
        interfaces.QosHistory.KEEP_LAST, 100 if latched else 10,
        interfaces.QosReliability.RELIABLE,
        durability.TRANSIENT_LOCAL if latched else durability.VOLATILE,
        _FOREVER, _FOREVER, interfaces.QosLiveliness.AUTOMATIC, _FOREVER, False)
