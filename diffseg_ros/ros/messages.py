"""ROS messages from arrays and boxes, filled without needless copies."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
from typing import Any, TYPE_CHECKING

from builtin_interfaces.msg import Time
from diffseg_ros.io.messages import nanoseconds
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import Image
from std_msgs.msg import Header

if TYPE_CHECKING:
    from diffseg_ros.geometry.boxes import SegmentBox
    from diffseg_ros.types import Frame


def message_class(message: Any) -> Any:
    """Return a message class, given it or its name; None where its package is missing."""
    if not isinstance(message, str):
        return message
    package, _, name = message.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError):
        return None


def type_name(message: type) -> str:
    """Return the name of a message class, such as sensor_msgs/msg/Image."""
    return f"{message.__module__.partition('.')[0]}/msg/{message.__name__}"


def stamp_of(message: Any) -> int:
    """Return the stamp of a message's header in nanoseconds."""
    return nanoseconds(message.header.stamp)


def header_of(frame: Frame) -> Header:
    """Return a header with the stamp and the frame_id of an image."""
    return make_header(frame.stamp, frame.frame_id)


def make_header(stamp: int, frame_id: str = '') -> Header:
    """Return a header with a stamp in nanoseconds."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def image_message(pixels: npt.NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an Image of (H, W) or (H, W, C) pixels in the byte order of `pixels`."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1],
                    encoding=encoding, step=pixels.strides[0],
                    is_bigendian=int(pixels.dtype.str.startswith('>')))
    # In place: the setter would copy the data, or even convert it item by item.
    message.data.frombytes(pixels.reshape(-1).view(np.uint8).data)
    return message


def point(values: Sequence[float]) -> Point:
    """Return three lengths as a Point."""
    return Point(x=values[0], y=values[1], z=values[2])


def vector(values: Sequence[float]) -> Vector3:
    """Return three lengths as a Vector3."""
    return Vector3(x=values[0], y=values[1], z=values[2])


def box_pose(box: SegmentBox) -> Pose:
    """Return the pose of the middle of a box."""
    x, y, z, w = box.quaternion
    return Pose(position=point(box.centre.tolist()), orientation=Quaternion(x=x, y=y, z=z, w=w))
