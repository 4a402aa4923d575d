"""What a camera_info says of an image, and whether depth and image are one view."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
import re
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import is_pinhole, same_view
from diffseg_ros.geometry.transforms import frame_name
from diffseg_ros.io.base import without_transport
from diffseg_ros.io.messages import decode_depth
from diffseg_ros.types import DepthImage, Intrinsics
import numpy as np

_RECTIFIED = re.compile(r'(^|_)rect(ified)?(_|$)')
_K_OF_P = (0, 1, 2, 4, 5, 6, 8, 9, 10)

Size = tuple[int, int]
"""Width and height in pixels."""


def is_rectified(topic: str) -> bool:
    """Return whether the name of an image topic says so: image_rect_color, rect/image."""
    parts = ['', *without_transport(topic).split('/')]
    return bool(_RECTIFIED.search(parts[-1])) or parts[-2] in ('rect', 'rectified')


def image_calibration(message: Any, image_topic: str) -> tuple[list[float], tuple[float, ...]]:
    """
    Return the 9 values of K and the distortion D that hold for the images of a topic.

    P without D for rectified images, and where K is no calibration (zeros, identity). Raises
    DiffsegError when neither is one.
    """
    k, p = ([float(value) for value in matrix] for matrix in (message.k, message.p))
    k_of_p = [p[index] for index in _K_OF_P]
    rectified = is_rectified(image_topic)
    if _is_calibration(k_of_p) and (rectified or not _is_calibration(k)):
        return k_of_p, ()
    if not _is_calibration(k) and all(map(isfinite, k)):
        raise DiffsegError(f'camera intrinsics: K is {k[0]:g}, {k[4]:g} on its diagonal '
                           '(uncalibrated camera); calibrate it or publish a CameraInfo with '
                           'focal lengths')
    return k, () if rectified else tuple(float(value) for value in message.d)


def _is_calibration(matrix: list[float]) -> bool:
    fx, fy, centre = matrix[0], matrix[4], (matrix[2], matrix[5])
    return (all(map(isfinite, matrix)) and fx > 0 and fy > 0
            and (fx, fy, *centre) != (1, 1, 0, 0))


def rectified_camera_info(message: Any) -> Any:
    """Return the sensor_msgs/CameraInfo of rectified images for readers that look at K and D."""
    k, _ = image_calibration(message, 'image_rect')
    return replace(message, k=np.array(k), d=np.zeros(0))


def intrinsics_from_camera_info(message: Any, image_topic: str = '',
                                size: Size | None = None) -> Intrinsics:
    """
    Return the intrinsics of the images of a topic that a sensor_msgs/CameraInfo comes with.

    A region of interest and binning are applied, unless the images have the `size` of the whole
    sensor. Raises DiffsegError when there is no calibration, the lens is not supported, or
    no scaling leads to the `size` of the images.
    """
    roi = message.roi
    k, distortion = image_calibration(message, image_topic)
    sensor = Intrinsics(int(message.width), int(message.height), k[0], k[4], k[2], k[5],
                        distortion, str(message.distortion_model))
    part = replace(sensor, width=int(roi.width) or sensor.width,
                   height=int(roi.height) or sensor.height,
                   cx=sensor.cx - int(roi.x_offset), cy=sensor.cy - int(roi.y_offset))
    binning_x, binning_y = max(1, int(message.binning_x)), max(1, int(message.binning_y))
    if part.width < binning_x or part.height < binning_y:
        raise DiffsegError(f'camera intrinsics: size {part.width}x{part.height} with binning '
                           f'{binning_x}x{binning_y}; the binning must be smaller')
    binned = part.resized(part.width // binning_x, part.height // binning_y)
    # Raises for a lens that is not supported, before anything is computed.
    is_pinhole(sensor)
    if size is None:
        return binned
    views = [view for view in (binned, sensor) if same_view((view.width, view.height), size)]
    if not views:
        raise DiffsegError(f'camera_info of {binned.width}x{binned.height} with images of '
                           f'{size[0]}x{size[1]}: no scaling, binning or ROI leads from one to '
                           'the other; publish the camera_info of these images')
    return min(views, key=lambda view: (view.width, view.height) != size)


def registered_depth(message: Any, size: Size, frame_id: str, unit: float) -> DepthImage:
    """
    Return the (H, W) float32 metres of depth that shows what an image shows.

    `size` and `frame_id` are the image's, `unit` is that of 16UC1 in metres. Raises DiffsegError
    when the depth cannot be decoded, or belongs to another view.
    """
    if frame_name(message.header.frame_id) != frame_name(frame_id):
        raise UnregisteredDepthError(
            f'unregistered depth: its frame_id is {message.header.frame_id!r}, that of the '
            f'images {frame_id!r}; register it to the colour camera (RealSense: '
            'align_depth.enable:=true)')
    depth = decode_depth(message, unit)
    height, width = depth.shape
    if not same_view((width, height), size):
        raise UnregisteredDepthError(
            f'unregistered depth: {width}x{height} with images of {size[0]}x{size[1]}, no scaling '
            'leads from one to the other; register it to the colour camera (RealSense: '
            'align_depth.enable:=true)')
    return depth


class UnregisteredDepthError(DiffsegError):
    """Depth is of another view than the image."""
