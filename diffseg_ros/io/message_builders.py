"""Builds messages for recordings, as rosbags types, without a ROS installation."""

from __future__ import annotations

from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import Matrix, quaternion_from_pose
from diffseg_ros.io.message_types import CAMERA_INFO, IMAGE, TRANSFORMS, typestore
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

_NS = 1_000_000_000
_ENCODINGS = {('uint8', 3): 'rgb8', ('uint8', 1): 'mono8', ('uint16', 1): '16UC1',
              ('int32', 1): '32SC1', ('float32', 1): '32FC1'}


def header(stamp: int, frame_id: str) -> Any:
    """
    Return a std_msgs/Header; `stamp` is in nanoseconds.

    Raises
    ------
    DiffsegError
        The stamp is negative or does not fit into a ROS time.

    """
    if not 0 <= stamp < 2**31 * _NS:
        raise DiffsegError(f'stamp {stamp} ns: a ROS time lies between 0 and 2**31 seconds')
    time = _type('builtin_interfaces/msg/Time')(*divmod(stamp, _NS))
    return _type('std_msgs/msg/Header')(time, frame_id)


def image_message(pixels: npt.NDArray, stamp: int, frame_id: str,
                  encoding: str | None = None) -> Any:
    """
    Return a sensor_msgs/Image of an (H, W) or (H, W, 3) array.

    The encoding follows from the array: rgb8, mono8, 16UC1, 32SC1 or 32FC1.

    Raises
    ------
    DiffsegError
        The array is of another kind.

    """
    kind = (pixels.dtype.name, pixels.shape[2] if pixels.ndim == 3 else 1)
    if encoding is None and kind not in _ENCODINGS:
        raise DiffsegError(f'image of {kind[1]} x {kind[0]}: supported are '
                           f'{", ".join(_ENCODINGS.values())}')
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('<'))
    height, width = pixels.shape[:2]
    return _type(IMAGE)(header(stamp, frame_id), height, width, encoding or _ENCODINGS[kind], 0,
                        little.nbytes // height, little.reshape(-1).view(np.uint8))


def camera_info_message(intrinsics: Intrinsics, stamp: int, frame_id: str) -> Any:
    """Return a sensor_msgs/CameraInfo of a monocular camera."""
    camera = intrinsics
    matrix = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1], np.float64)
    projection = np.hstack([matrix.reshape(3, 3), np.zeros((3, 1))])
    region = _type('sensor_msgs/msg/RegionOfInterest')(0, 0, 0, 0, False)
    return _type(CAMERA_INFO)(
        header(stamp, frame_id), camera.height, camera.width, camera.distortion_model,
        np.array(camera.distortion, np.float64), matrix, np.eye(3).reshape(-1),
        projection.reshape(-1), 0, 0, region)


def transform_message(pose: Matrix, stamp: int, parent: str, child: str) -> Any:
    """Return a tf2_msgs/TFMessage with the (4, 4) pose of `child` in `parent`."""
    vector = _type('geometry_msgs/msg/Vector3')(*pose[:3, 3].tolist())
    rotation = _type('geometry_msgs/msg/Quaternion')(*quaternion_from_pose(pose))
    place = _type('geometry_msgs/msg/Transform')(vector, rotation)
    stamped = _type('geometry_msgs/msg/TransformStamped')(header(stamp, parent), child, place)
    return _type(TRANSFORMS)([stamped])


def _type(name: str) -> Any:
    return typestore().types[name]
