"""rosbag2 recordings (mcap, sqlite3) as a stream of frames."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

from diffseg_ros.error_text import without_numbers
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag_reader import BagReader, choose_topics, ChosenTopics
from diffseg_ros.io.base import BagSettings, Source, SourceFrame, TopicNames
from diffseg_ros.io.calibration import (
    intrinsics_from_camera_info,
    registered_depth,
    Size,
)
from diffseg_ros.io.message_buffer import MessageBuffer
from diffseg_ros.io.messages import (
    CAMERA_INFO,
    decode_colour,
    deserialise,
    header_stamp,
    nanoseconds,
    TRANSFORMS,
)
from diffseg_ros.io.range_messages import (
    decode_ranges,
    moved_points,
    RANGE_TYPES,
    SPARSE_TOLERANCE_NS,
)
from diffseg_ros.time_rules import clock_jumped_back, sufficient_slop
from diffseg_ros.types import DepthImage, Frame, Intrinsics, Points

_HORIZON_NS = 1_000_000_000
_PATIENCE_NS = 8_000_000_000  # less than transforms are remembered
_MOST_IMAGES, _MOST_DEPTHS, _MOST_INFOS = 32, 128, 256
_FIRST_STAMPS = 8


@dataclass
class SyncedMessages:
    """A serialised image and the messages that belong to it."""

    stamp: int
    log_time: int
    rgb: bytes
    depth: bytes | None = None
    camera_info: bytes | None = None
    depth_offset: int | None = None
    ranges: bytes | None = None
    ranges_offset: int | None = None


class Bag(Source):
    """
    A recorded camera: one frame for each message of the colour image topic.

    Frames come in the order of their header stamps, as far as messages lie within a second
    of each other in the recording; `MessagePairing` says how depth, camera_info and poses
    join them. The bag is streamed: memory does not grow with its length. Opening it and reading
    frames raise DiffsegError where it is damaged.
    """

    def __init__(self, path: Path, topics: TopicNames | None = None,
                 settings: BagSettings | None = None) -> None:
        self._path = path
        self._settings = settings or BagSettings()
        with BagReader(path) as reader:
            self._topics = choose_topics(reader, topics or TopicNames())
            if wanted := self._settings.sparse_topic:
                self._topics = self._topics.with_ranges(wanted, RANGE_TYPES, reader.topics)
            self._types = reader.topics
            info = self._topics.camera_info
            self._first_info = reader.first(info) if info else None
            self._static = [data for _, _, data in reader.messages(self._topics.static)]
            count, self._seconds = reader.counts[self._topics.rgb], reader.seconds
            self._unstamped = [topic for topic in (self._topics.rgb, self._topics.depth)
                               if topic and _all_stamped_alike(reader, topic)]
        resolved = path.resolve()
        super().__init__(resolved.stem if path.is_file() else resolved.name, count)
        self._problems: Counter[str] = Counter()
        self._first_problems: dict[str, str] = {}

    @property
    def warnings(self) -> list[str]:
        unstamped = [f'{topic}: all messages carry the same stamp: header.stamp must be set; '
                     'messages are paired by their recording times' for topic in self._unstamped]
        counted = [f'{self._first_problems[kind]} ({count} of {self.frame_count} frames)'
                   for kind, count in self._problems.items()]
        return [*self._topics.warnings, *unstamped, *counted, *super().warnings]

    @property
    def seconds(self) -> float:
        return self._seconds

    def numbered_frames(self, first: int = 0) -> Iterator[SourceFrame]:
        self._problems.clear()
        tree = TransformTree()
        for data in self._static:
            _add_transforms(tree, data, moving=False)
        number = 0
        with BagReader(self._path) as reader:
            pairing = MessagePairing(
                self._topics, self._first_info, tree, round(self._settings.tolerance * 1e9),
                by_recording_time=bool(self._unstamped))
            recorded = reader.messages(self._topics.streamed)
            for messages in pairing.pair(self._topics.images_of(recorded, self._count)):
                if number >= first:
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
        try:
            message = deserialise(messages.rgb, self._topics.image_type)
            rgb, frame_id = decode_colour(message), message.header.frame_id
        except DiffsegError as error:
            raise DiffsegError(f'{self._topics.rgb}: {error}') from error
        pose = tree.pose(frame_id, messages.stamp)
        if pose is None and (self._topics.moving or self._topics.static):
            self._count(f'no transform from a fixed frame to {frame_id!r}: no pose')
        size = rgb.shape[1], rgb.shape[0]
        return Frame(rgb, messages.stamp, frame_id, self._depth(messages, size, frame_id),
                     self._camera(messages, size), pose, tree.root(frame_id),
                     self._ranges(messages, frame_id, tree),
                     up=tree.up(frame_id, messages.stamp) if pose is None else None,
                     odom_pose=tree.odom_pose(frame_id, messages.stamp))

    def _depth(self, messages: SyncedMessages, size: Size, frame_id: str) -> DepthImage | None:
        """Return the depth; what cannot be used is counted and costs only the clouds."""
        topic = self._topics.depth
        if topic is None:
            return None
        if messages.depth is None:
            offset = messages.depth_offset
            slop = None if offset is None else sufficient_slop(offset)
            nearest = '' if offset is None else (
                f', the nearest is {offset / 1e6:+.1f} ms off'
                + (f' (sync_slop: {slop:g} accepts it)' if slop else ''))
            self._count(f'{topic}: no depth within {self._settings.tolerance * 1e3:g} ms of the '
                        f'image{nearest}: clouds only with depth.model')
            return None
        try:
            return registered_depth(deserialise(messages.depth, self._types[topic]), size,
                                    frame_id, self._settings.depth_scale)
        except DiffsegError as error:
            self._count(f'{topic}: {error}: clouds only with depth.model')
            return None

    def _ranges(self, messages: SyncedMessages, frame_id: str,
                tree: TransformTree) -> Points | None:
        """Return ranges in the camera's frame; what cannot be used is counted."""
        topic = self._topics.ranges
        if topic is None:
            return None
        if messages.ranges is None:
            offset = messages.ranges_offset
            nearest = '' if offset is None else f', the nearest is {offset / 1e6:+.0f} ms off'
            self._count(f'{topic}: nothing within {SPARSE_TOLERANCE_NS / 1e6:g} ms of the '
                        f'image{nearest}')
            return None
        try:
            message = deserialise(messages.ranges, self._types[topic])
            points = decode_ranges(message)
        except DiffsegError as error:
            self._count(f'{topic}: {error}')
            return None
        source = message.header.frame_id
        transform = tree.moved(source, nanoseconds(message.header.stamp), frame_id,
                               messages.stamp)
        if transform is None:
            transform = tree.between(source, frame_id, messages.stamp)
        if transform is None:
            self._count(f'{topic}: no transform from {source!r} to the camera {frame_id!r}')
            return None
        return moved_points(points, transform)

    def _camera(self, messages: SyncedMessages, size: Size) -> Intrinsics | None:
        """Return the intrinsics; a useless camera_info is counted and costs only the clouds."""
        if messages.camera_info is None:
            return None
        try:
            return intrinsics_from_camera_info(deserialise(messages.camera_info, CAMERA_INFO),
                                               self._topics.rgb, size)
        except DiffsegError as error:
            self._count(f'{self._topics.camera_info}: {error}: masks only, no clouds')
            return None

    def _count(self, problem: str) -> None:
        """Count a problem of a frame, together with those that differ in numbers only."""
        kind = without_numbers(problem)
        self._problems[kind] += 1
        self._first_problems.setdefault(kind, problem)


