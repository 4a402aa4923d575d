"""Recordings made message by message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import (
    camera_info_message,
    COMPRESSED_IMAGE,
    header,
    image_message,
    transform_message,
    typestore,
)
from diffseg_ros.types import Intrinsics
import numpy as np

RGB, DEPTH, INFO = '/rgb/image_raw', '/depth_registered/image_rect', '/rgb/camera_info'
MS = 1_000_000
START = 1_700_000_000_000_000_000
INTRINSICS = Intrinsics(8, 6, 9.0, 9.5, 3.5, 2.5)


def rgb_pixels(value: int) -> np.ndarray:
    return np.full((6, 8, 3), (value, 255 - value, 7), np.uint8)


def depth_pixels(value: float) -> np.ndarray:
    return np.full((6, 8), value, np.float32)


def pose_at(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def message(topic: str, ms: float, build: Callable[[int], Any]) -> SimpleNamespace:
    """Return the message that `build` makes of a stamp, `ms` after the start."""
    stamp = START + int(ms * MS)
    return SimpleNamespace(topic=topic, stamp=stamp, message=build(stamp))


def image(value: int, ms: float, frame_id: str = 'camera') -> SimpleNamespace:
    return message(RGB, ms, lambda stamp: image_message(rgb_pixels(value), stamp, frame_id))


def depth(value: float, ms: float, frame_id: str = 'camera') -> SimpleNamespace:
    return message(DEPTH, ms, lambda stamp: image_message(depth_pixels(value), stamp, frame_id))


def info(fx: float, ms: float) -> SimpleNamespace:
    """Return one camera_info that is known by its focal length; 0 is uncalibrated."""
    item = message(INFO, ms, lambda stamp: camera_info_message(INTRINSICS, stamp, 'camera'))
    item.message.k[0] = item.message.p[0] = fx
    return item


def transform(x: float, ms: float, parent: str = 'map', child: str = 'camera',
              topic: str = '/tf') -> SimpleNamespace:
    return message(topic, ms,
                   lambda stamp: transform_message(pose_at(x), stamp, parent, child))


def text(ms: float = 0) -> SimpleNamespace:
    return message('/chatter', ms,
                   lambda stamp: typestore().types['std_msgs/msg/String']('hello'))


def compressed(data: bytes, format_: str, ms: float, topic: str) -> SimpleNamespace:
    return message(topic, ms, lambda stamp: typestore().types[COMPRESSED_IMAGE](
        header(stamp, 'camera'), format_, np.frombuffer(data, np.uint8)))


def later(item: SimpleNamespace, ms: float) -> SimpleNamespace:
    """Return the message, recorded that long after its stamp."""
    return SimpleNamespace(topic=item.topic, message=item.message, stamp=item.stamp + int(ms * MS))


def on(topic: str, item: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(topic=topic, message=item.message, stamp=item.stamp)


def record(path: Path, *items: SimpleNamespace) -> Path:
    with BagWriter(path) as writer:
        for item in items:
            writer.write(item.topic, item.message, item.stamp)
    return path
