"""Joins the messages of a bag to moments: an image with its depth, camera_info and pose."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag_topics import ChosenTopics
from diffseg_ros.io.message_types import deserialise, header_stamp, nanoseconds, TRANSFORMS

DEPTH_TOLERANCE_NS = 20_000_000
"""Depth of another stamp belongs to an image up to this difference."""

_HORIZON_NS = 1_000_000_000
_MOST_IMAGES = 32
_MOST_DEPTHS = 64
_MOST_INFOS = 256
_JUMP_NS = 500_000_000


@dataclass(order=True)
class Moment:
    """An image as it lies in the bag, and what belongs to it."""

    stamp: int
    log_time: int
    rgb: bytes = field(compare=False)
    depth: bytes | None = field(default=None, compare=False)
    camera_info: bytes | None = field(default=None, compare=False)


class Pairing:
    """
    Turns messages in the order of log times into moments in the order of stamps.

    An image is held until messages one second younger were read or 32 images wait, so that
    what was recorded after it can belong to it; memory stays bounded by that. Depth belongs
    to the image of equal stamp, else to the nearest within 20 ms; camera_info is the last at
    or before the image, else the first of the bag. A stamp that steps back by more than 0.5 s
    (a looped recording) ends everything before it.
    """

    def __init__(self, topics: ChosenTopics, first_info: bytes | None,
                 tree: TransformTree) -> None:
        """Start a pass over a bag; `tree` holds the static transforms and gets the others."""
        self._topics = topics
        self._first_info = first_info
        self._tree = tree
        self._images: list[Moment] = []
        self._depths: dict[int, bytes] = {}
        self._infos: dict[int, bytes] = {}
        self._newest: dict[str, int] = {}

    def moments(self, messages: Iterable[tuple[str, int, bytes]]) -> Iterator[Moment]:
        """Yield the moments; the tree then knows the transforms around each of them."""
        for topic, log_time, data in messages:
            if self._steps_back(topic, data):
                yield from self._drain(0)
                self._restart()
            self._take(topic, log_time, data)
            yield from self._drain(_MOST_IMAGES, log_time - _HORIZON_NS)
        yield from self._drain(0)

    def _steps_back(self, topic: str, data: bytes) -> bool:
        if topic in self._topics.moving:
            return any((last := self._tree.last_stamp(item.child_frame_id)) is not None
                       and nanoseconds(item.header.stamp) < last - _JUMP_NS
                       for item in _transforms(data))
        if topic == self._topics.camera_info:
            return False
        stamp, newest = header_stamp(data), self._newest.get(topic)
        return stamp is not None and newest is not None and stamp < newest - _JUMP_NS

    def _restart(self) -> None:
        self._depths.clear()
        self._infos.clear()
        self._newest.clear()
        self._tree.forget_moving()

    def _take(self, topic: str, log_time: int, data: bytes) -> None:
        if topic in self._topics.moving:
            add_transforms(self._tree, data, moving=True)
            return
        stamp = header_stamp(data)
        if stamp is None:
            stamp = log_time
        else:
            self._newest[topic] = max(stamp, self._newest.get(topic, stamp))
        if topic == self._topics.rgb:
            insort(self._images, Moment(stamp, log_time, data))
        elif topic == self._topics.depth:
            self._depths[stamp] = data
            if len(self._depths) > _MOST_DEPTHS:
                del self._depths[min(self._depths)]
        elif topic == self._topics.camera_info:
            self._infos[stamp] = data
            if len(self._infos) > _MOST_INFOS:
                del self._infos[min(self._infos)]

    def _drain(self, most: int, until: int | None = None) -> Iterator[Moment]:
        """Yield the oldest images while too many wait or the oldest waited long enough."""
        while self._images and (len(self._images) > most or (
                until is not None and self._images[0].log_time < until)):
            moment = self._images.pop(0)
            moment.depth = self._depth_of(moment.stamp)
            moment.camera_info = self._info_of(moment.stamp)
            yield moment
            for stamp in [item for item in self._depths
                          if item < moment.stamp - DEPTH_TOLERANCE_NS]:
                del self._depths[stamp]

    def _depth_of(self, stamp: int) -> bytes | None:
        if stamp in self._depths:
            return self._depths[stamp]
        nearest = min(self._depths, key=lambda item: (abs(item - stamp), item), default=None)
        if nearest is None or abs(nearest - stamp) > DEPTH_TOLERANCE_NS:
            return None
        return self._depths[nearest]

    def _info_of(self, stamp: int) -> bytes | None:
        last = max((item for item in self._infos if item <= stamp), default=None)
        return self._first_info if last is None else self._infos[last]


def _transforms(data: bytes) -> list:
    try:
        return deserialise(data, TRANSFORMS).transforms
    except DiffsegError:
        return []


def add_transforms(tree: TransformTree, data: bytes, *, moving: bool) -> None:
    """Add a serialised tf2_msgs/TFMessage to the tree; a damaged one adds nothing."""
    for item in _transforms(data):
        place = item.transform
        tree.add(item.header.frame_id, item.child_frame_id,
                 nanoseconds(item.header.stamp) if moving else None,
                 (place.translation.x, place.translation.y, place.translation.z),
                 (place.rotation.x, place.rotation.y, place.rotation.z, place.rotation.w))
