"""
Arrays out of sensor_msgs/Image, CompressedImage and CameraInfo.

Messages are taken by their fields, so those of rclpy and of rosbags both do.
"""

from __future__ import annotations

from functools import lru_cache
import struct
from types import SimpleNamespace
from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.depth import metres_from_units, valid_metres
from diffseg_ros.io.encodings import check_colour, check_depth, COLOUR_LAYOUT, DEPTH_LAYOUT
from diffseg_ros.io.image_files import decode_floats, decode_rgb, decode_units
from diffseg_ros.types import Intrinsics
import numpy as np
import numpy.typing as npt

_SAME_AS = {'8UC1': 'mono8', '8UC3': 'bgr8', '8UC4': 'bgra8', 'uyvy': 'yuv422',
            'yuyv': 'yuv422_yuy2'}

# cv_bridge lacks these, or knows them in some releases only.
_OPENCV_CODES = {
    'bayer_rggb8': cv2.COLOR_BayerBG2RGB, 'bayer_bggr8': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg8': cv2.COLOR_BayerGR2RGB, 'bayer_grbg8': cv2.COLOR_BayerGB2RGB,
    'yuv422': cv2.COLOR_YUV2RGB_UYVY, 'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2}

_MILLIMETRES = 1000.0


def decode_colour(message: Any) -> npt.NDArray[np.uint8]:
    """
    Return the (H, W, 3) uint8 RGB pixels of a sensor_msgs/Image.

    Tightly packed rgb8 is returned without a copy: a view of the message's data, read-only
    where that is. 16-bit colours are scaled to 8 bits; 8UC3 and 8UC4 are taken as BGR.

    Raises
    ------
    DiffsegError
        The encoding is not supported, or the sizes contradict the data.

    """
    check_colour(message)
    encoding = message.encoding
    pixels = _pixels(message, *COLOUR_LAYOUT[encoding])
    if pixels.dtype.itemsize == 2:
        native = np.ascontiguousarray(pixels, np.uint16)
        pixels = cv2.convertScaleAbs(native, alpha=1 / 257)
        encoding = encoding.removesuffix('16') + '8'
    pixels = np.ascontiguousarray(pixels)
    encoding = _SAME_AS.get(encoding, encoding)
    if encoding == 'rgb8':
        return pixels
    if encoding not in _OPENCV_CODES:
        return _bridge_to_rgb(pixels, encoding)
    try:
        return cv2.cvtColor(pixels, _OPENCV_CODES[encoding])
    except cv2.error as error:
        raise DiffsegError(f'image {message.encoding} {message.width}x{message.height}: this '
                           'size cannot be converted to rgb8; an even size is needed') from error


def decode_depth(message: Any) -> npt.NDArray[np.float32]:
    """
    Return the (H, W) float32 metres of a depth sensor_msgs/Image, NaN where invalid.

    16UC1 and mono16 are millimetres, 32FC1 metres. 0, negative, NaN and infinity are invalid.
    Tightly packed 32FC1 whose only invalid values are NaN is returned without a copy.

    Raises
    ------
    DiffsegError
        The encoding is not supported, or the sizes contradict the data.

    """
    check_depth(message)
    dtype, channels = DEPTH_LAYOUT[message.encoding]
    pixels = _pixels(message, dtype, channels)
    if dtype == 'u2':
        return metres_from_units(pixels, _MILLIMETRES)
    return valid_metres(np.ascontiguousarray(pixels, np.float32))


def decode_compressed_colour(message: Any) -> npt.NDArray[np.uint8]:
    """
    Return the (H, W, 3) uint8 RGB pixels of a sensor_msgs/CompressedImage.

    Raises
    ------
    DiffsegError
        It is depth, or the data is truncated or in no format that can be read.

    """
    check_colour(message)
    return decode_rgb(memoryview(message.data), f'compressed image ({message.format})')


def decode_compressed_depth(message: Any) -> npt.NDArray[np.float32]:
    """
    Return the (H, W) float32 metres of a compressed depth image, NaN where invalid.

    Takes compressedDepth with PNG (16UC1, or 32FC1 as quantised inverse depth) and plain
    compressed images (16-bit PNG in millimetres, float32 TIFF in metres).

    Raises
    ------
    DiffsegError
        It is no depth, or the data is truncated or in no format that can be read.

    """
    check_depth(message)
    name = f'compressed depth image ({message.format})'
    data = memoryview(message.data)
    floating = message.format.startswith('32FC1')
    if 'compressedDepth' not in message.format:
        if floating:
            return valid_metres(decode_floats(data, name))
        return metres_from_units(decode_units(data, name), _MILLIMETRES)
    if 'rvl' in message.format.lower():
        raise DiffsegError(f'{name}: RVL is not supported; set the publisher to '
                           'compressedDepth png')
    if len(data) < 12:
        raise DiffsegError(f'{name}: {len(data)} bytes, shorter than its 12-byte header; the '
                           'message is truncated')
    units = decode_units(data[12:], name)
    if not floating:
        return metres_from_units(units, _MILLIMETRES)
    _, scale, offset = struct.unpack('<iff', data[:12])
    with np.errstate(divide='ignore'):
        metres = np.float32(scale) / (units.astype(np.float32) - np.float32(offset))
    metres[units == 0] = np.nan
    return valid_metres(metres)


def intrinsics_from_camera_info(message: Any) -> Intrinsics:
    """
    Return the intrinsics of the image that a sensor_msgs/CameraInfo comes with.

    A region of interest and binning are applied to K, which holds for the full sensor.

    Raises
    ------
    DiffsegError
        K is zero or not finite, or the size is not positive.

    """
    roi = message.roi
    width, height = int(roi.width) or int(message.width), int(roi.height) or int(message.height)
    matrix = [float(value) for value in message.k]
    intrinsics = Intrinsics(
        width, height, matrix[0], matrix[4],
        matrix[2] - int(roi.x_offset), matrix[5] - int(roi.y_offset),
        tuple(float(value) for value in message.d), str(message.distortion_model))
    binning_x, binning_y = max(1, int(message.binning_x)), max(1, int(message.binning_y))
    if width < binning_x or height < binning_y:
        raise DiffsegError(f'camera intrinsics: size {width}x{height} with binning '
                           f'{binning_x}x{binning_y}; the binning must be smaller')
    return intrinsics.resized(width // binning_x, height // binning_y)


def _pixels(message: Any, dtype: str, channels: int) -> npt.NDArray:
    """Return a (H, W) or (H, W, C) view of the data, in the message's byte order."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    kind = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = width * channels * kind.itemsize
    data = np.frombuffer(message.data, np.uint8)
    what = f'image {message.encoding} {width}x{height} with step {step}'
    if width < 1 or height < 1:
        raise DiffsegError(f'{what}: width and height must be above 0')
    if step < row:
        raise DiffsegError(f'{what}: a row takes {row} bytes; the step must not be below that')
    # The padding of the last row may be missing.
    needed = step * (height - 1) + row
    if data.size < needed:
        raise DiffsegError(f'{what}: {data.size} bytes of data, {needed} are needed; the '
                           'message is truncated')
    pixels: npt.NDArray = np.ndarray((height, width, channels), kind, data,
                                     strides=(step, channels * kind.itemsize, kind.itemsize))
    return pixels if channels > 1 else pixels[..., 0]


@lru_cache(maxsize=1)
def _bridge() -> Any:
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise DiffsegError(f'cv_bridge cannot be imported ({error}); install it, or publish the '
                           'images as rgb8') from error
    return CvBridge()


def _bridge_to_rgb(pixels: npt.NDArray[np.uint8], encoding: str) -> npt.NDArray[np.uint8]:
    """Convert with cv_bridge, which sees only what all its releases do right: tight bytes."""
    tight = SimpleNamespace(
        encoding=encoding, height=pixels.shape[0], width=pixels.shape[1],
        step=pixels.strides[0], is_bigendian=0, data=pixels.reshape(-1))
    return _bridge().imgmsg_to_cv2(tight, 'rgb8')
