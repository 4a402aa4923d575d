"""Recordings made message by message."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import (
    camera_info_message,
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
    """Return a picture that tells its number."""
    return np.full((6, 8, 3), (value, 255 - value, 7), np.uint8)


def depth_pixels(value: float) -> np.ndarray:
    """Return constant metres."""
    return np.full((6, 8), value, np.float32)


def pose_at(x: float) -> np.ndarray:
    """Return a pose on the x axis."""
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def image(value: int, ms: float, frame_id: str = 'camera') -> SimpleNamespace:
    """Return one image message with its stamp, `ms` after the start."""
    stamp = START + int(ms * MS)
    return SimpleNamespace(topic=RGB, stamp=stamp,
                           message=image_message(rgb_pixels(value), stamp, frame_id))


def depth(value: float, ms: float, frame_id: str = 'camera') -> SimpleNamespace:
    """Return one depth message."""
    stamp = START + int(ms * MS)
    return SimpleNamespace(topic=DEPTH, stamp=stamp,
                           message=image_message(depth_pixels(value), stamp, frame_id))


def info(fx: float, ms: float) -> SimpleNamespace:
    """Return one camera_info that is known by its focal length; 0 is uncalibrated."""
    stamp = START + int(ms * MS)
    message = camera_info_message(INTRINSICS, stamp, 'camera')
    message.k[0] = fx
    return SimpleNamespace(topic=INFO, stamp=stamp, message=message)


def transform(x: float, ms: float, parent: str = 'map', child: str = 'camera',
              topic: str = '/tf') -> SimpleNamespace:
    """Return one transform along x."""
    stamp = START + int(ms * MS)
    return SimpleNamespace(topic=topic, stamp=stamp,
                           message=transform_message(pose_at(x), stamp, parent, child))


def text(ms: float = 0) -> SimpleNamespace:
    """Return a message of no interest."""
    message = typestore().types['std_msgs/msg/String']('hello')
    return SimpleNamespace(topic='/chatter', stamp=START + int(ms * MS), message=message)


def compressed(data: bytes, format_: str, ms: float, topic: str) -> SimpleNamespace:
    """Return a compressed image."""
    stamp = START + int(ms * MS)
    message = typestore().types['sensor_msgs/msg/CompressedImage'](
        header(stamp, 'camera'), format_, np.frombuffer(data, np.uint8))
    return SimpleNamespace(topic=topic, stamp=stamp, message=message)


def later(item: SimpleNamespace, ms: float) -> SimpleNamespace:
    """Return the message, recorded that long after its stamp."""
    return SimpleNamespace(topic=item.topic, message=item.message, stamp=item.stamp + int(ms * MS))


def on(topic: str, item: SimpleNamespace) -> SimpleNamespace:
    """Return the message on another topic."""
    return SimpleNamespace(topic=topic, message=item.message, stamp=item.stamp)


def record(path: Path, *items: SimpleNamespace) -> Path:
    """Write the messages, at their stamps as times of recording."""
    with BagWriter(path) as writer:
        for item in items:
            writer.write(item.topic, item.message, item.stamp)
    return path