def _all_stamped_alike(reader: BagReader, topic: str) -> bool:
    """Return whether the first messages of a topic, two at least, carry one stamp."""
    stamps = [header_stamp(data)
              for _, _, data in islice(reader.messages([topic]), _FIRST_STAMPS)]
    return len(stamps) > 1 and len(set(stamps)) == 1


class MessagePairing:
    """
    Joins the messages of a bag, in the order of log times, to images in the order of stamps.

    An image is held until messages one second younger were read, and until depth of its stamp
    came, or 32 images or 128 depth images wait; memory is bounded by that. An image gets the
    depth of equal stamp, else the nearest within `tolerance` (ns), and the ranges nearest within
    0.2 s; camera_info is the last at or before the image, else the first of the bag. `tree` holds
    the static transforms and gets the others. A time jump (a looped recording) ends everything
    before it; depth that is nearer to an image that waits than any before is late, and no jump.
    With `by_recording_time` the recording times are taken for the stamps.
    """

    def __init__(self, topics: ChosenTopics, first_info: bytes | None,
                 tree: TransformTree, tolerance: int = 20_000_000, *,
                 by_recording_time: bool = False) -> None:
        self._tolerance = tolerance
        self._by_recording_time = by_recording_time
        self._topics = topics
        self._first_info = first_info
        self._tree = tree
        self._images: list[SyncedMessages] = []
        self._newest_image: int | None = None
        self._depths: MessageBuffer[bytes] = MessageBuffer(_MOST_DEPTHS)
        self._infos: MessageBuffer[bytes] = MessageBuffer(_MOST_INFOS)
        self._ranges: MessageBuffer[bytes] = MessageBuffer(_MOST_DEPTHS)

    def pair(self, messages: Iterable[tuple[str, int, bytes]]) -> Iterator[SyncedMessages]:
        """Yield the images; the tree then knows the transforms around each of them."""
        for topic, log_time, data in messages:
            if self._jumps_back(topic, log_time, data):
                yield from self._released(0)
                self._newest_image = None
                self._depths.clear()
                self._infos.clear()
                self._ranges.clear()
                self._tree.forget_moving()
            self._add(topic, log_time, data)
            yield from self._released(_MOST_IMAGES, log_time - _HORIZON_NS)
        yield from self._released(0)

    def _jumps_back(self, topic: str, log_time: int, data: bytes) -> bool:
        if topic in self._topics.moving:
            return any(clock_jumped_back(self._tree.last_stamp(item.child_frame_id),
                                         nanoseconds(item.header.stamp))
                       for item in _transforms(data))
        stamp = self._stamp(log_time, data)
        if stamp is None or topic in (self._topics.camera_info, self._topics.ranges):
            return False
        if topic == self._topics.rgb:
            return clock_jumped_back(self._newest_image, stamp)
        return clock_jumped_back(self._depths.newest, stamp) and not self._is_late(stamp)

    def _is_late(self, stamp: int) -> bool:
        """Return whether depth of a stamp is nearer to an image that waits than any so far."""
        def nearest(image: SyncedMessages) -> int:
            offset = self._depths.offset(image.stamp)
            return self._tolerance + 1 if offset is None else abs(offset)

        return any(abs(image.stamp - stamp) < min(nearest(image), self._tolerance + 1)
                   for image in self._images)

    def _stamp(self, log_time: int, data: bytes) -> int | None:
        return log_time if self._by_recording_time else header_stamp(data)

    def _add(self, topic: str, log_time: int, data: bytes) -> None:
        if topic in self._topics.moving:
            _add_transforms(self._tree, data, moving=True)
            return
        stamp = self._stamp(log_time, data)
        if topic == self._topics.rgb:
            if stamp is not None:
                self._newest_image = max(stamp, self._newest_image or stamp)
            insort(self._images,
                   SyncedMessages(log_time if stamp is None else stamp, log_time, data),
                   key=attrgetter('stamp', 'log_time'))
        elif stamp is not None and topic == self._topics.depth:
            self._depths.add(stamp, data, late=True)
        elif stamp is not None and topic == self._topics.ranges:
            self._ranges.add(stamp, data)
        elif stamp is not None:
            self._infos.add(stamp, data)

    def _released(self, most: int, until: int | None = None) -> Iterator[SyncedMessages]:
        """Yield the oldest images while too many wait or the oldest waited long enough."""
        while self._images and (len(self._images) > most or (
                until is not None and self._images[0].log_time < until
                and not self._expects_depth(self._images[0], until))):
            image = self._images.pop(0)
            image.depth = self._depths.find(image.stamp, self._tolerance)
            image.depth_offset = self._depths.offset(image.stamp)
            image.ranges = self._ranges.find(image.stamp, SPARSE_TOLERANCE_NS)
            image.ranges_offset = self._ranges.offset(image.stamp)
            image.camera_info = self._infos.find_last(image.stamp) or self._first_info
            yield image
            self._depths.discard(before=image.stamp - self._tolerance)
            self._ranges.discard(before=image.stamp - SPARSE_TOLERANCE_NS)

    def _expects_depth(self, image: SyncedMessages, until: int) -> bool:
        """Return whether depth of the image's stamp may still follow, however late."""
        return (self._topics.depth is not None and len(self._depths) < _MOST_DEPTHS
                and self._depths.find(image.stamp) is None
                and not (self._topics.moving and image.log_time < until - _PATIENCE_NS))


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
