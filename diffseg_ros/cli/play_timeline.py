"""Recordings as serialised messages on the topics that the node takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_storage import BagStorage
from diffseg_ros.io.bag_topics import choose_topics
from diffseg_ros.io.message_types import COMPRESSED_IMAGE, TRANSFORMS, typestore
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.io.source import open_source, TopicNames

ODOMETRY = 'nav_msgs/msg/Odometry'
STATIC = '/tf_static'
_NODE_TOPICS = TopicNames()


@dataclass(frozen=True)
class Sent:
    """A message to send: when (ns, on the recording's clock), where, and its CDR bytes."""

    time: int
    topic: str
    data: bytes


class Timeline(Protocol):
    """A recording that can be gone through several times."""

    topics: dict[str, str]
    notes: list[str]

    def __iter__(self) -> Iterator[Sent]:
        """Yield the messages in the order of their times."""


def open_timeline(path: Path, names: TopicNames) -> Timeline:
    """
    Open a bag or a sequence folder.

    Raises
    ------
    DiffsegError
        It cannot be read.

    """
    source = open_source(path, names)
    return FolderTimeline(source) if isinstance(source, SequenceFolder) else BagTimeline(path,
                                                                                         names)


class BagTimeline:
    """
    The camera topics, transforms and odometry of a bag, under the node's names for them.

    Attributes
    ----------
    topics
        Message type by the node's topic name.
    notes
        What the user should know.

    """

    def __init__(self, path: Path, names: TopicNames) -> None:
        """Choose the topics as replay does."""
        self._path = path
        with BagStorage(path) as storage:
            chosen = choose_topics(path, storage, names)
            types = storage.topics
        self.notes = list(chosen.notes)
        odometry = sorted(name for name, kind in types.items() if kind == ODOMETRY)[:1]
        self._target = {chosen.rgb: _with_transport(_NODE_TOPICS.rgb, types[chosen.rgb],
                                                    'compressed')}
        if chosen.depth:
            self._target[chosen.depth] = _with_transport(
                _NODE_TOPICS.depth, types[chosen.depth], 'compressedDepth')
        if chosen.camera_info:
            self._target[chosen.camera_info] = _NODE_TOPICS.camera_info
        self._target |= dict.fromkeys(chosen.moving, '/tf') | dict.fromkeys(chosen.static, STATIC)
        self._target |= dict.fromkeys(odometry, 'odom')
        self.topics = {target: types[name] for name, target in self._target.items()}

    def __iter__(self) -> Iterator[Sent]:
        """Read the bag from the start."""
        with BagStorage(self._path) as storage:
            for topic, time, data in storage.messages(list(self._target)):
                yield Sent(time, self._target[topic], data)


class FolderTimeline:
    """The frames of a sequence folder; see BagTimeline."""

    def __init__(self, folder: SequenceFolder) -> None:
        """Look at the first frame for what there is."""
        self._folder = folder
        self.notes: list[str] = []
        first = next(iter(self._messages()), [])
        if not first:
            raise DiffsegError(f'{folder.name}: its first frame cannot be read')
        self.topics = {topic: kind for topic, kind, _, _ in first}

    def __iter__(self) -> Iterator[Sent]:
        """Read the frames from the start; those that cannot be read are left out."""
        for frame in self._messages():
            for topic, _, time, data in frame:
                yield Sent(time, topic, data)

    def _messages(self) -> Iterator[list[tuple[str, str, int, bytes]]]:
        from diffseg_ros.cli.convert import write_frame

        for item in self._folder:
            writer: Any = _Collector()
            if item.frame is not None:
                write_frame(writer, item.frame)
            yield writer.messages


class _Collector:
    """Takes the place of a bag's writer."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, int, bytes]] = []

    def write(self, topic: str, message: Any, time: int) -> None:
        kind = message.__msgtype__
        name = topic if kind == TRANSFORMS else topic.lstrip('/')
        data = bytes(typestore().serialize_cdr(message, kind))
        self.messages.append((name, kind, time, data))


def _with_transport(topic: str, kind: str, transport: str) -> str:
    return f'{topic}/{transport}' if kind == COMPRESSED_IMAGE else topic
