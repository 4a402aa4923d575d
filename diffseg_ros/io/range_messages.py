"""Points of range sensors, from messages of rclpy and of rosbags alike."""

from __future__ import annotations

from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Matrix, Points
import numpy as np
import numpy.typing as npt

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
LASER_SCAN = 'sensor_msgs/msg/LaserScan'
RANGE_TYPES = (POINT_CLOUD, LASER_SCAN)
SPARSE_TOLERANCE_NS = 200_000_000
"""How far the stamps of ranges and of an image may lie apart: two turns of a lidar at 10 Hz. Its
stamp is that of the first ray, and its message comes a turn later, when the next one has begun."""
SPARSE_LONGEST_NS = 500_000_000
"""The same where it is known how the robot moved between the two: two turns of the slowest lidars,
at 5 Hz, and time for their messages to come."""

_FLOATS = {7: 'f4', 8: 'f8'}
"""NumPy type by the number of a PointField's datatype."""


def decode_ranges(message: Any) -> Points:
    """
    Return the (N, 3) float32 points, in metres in the message's frame, of a cloud or a scan.

    Invalid points are left out. Raises DiffsegError when a cloud has no x, y and z, a message is
    cut off, or no range of a scan can be valid.
    """
    points = _scan_points(message) if hasattr(message, 'ranges') else _cloud_points(message)
    # all(axis=1) and a copy of all points take three quarters of the time of a large lidar.
    x, y, z = np.isfinite(points).T
    finite = x & y & z
    return points if finite.all() else points[finite]


def moved_points(points: Points, transform: Matrix) -> Points:
    """Return (N, 3) points in another frame, by a (4, 4) transform."""
    # A product of matrices takes 50 times as long for the points of a large lidar.
    x, y, z = points.T
    return np.stack([a * x + b * y + c * z + shift
                     for a, b, c, shift in transform[:3].astype(np.float32)], axis=1)


def _scan_points(scan: Any) -> Points:
    if not scan.range_min < scan.range_max:
        raise DiffsegError(f'laser scan: its range_min is {scan.range_min:g} and its range_max '
                           f'{scan.range_max:g}, so that no range is valid; set both in the '
                           'driver of the sensor')
    ranges = np.asarray(scan.ranges, np.float32)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
    with np.errstate(invalid='ignore'):
        valid = (ranges >= scan.range_min) & (ranges <= scan.range_max) & (ranges < np.inf)
    ranges = np.where(valid, ranges, np.nan)
    return np.stack([ranges * np.cos(angles), ranges * np.sin(angles), 0 * ranges],
                    axis=1).astype(np.float32)


def _cloud_points(cloud: Any) -> Points:
    fields = {field.name: field for field in cloud.fields}
    found = [fields[name] for name in 'xyz' if name in fields]
    if len(found) < 3 or any(field.datatype not in _FLOATS for field in found):
        raise DiffsegError(f'point cloud: its fields are {", ".join(fields) or "none"}; x, y and '
                           'z as float32 or float64 are needed')
    data = np.frombuffer(cloud.data, np.uint8)
    width, height = int(cloud.width), int(cloud.height)
    step, row = int(cloud.point_step), int(cloud.row_step) or int(cloud.point_step) * width
    order = '>' if cloud.is_bigendian else '<'
    ends = [field.offset + np.dtype(_FLOATS[field.datatype]).itemsize for field in found]
    needed = row * (height - 1) + step * width if width and height else 0
    if data.size < needed or max(ends) > step or row < step * width:
        raise DiffsegError(f'point cloud {width}x{height} of {step} bytes a point: {data.size} '
                           f'bytes of data, {needed} are needed; the message is truncated')
    if not needed:
        return np.zeros((0, 3), np.float32)
    planes: list[npt.NDArray[np.floating]] = [
        np.ndarray((height, width), np.dtype(order + _FLOATS[field.datatype]), data, field.offset,
                   (row, step)) for field in found]
    return np.stack(planes, axis=-1, dtype=np.float32).reshape(-1, 3)
