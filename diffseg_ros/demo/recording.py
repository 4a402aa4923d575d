"""Makes a compressed mcap recording of everything that was sent and received."""

from __future__ import annotations

from collections.abc import Iterable
import heapq
import os
from pathlib import Path
import tempfile

from diffseg_ros.data.message_types import require_type, TRANSFORMS, typestore
from diffseg_ros.demo.player import CAMERA_TOPICS, PreparedFrame, serialised_transform, TF
from diffseg_ros.demo.recorder import RECORDED
from diffseg_ros.demo.spool import Recorded, Spool
from diffseg_ros.errors import DiffsegError
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

_FOREVER = QosTime(2147483647, 4294967295)
_TYPES = RECORDED | {f'/{topic}': kind for topic, kind in CAMERA_TOPICS.items()} | {TF: TRANSFORMS}


def write_recording(path: Path, spool: Spool, frames: Iterable[PreparedFrame],
                    stamps: Iterable[int]) -> None:
    """
    Write the camera's topics, tf and what the node published, in order of time.

    The file appears complete or not at all; an earlier one is replaced. tf is recorded whether
    or not it could be published, so that viewers can place everything in the fixed frame.

    Raises
    ------
    DiffsegError
        The file cannot be written.

    """
    try:
        with tempfile.TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as scratch:
            folder = Path(scratch) / path.stem
            _write(folder, heapq.merge(_sent(frames, stamps), spool.messages(),
                                       key=lambda item: item.received))
            os.replace(folder / f'{path.stem}.mcap', path)
    except OSError as error:
        raise DiffsegError(f'{path}: cannot be written ({error.strerror or error})') from error


def _sent(frames: Iterable[PreparedFrame], stamps: Iterable[int]) -> Iterable[Recorded]:
    for frame, stamp in zip(frames, stamps):
        yield Recorded(TF, stamp, memoryview(serialised_transform(frame.pose, stamp)))
        for topic, data in frame.stamped(stamp):
            yield Recorded(f'/{topic}', stamp, memoryview(data))


def _write(folder: Path, messages: Iterable[Recorded]) -> None:
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    connections: dict[str, Connection] = {}
    with writer:
        for item in messages:
            if item.topic not in connections:
                require_type(_TYPES[item.topic])
                connections[item.topic] = writer.add_connection(
                    item.topic, _TYPES[item.topic], typestore=typestore(),
                    offered_qos_profiles=[_qos()])
            writer.write(connections[item.topic], item.received, item.data)


def _qos() -> Qos:
    return Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE,
               _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER, False)
