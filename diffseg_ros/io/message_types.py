"""Message definitions and (de)serialisation without a ROS installation."""

from __future__ import annotations

from functools import lru_cache
import os
from pathlib import Path
import struct
import sys
from typing import Any

from diffseg_ros.errors import DiffsegError
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'

_NS = 1_000_000_000


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Return the definitions of all messages of ROS 2, extended by `require_type`."""
    return get_typestore(Stores.ROS2_KILTED)


def deserialise(data: bytes, type_name: str) -> Any:
    """
    Return the message in CDR bytes; its arrays are read-only views of `data`.

    Raises
    ------
    DiffsegError
        The bytes are truncated or no such message.

    """
    try:
        return typestore().deserialize_cdr(data, type_name)
    except Exception as error:  # truncated bytes surface as many kinds
        raise DiffsegError(f'{type_name} message: {len(data)} bytes cannot be decoded; it is '
                           'truncated or damaged') from error


def header_stamp(data: bytes) -> int | None:
    """Return the stamp (ns) of a serialised message that begins with a header, or None."""
    if len(data) < 12:
        return None
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return seconds * _NS + nanoseconds


def nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces/Time as nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def require_type(type_name: str) -> None:
    """
    Make sure that a message type is defined, taking it from installed packages if need be.

    Raises
    ------
    DiffsegError
        No definition is found.

    """
    if type_name in typestore().fielddefs:
        return
    path = _definition_file(type_name)
    if path is None:
        raise DiffsegError(f'message type {type_name}: no definition found; install its package '
                           f'{type_name.split("/")[0]}, or source the workspace that has it')
    types = get_types_from_msg(path.read_text(), type_name)
    for _, fields in types.values():
        for _, description in fields:
            for nested in _named_types(description):
                if nested not in types:
                    require_type(nested)
    typestore().register(types)


def _definition_file(type_name: str) -> Path | None:
    package, _, name = type_name.split('/')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in filter(None, (*prefixes, sys.prefix)):
        path = Path(prefix, 'share', package, 'msg', f'{name}.msg')
        if path.is_file():
            return path
    return None


def _named_types(description: Any) -> list[str]:
    """Return the message types in a field description: (kind, (name | nested, size))."""
    if isinstance(description, str):
        return [description] if description.count('/') == 2 else []
    if isinstance(description, tuple):
        return [name for part in description for name in _named_types(part)]
    return []
