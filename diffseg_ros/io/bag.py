"""rosbag2 recordings (mcap, sqlite3) as a stream of frames."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag_reader import BagReader, choose_topics, ChosenTopics
from diffseg_ros.io.base import Source, SourceFrame, TopicNames
from diffseg_ros.io.message_buffer import MessageBuffer
from diffseg_ros.io.messages import (
    CAMERA_INFO,
    decode_colour,
    decode_depth,
    deserialise,
    header_stamp,
    intrinsics_from_camera_info,
    nanoseconds,
    TRANSFORMS,
)
from diffseg_ros.time_rules import clock_jumped_back
from diffseg_ros.types import DepthImage, Frame, Intrinsics
import numpy.typing as npt

_DEPTH_TOLERANCE_NS = 20_000_000
_HORIZON_NS = 1_000_000_000
_MOST_IMAGES, _MOST_DEPTHS, _MOST_INFOS = 32, 64, 256


@dataclass
class SyncedMessages:
    """A serialised image and the messages that belong to it."""

    stamp: int
    log_time: int
    rgb: bytes
    depth: bytes | None = None
    camera_info: bytes | None = None


class Bag(Source):
    """
    A recorded camera: one frame for each message of the colour image topic.

    Frames come in the order of their header stamps, as far as messages lie within a second
    of each other in the recording; `MessagePairing` says how depth, camera_info and poses
    join them. The bag is streamed: memory does not grow with its length. Opening it and reading
    frames raise DiffsegError where it is damaged.
    """

    def __init__(self, path: Path, topics: TopicNames | None = None) -> None:
        self._path = path
        with BagReader(path) as reader:
            self._topics = choose_topics(reader, topics or TopicNames())
            self._types = reader.topics
            info = self._topics.camera_info
            self._first_info = reader.first(info) if info else None
            self._static = [data for _, _, data in reader.messages(self._topics.static)]
            count = reader.counts[self._topics.rgb]
        resolved = path.resolve()
        super().__init__(resolved.stem if path.is_file() else resolved.name, count)
        self._problems: Counter[str] = Counter()

    @property
    def warnings(self) -> list[str]:
        counted = [f'{problem} ({count} of {self.frame_count} frames)'
                   for problem, count in self._problems.items()]
        return [*self._topics.warnings, *counted, *super().warnings]

    def numbered_frames(self) -> Iterator[SourceFrame]:
        self._problems.clear()
        tree = TransformTree()
        for data in self._static:
            _add_transforms(tree, data, moving=False)
        number = 0
        with BagReader(self._path) as reader:
            pairing = MessagePairing(self._topics, self._first_info, tree)
            for messages in pairing.pair(reader.messages(self._topics.streamed)):
                try:
                    yield SourceFrame(number, self._frame(messages, tree))
                except DiffsegError as error:
                    yield SourceFrame(number, None, f'{self._path} frame {number} (stamp '
                                                    f'{messages.stamp} ns): {error}')
                number += 1
        if number != self.frame_count:
            raise DiffsegError(f'{self._path}: the bag is damaged: its index lists '
                               f'{self.frame_count} images, {number} were found; record it again')

    def _frame(self, messages: SyncedMessages, tree: TransformTree) -> Frame:
        rgb, header = self._decoded(messages.rgb, self._topics.rgb, decode_colour)
        frame_id = header.frame_id
        pose = tree.pose(frame_id, messages.stamp)
        if pose is None and (self._topics.moving or self._topics.static):
            self._problems[f'no transform from a fixed frame to {frame_id!r}: no pose'] += 1
        return Frame(rgb, messages.stamp, frame_id, self._depth(messages, frame_id),
                     self._camera(messages), pose)

    def _decoded(self, data: bytes, topic: str,
                 decode: Callable[[Any], npt.NDArray]) -> tuple[npt.NDArray, Any]:
        try:
            message = deserialise(data, self._types[topic])
            return decode(message), message.header
        except DiffsegError as error:
            raise DiffsegError(f'{topic}: {error}') from error

    def _depth(self, messages: SyncedMessages, frame_id: str) -> DepthImage | None:
        topic = self._topics.depth
        if topic is None:
            return None
        if messages.depth is None:
            self._problems[f'{topic}: no depth within {_DEPTH_TOLERANCE_NS // 10**6} ms of the '
                           'image: masks only, no clouds'] += 1
            return None
        depth, header = self._decoded(messages.depth, topic, decode_depth)
        if header.frame_id.lstrip('/') != frame_id.lstrip('/'):
            self._problems[f'{topic}: depth in frame {header.frame_id!r}, image in {frame_id!r}: '
                           'unregistered depth is not used: masks only, no clouds'] += 1
            return None
        return depth

    def _camera(self, messages: SyncedMessages) -> Intrinsics | None:
        """Return the intrinsics; a useless camera_info is counted and costs only the clouds."""
        if messages.camera_info is None:
            return None
        try:
            return intrinsics_from_camera_info(deserialise(messages.camera_info, CAMERA_INFO))
        except DiffsegError as error:
            self._problems[f'{self._topics.camera_info}: {error}: masks only, no clouds'] += 1
            return None


class MessagePairing:
    """
    Joins the messages of a bag, in the order of log times, to images in the order of stamps.

    An image is held until messages one second younger were read or 32 images wait, so that
    what was recorded after it can belong to it; memory is bounded by that. Depth belongs to
    the image of equal stamp, else to the nearest within 20 ms; camera_info is the last at or
    before the image, else the first of the bag. `tree` holds the static transforms and gets the
    others. A time jump (a looped recording) ends everything before it.
    """

    def __init__(self, topics: ChosenTopics, first_info: bytes | None,
                 tree: TransformTree) -> None:
        self._topics = topics
        self._first_info = first_info
        self._tree = tree
        self._images: list[SyncedMessages] = []
        self._newest_image: int | None = None
        self._depths: MessageBuffer[bytes] = MessageBuffer(_MOST_DEPTHS)
        self._infos: MessageBuffer[bytes] = MessageBuffer(_MOST_INFOS)

    def pair(self, messages: Iterable[tuple[str, int, bytes]]) -> Iterator[SyncedMessages]:
        """Yield the images; the tree then knows the transforms around each of them."""
        for topic, log_time, data in messages:
            if self._jumps_back(topic, data):
                yield from self._released(0)
                self._newest_image = None
                self._depths.clear()
                self._infos.clear()
                self._tree.forget_moving()
            self._add(topic, log_time, data)
            yield from self._released(_MOST_IMAGES, log_time - _HORIZON_NS)
        yield from self._released(0)

    def _jumps_back(self, topic: str, data: bytes) -> bool:
        if topic in self._topics.moving:
            return any(clock_jumped_back(self._tree.last_stamp(item.child_frame_id),
                                         nanoseconds(item.header.stamp))
                       for item in _transforms(data))
        stamp = header_stamp(data)
        if stamp is None or topic == self._topics.camera_info:
            return False
        return clock_jumped_back(self._newest_image if topic == self._topics.rgb
                                 else self._depths.newest, stamp)

    def _add(self, topic: str, log_time: int, data: bytes) -> None:
        if topic in self._topics.moving:
            _add_transforms(self._tree, data, moving=True)
            return
        stamp = header_stamp(data)
        if topic == self._topics.rgb:
            if stamp is not None:
                self._newest_image = max(stamp, self._newest_image or stamp)
            insort(self._images,
                   SyncedMessages(log_time if stamp is None else stamp, log_time, data),
                   key=attrgetter('stamp', 'log_time'))
        elif stamp is not None:
            (self._depths if topic == self._topics.depth else self._infos).add(stamp, data)

    def _released(self, most: int, until: int | None = None) -> Iterator[SyncedMessages]:
        """Yield the oldest images while too many wait or the oldest waited long enough."""
        while self._images and (len(self._images) > most or (
                until is not None and self._images[0].log_time < until)):
            image = self._images.pop(0)
            image.depth = self._depths.find(image.stamp, _DEPTH_TOLERANCE_NS)
            image.camera_info = self._infos.find_last(image.stamp) or self._first_info
            yield image
            self._depths.discard(before=image.stamp - _DEPTH_TOLERANCE_NS)


def _transforms(data: bytes) -> list:
    try:
        return deserialise(data, TRANSFORMS).transforms
    except DiffsegError:
        return []


def _add_transforms(tree: TransformTree, data: bytes, *, moving: bool) -> None:
    """Add a serialised tf2_msgs/TFMessage to the tree; a damaged one adds nothing."""
    for item in _transforms(data):
        place = item.transform
        tree.add(item.header.frame_id, item.child_frame_id,
                 nanoseconds(item.header.stamp) if moving else None,
                 (place.translation.x, place.translation.y, place.translation.z),
                 (place.rotation.x, place.rotation.y, place.rotation.z, place.rotation.w))
