"""Whether an mcap file is of ROS 2, by its profile or else by what it holds."""

from __future__ import annotations

from contextlib import suppress
from io import BufferedReader, FileIO
from pathlib import Path
import struct
from typing import Any, NamedTuple

from diffseg_ros.errors import DiffsegError

_HEADER, _SCHEMA, _CHANNEL = 1, 3, 4
_PROFILE_AT = 17  # after the magic bytes, opcode and length of the header
_ROS2 = b'\x04\0\0\0ros2'
_REMEDIES = {
    'ros1': 'convert the ROS 1 bag that it was made of: rosbags-convert --src X.bag --dst X',
    'protobuf': 'Foxglove writes these: record the topics of ROS 2 with ros2 bag record',
    'json': 'Foxglove writes these: record the topics of ROS 2 with ros2 bag record',
    'cdr': 'record it with ros2 bag record -s mcap'}


class _Content(NamedTuple):
    profile: str
    schemas: set[str]  # encodings
    messages: set[str]


def as_ros2(path: Path) -> Path:
    """Return a path whose file says that it is of ROS 2, if it holds that under no profile."""
    if path.suffix != '.mcap' or path.is_dir():
        return path
    with path.open('rb') as file:
        if file.read(_PROFILE_AT + 4)[_PROFILE_AT:] != bytes(4):
            return path
    _, schemas, messages = _content(path)
    return _Ros2Path(path) if messages == {'cdr'} and schemas <= {'ros2msg', 'ros2idl'} else path


def check_ros2(path: Path) -> None:
    """Raise DiffsegError, with the name of what it holds, if an mcap file is not of ROS 2."""
    if path.suffix != '.mcap':
        return
    profile, _, messages = _content(path)
    if kinds := sorted(messages & _REMEDIES.keys() - ({'cdr'} if profile == 'ros2' else set())):
        raise DiffsegError(f'{path}: an mcap file of profile {profile!r} with messages in '
                           f'{", ".join(kinds)}; those of ROS 2 (profile ros2, cdr) are '
                           f'supported; {_REMEDIES[kinds[0]]}')


def _content(path: Path) -> _Content:
    """Return what the records outside of chunks say, where the channels are listed again."""
    profile, schemas, messages, size = '', set(), set(), path.stat().st_size
    with path.open('rb') as file, suppress(struct.error, UnicodeDecodeError):
        file.seek(8)
        while len(head := file.read(9)) == 9:
            opcode, length = struct.unpack('<BQ', head)
            if opcode not in (_HEADER, _SCHEMA, _CHANNEL):
                file.seek(min(length, size), 1)
                continue
            record = file.read(min(length, size))
            if opcode == _HEADER:
                profile = _text(record)
            elif opcode == _SCHEMA:
                schemas.add(_second_text(record[2:]))
            else:
                messages.add(_second_text(record[4:]))
    return _Content(profile, schemas, messages)


def _text(record: bytes) -> str:
    """Return the text at the start of a part of a record: its length, then UTF-8."""
    length, = struct.unpack_from('<I', record)
    return record[4:4 + length].decode()


def _second_text(record: bytes) -> str:
    return _text(record[4 + len(_text(record).encode()):])


class _Ros2Path(type(Path())):  # type: ignore[misc]
    """A file without a profile that is read as if it had that of ROS 2."""

    def open(self, *_: Any, **__: Any) -> BufferedReader:
        return _Ros2File(FileIO(str(self)))


class _Ros2File(BufferedReader):
    """The profile lies over the name of the writing library, which nobody reads."""

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        return _ROS2 + data[len(_ROS2):] if start == _PROFILE_AT else data
