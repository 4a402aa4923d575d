"""Makes a compressed mcap recording of everything that was sent and received."""

from __future__ import annotations

from collections.abc import Iterable
import heapq
from pathlib import Path

from diffseg_ros.demo.player import CAMERA_TOPICS, PreparedFrame, serialised_transform, TF
from diffseg_ros.demo.recorder import RECORDED
from diffseg_ros.demo.spool import Recorded, Spool
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.message_types import TRANSFORMS

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
    messages = heapq.merge(_sent(frames, stamps), spool.messages(),
                           key=lambda item: item.received)
    with BagWriter(path, overwrite=True, compressed=True) as bag:
        for item in messages:
            bag.write_raw(item.topic, _TYPES[item.topic], item.received, item.data)


def _sent(frames: Iterable[PreparedFrame], stamps: Iterable[int]) -> Iterable[Recorded]:
    for frame, stamp in zip(frames, stamps):
        yield Recorded(TF, stamp, memoryview(serialised_transform(frame.pose, stamp)))
        for topic, data in frame.stamped(stamp):
            yield Recorded(f'/{topic}', stamp, memoryview(data))
