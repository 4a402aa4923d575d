"""Recordings as serialised messages on the topics that the node subscribes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_reader import BagReader, choose_topics
from diffseg_ros.io.base import TopicNames
from diffseg_ros.io.calibration import is_rectified, rectified_camera_info
from diffseg_ros.io.messages import (
    CAMERA_INFO,
    camera_info_message,
    COMPRESSED_IMAGE,
    deserialise,
    IMAGE,
    image_message,
    odometry_message,
    pixel_message,
    transform_message,
    TRANSFORMS,
    typestore,
)
from diffseg_ros.io.source import is_bag, open_source
from diffseg_ros.types import Frame

_TF, _TF_STATIC = '/tf', '/tf_static'
_FIXED_FRAME = 'map'
_NODE_TOPICS = TopicNames()
_ODOMETRY = 'nav_msgs/msg/Odometry'

FRAME_TOPICS = {_TF: TRANSFORMS, _NODE_TOPICS.camera_info: CAMERA_INFO, _NODE_TOPICS.depth: IMAGE,
                _NODE_TOPICS.rgb: IMAGE}
"""Topics, with their types, of a frame with depth, intrinsics and pose."""

ODOMETRY_TOPIC = {'odom': _ODOMETRY}
"""The same for the pose as odometry."""

CLICK_TOPIC = {'/diffseg/clicked_pixel': 'geometry_msgs/msg/PointStamped'}
"""The same for a click on the image."""


@dataclass(frozen=True)
class TimedMessage:
    """A message to publish: its time (ns, on the recording's clock), topic and CDR bytes."""

    time: int
    topic: str
    data: bytes


@dataclass(frozen=True)
class MessageStream:
    """Messages in the order of their times, and their type by topic; `read` begins anew."""

    topics: dict[str, str]
    read: Callable[[], Iterator[TimedMessage]]
    warnings: list[str]

    def __iter__(self) -> Iterator[TimedMessage]:
        return self.read()


def open_stream(path: Path, names: TopicNames) -> MessageStream:
    """Open a recording of any kind that `open_source` reads, or raise DiffsegError."""
    source = open_source(path, names)
    if is_bag(path):
        return _bag_stream(path, names)
    first = next(iter(source), None)
    if first is None:
        raise DiffsegError(f'{source.name}: none of its {source.frame_count} frames can be read')

    def read() -> Iterator[TimedMessage]:
        for frame in source:
            yield from serialised_messages(frame)

    return MessageStream({topic: FRAME_TOPICS[topic] for topic in frame_messages(first)}, read,
                         source.warnings)


def frame_messages(frame: Frame) -> dict[str, Any]:
    """Return a frame as messages of rosbags types by topic, in the order to publish them."""
    stamp, frame_id = frame.stamp, frame.frame_id
    messages = {}
    if frame.pose is not None:
        messages[_TF] = transform_message(frame.pose, stamp, _FIXED_FRAME, frame_id)
    if frame.intrinsics is not None:
        messages[_NODE_TOPICS.camera_info] = camera_info_message(frame.intrinsics, stamp, frame_id)
    if frame.depth is not None:
        messages[_NODE_TOPICS.depth] = image_message(frame.depth, stamp, frame_id)
    messages[_NODE_TOPICS.rgb] = image_message(frame.rgb, stamp, frame_id)
    return messages


def serialised_messages(frame: Frame) -> list[TimedMessage]:
    """Return `frame_messages` as CDR bytes at the time of the frame's stamp."""
    return [_timed(frame.stamp, topic, message, FRAME_TOPICS[topic])
            for topic, message in frame_messages(frame).items()]


def serialised_odometry(frame: Frame) -> TimedMessage:
    """Return the frame's pose, which has to be known, as odometry; it needs no tf2_msgs."""
    assert frame.pose is not None
    (topic, kind), = ODOMETRY_TOPIC.items()
    message = odometry_message(frame.pose, frame.stamp, topic, frame.frame_id)
    return _timed(frame.stamp, topic, message, kind)


def serialised_click(frame: Frame, pixel: tuple[float, float]) -> TimedMessage:
    """Return a click on a pixel, x and y, of the frame's image."""
    (topic, kind), = CLICK_TOPIC.items()
    return _timed(frame.stamp, topic, pixel_message(pixel, frame.stamp, frame.frame_id), kind)


def _timed(stamp: int, topic: str, message: Any, kind: str) -> TimedMessage:
    return TimedMessage(stamp, topic, bytes(typestore().serialize_cdr(message, kind)))


def _bag_stream(path: Path, names: TopicNames) -> MessageStream:
    """Return the camera's topics, chosen as for replay, the transforms and the odometry."""
    with BagReader(path) as storage:
        chosen = choose_topics(storage, names)
        types = storage.topics
    types = {**types, chosen.rgb: chosen.image_type}
    targets = {chosen.rgb: _with_transport(_NODE_TOPICS.rgb, chosen.image_type, 'compressed')}
    if chosen.depth:
        targets[chosen.depth] = _with_transport(_NODE_TOPICS.depth, types[chosen.depth],
                                                'compressedDepth')
    if chosen.camera_info:
        targets[chosen.camera_info] = _NODE_TOPICS.camera_info
    odometry = sorted(name for name, kind in types.items() if kind == _ODOMETRY)[:1]
    targets |= (dict.fromkeys(chosen.moving, _TF) | dict.fromkeys(chosen.static, _TF_STATIC)
                | dict.fromkeys(odometry, 'odom'))

    def read() -> Iterator[TimedMessage]:
        with BagReader(path) as storage:
            for topic, time, data in chosen.images_of(storage.messages(list(targets))):
                if topic == chosen.camera_info and is_rectified(chosen.rgb):
                    data = _rectified(data)
                yield TimedMessage(time, targets[topic], data)

    topics = {target: types[name] for name, target in targets.items()}
    return MessageStream(topics, read, chosen.warnings)


def _rectified(data: bytes) -> bytes:
    """Return the camera_info of rectified images, whose topic's new name says no more so."""
    try:
        message = rectified_camera_info(deserialise(data, CAMERA_INFO))
    except DiffsegError:
        return data
    return bytes(typestore().serialize_cdr(message, CAMERA_INFO))


def _with_transport(topic: str, kind: str, transport: str) -> str:
    return f'{topic}/{transport}' if kind == COMPRESSED_IMAGE else topic
