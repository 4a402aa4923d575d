"""
ROS messages without a ROS installation: decoding, building and (de)serialisation.

Messages are taken by their fields, so those of rclpy and of rosbags both work.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
import os
from pathlib import Path
import re
import struct
import sys
from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import camera_matrix
from diffseg_ros.geometry.transforms import quaternion_from_pose
from diffseg_ros.io.images import (
    decode_floats,
    decode_rgb,
    decode_units,
    metres_from_units,
    to_8_bits,
    valid_metres,
)
from diffseg_ros.io.rvl import decode_rvl
from diffseg_ros.settings import nearest
from diffseg_ros.types import DepthImage, Intrinsics, Matrix, RgbImage
import numpy as np
import numpy.typing as npt
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
TRANSFORMS = 'tf2_msgs/msg/TFMessage'
# As they are in CDR, with the names of CompressedImage.
VIDEO_TYPES = {
    'foxglove_msgs/msg/CompressedVideo': 'std_msgs/Header header\nuint8[] data\nstring format',
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket':
        'std_msgs/Header header\nint32 width\nint32 height\nstring format\nuint64 pts\n'
        'uint8 flags\nbool is_bigendian\nuint8[] data'}

_NS = 1_000_000_000
_PACKED_HEADER = struct.Struct('<iff')

# NumPy type, number of channels, and OpenCV's conversion of the 8-bit image to RGB.
_COLOUR_LAYOUT: dict[str, tuple[str, int, int | None]] = {
    'rgb8': ('u1', 3, None), 'rgb16': ('u2', 3, None),
    'bgr8': ('u1', 3, cv2.COLOR_BGR2RGB), 'bgr16': ('u2', 3, cv2.COLOR_BGR2RGB),
    'rgba8': ('u1', 4, cv2.COLOR_RGBA2RGB), 'rgba16': ('u2', 4, cv2.COLOR_RGBA2RGB),
    'bgra8': ('u1', 4, cv2.COLOR_BGRA2RGB), 'bgra16': ('u2', 4, cv2.COLOR_BGRA2RGB),
    'mono8': ('u1', 1, cv2.COLOR_GRAY2RGB), 'mono16': ('u2', 1, cv2.COLOR_GRAY2RGB),
    '8UC1': ('u1', 1, cv2.COLOR_GRAY2RGB), '8UC3': ('u1', 3, cv2.COLOR_BGR2RGB),
    '8UC4': ('u1', 4, cv2.COLOR_BGRA2RGB),
    'yuv422': ('u1', 2, cv2.COLOR_YUV2RGB_UYVY), 'uyvy': ('u1', 2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': ('u1', 2, cv2.COLOR_YUV2RGB_YUY2), 'yuyv': ('u1', 2, cv2.COLOR_YUV2RGB_YUY2),
    'nv12': ('u1', 1, cv2.COLOR_YUV2RGB_NV12), 'nv21': ('u1', 1, cv2.COLOR_YUV2RGB_NV21),
    'nv24': ('u1', 1, None),
}
# Planes of these follow each other: rows of data for each two rows of the image.
_PLANAR = {'nv12': 3, 'nv21': 3, 'nv24': 6}
_STUDIO_YUV = np.array([[1.164, 0, 1.596, -222.9], [1.164, -0.392, -0.813, 135.6],
                        [1.164, 2.017, 0, -276.8]])
# OpenCV names a Bayer pattern by its second row.
for _pattern, _conversion in (('rggb', cv2.COLOR_BayerBG2RGB), ('bggr', cv2.COLOR_BayerRG2RGB),
                              ('gbrg', cv2.COLOR_BayerGR2RGB), ('grbg', cv2.COLOR_BayerGB2RGB)):
    _COLOUR_LAYOUT[f'bayer_{_pattern}8'] = ('u1', 1, _conversion)
    _COLOUR_LAYOUT[f'bayer_{_pattern}16'] = ('u2', 1, _conversion)
_DEPTH_LAYOUT = {'16UC1': 'u2', '16SC1': 'i2', 'mono16': 'u2', '32FC1': 'f4', '64FC1': 'f8'}
_FILE_FORMATS = ('jpeg', 'png', 'webp', 'bmp', 'tiff')
_ALIASES = {'rgb24': 'rgb8', 'bgr24': 'bgr8', 'rgb': 'rgb8', 'bgr': 'bgr8', 'rgba': 'rgba8',
            'bgra': 'bgra8', 'mono': 'mono8', 'gray8': 'mono8', 'grey8': 'mono8', 'y8': 'mono8',
            'gray16': 'mono16', 'grey16': 'mono16', 'y16': 'mono16', 'z16': '16UC1',
            '16uc': '16UC1', '32fc': '32FC1', 'yuy2': 'yuyv', 'yuyv422': 'yuyv',
            'uyvy422': 'uyvy', 'jpg': 'jpeg', 'mjpeg': 'jpeg', 'mjpg': 'jpeg', 'tif': 'tiff'}
_NAMES = _ALIASES | {name.lower(): name for name in (
    *_COLOUR_LAYOUT, *_DEPTH_LAYOUT, *_FILE_FORMATS)}
# Codecs by what the format says, also by the name of an encoder such as libx264 or hevc_nvenc.
_VIDEO = {'264': 'h264', 'avc': 'h264', '265': 'hevc', 'hevc': 'hevc', 'vp8': 'vp8', 'vp9': 'vp9'}
VIDEO_HINT = ('video is read in recordings only, and as colour; make images of it: ros2 run '
              'image_transport republish --ros-args -p in_transport:=ffmpeg '
              '-p out_transport:=compressed')
NO_PICTURE = 'no picture in the video: '
"""How the encoding of an Image begins that stands for a picture that cannot be decoded."""
_COLOUR_ONLY = _COLOUR_LAYOUT.keys() - _DEPTH_LAYOUT.keys() | set(_FILE_FORMATS)
_DEPTH_ONLY = _DEPTH_LAYOUT.keys() - _COLOUR_LAYOUT.keys()
_BUILT_ENCODINGS = {('uint8', 3): 'rgb8', ('uint8', 1): 'mono8', ('uint16', 1): '16UC1',
                    ('int32', 1): '32SC1', ('float32', 1): '32FC1'}


def check_colour(message: Any) -> None:
    """Raise DiffsegError if a message says that it holds neither a colour image nor video."""
    if not video_codec(message):
        _check(message, 'a colour image', {*_COLOUR_LAYOUT, *_FILE_FORMATS}, _DEPTH_ONLY,
               'this is depth: name the topic of the colour images (of a thermal camera: set its '
               'driver to mono16)')


def check_depth(message: Any) -> None:
    """Raise DiffsegError if an Image or CompressedImage says that it holds no depth."""
    _check(message, 'a depth image', _DEPTH_LAYOUT, _COLOUR_ONLY,
           'this is a colour image: name the topic of the depth')


def _check(message: Any, kind: str, supported: Collection[str], others: Collection[str],
           hint: str) -> None:
    """Refuse what is not supported; of a CompressedImage only what `others` names."""
    raw = hasattr(message, 'encoding')
    encoding = image_encoding(message)
    if encoding.startswith(NO_PICTURE):
        raise DiffsegError(encoding)
    if video_codec(message):
        raise DiffsegError(f'{encoding}: {VIDEO_HINT}')
    if encoding in supported or not (raw or encoding in others):
        return
    known = sorted(supported)
    names = ', '.join(known) if 'rgb8' not in supported else (
        f'rgb8, bgr8, mono8 and {len(known) - 3} more, the nearest '
        f'{", ".join(nearest(encoding, known))}')
    raise DiffsegError(f'image encoding {encoding!r} is not supported as {kind}; supported are '
                       f'{names}; '
                       + (hint if encoding in others else 'set the driver to one of them'))


def image_encoding(message: Any) -> str:
    """
    Return the encoding of an Image, or of what a CompressedImage held, by its usual name.

    A CompressedImage's format begins with the encoding before compression, or is 'jpeg'.
    """
    if hasattr(message, 'encoding'):
        name = str(message.encoding)
    else:
        name = str(getattr(message, 'format', '')).partition(';')[0].strip()
    return _NAMES.get(name.lower(), name)


def video_codec(message: Any) -> str | None:
    """Return the codec of a message that holds video, such as 'h264', None of an image."""
    encoding = image_encoding(message).lower()
    if encoding.startswith(NO_PICTURE):
        return None
    return next((codec for part, codec in _VIDEO.items() if part in encoding), None)


def thermal_as_grey(data: bytes, type_name: str) -> bytes:
    """Return a serialised (Compressed)Image, what says 16UC1 as mono16, which is a grey image."""
    try:
        message = deserialise(data, type_name)
    except DiffsegError:
        return data
    if image_encoding(message) != '16UC1':
        return data
    if hasattr(message, 'encoding'):
        message.encoding = 'mono16'
    else:
        message.format = 'png'
    return bytes(typestore().serialize_cdr(message, type_name))


def video_codecs() -> list[str]:
    """Return the codecs that `video_codec` knows."""
    return list(dict.fromkeys(_VIDEO.values()))


def supported_encodings() -> dict[str, tuple[str, list[str]]]:
    """Return what each encoding of an Image is read as, and its other names."""
    uses = dict.fromkeys((*_COLOUR_LAYOUT, *_FILE_FORMATS), 'colour')
    for name in _DEPTH_LAYOUT:
        uses[name] = f'{uses[name]}, depth' if name in uses else 'depth'
    return {name: (use, [alias for alias, target in _ALIASES.items() if target == name])
            for name, use in uses.items()}


def decode_colour(message: Any) -> RgbImage:
    """
    Return the (H, W, 3) uint8 RGB pixels of a sensor_msgs/Image or CompressedImage.

    Tightly packed rgb8 is returned without a copy, as a view of the message's data. 16-bit
    colours are scaled to 8 bits, stretched where they fill little of the range; 8UC3 and 8UC4
    are taken as BGR. Raises DiffsegError when the
    encoding is not supported, the sizes contradict the data, or it is damaged.
    """
    check_colour(message)
    encoding = image_encoding(message)
    if video_codec(message):
        raise DiffsegError(f'{encoding}: {VIDEO_HINT}')
    if not hasattr(message, 'encoding') or encoding in _FILE_FORMATS:
        kind = getattr(message, 'format', encoding)
        return decode_rgb(memoryview(message.data), f'compressed image ({kind})')
    dtype, channels, conversion = _COLOUR_LAYOUT[encoding]
    pixels = _pixels(message, dtype, channels, _PLANAR.get(encoding, 2))
    if dtype == 'u2':
        pixels = to_8_bits(np.ascontiguousarray(pixels, np.uint16))
    if encoding == 'nv24':
        return cv2.transform(_yuv444(pixels, message.height), _STUDIO_YUV)
    pixels = np.ascontiguousarray(pixels)
    try:
        return pixels if conversion is None else cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        raise DiffsegError(f'image {message.encoding} {message.width}x{message.height}: this '
                           'size cannot be converted to rgb8; an even size is needed') from error


def decode_depth(message: Any, unit: float = 0.001) -> DepthImage:
    """
    Return the (H, W) float32 metres of a depth Image or CompressedImage, NaN where invalid.

    16UC1, 16SC1 and mono16 count `unit` (metres), 32FC1 and 64FC1 are metres. 0, negative, NaN,
    65535 units and what is nearer than 0.1 mm or farther than 1000 m are invalid.
    Tightly packed 32FC1 whose only invalid values are NaN is returned without a copy.
    Compressed depth is compressedDepth with PNG or RVL (16UC1, or 32FC1 as quantised inverse
    depth), a plain 16-bit PNG in millimetres or a float32 TIFF in metres. Raises DiffsegError as
    `decode_colour` does.
    """
    check_depth(message)
    if not hasattr(message, 'encoding'):
        return _decode_compressed_depth(message, unit)
    dtype = _DEPTH_LAYOUT[image_encoding(message)]
    pixels = _pixels(message, dtype, 1)
    if dtype in ('u2', 'i2'):
        return metres_from_units(pixels, 1 / unit)
    with np.errstate(over='ignore', invalid='ignore'):
        return valid_metres(np.ascontiguousarray(pixels, np.float32))


def _decode_compressed_depth(message: Any, unit: float) -> DepthImage:
    name = f'compressed depth image ({message.format})'
    data = memoryview(message.data)
    floating = image_encoding(message) == '32FC1'
    packed = 'compresseddepth' in message.format.lower()
    if floating and not packed:
        return valid_metres(decode_floats(data, name))
    if packed and len(data) < _PACKED_HEADER.size:
        raise DiffsegError(f'{name}: {len(data)} bytes, shorter than its 12-byte header; the '
                           'message is truncated')
    decode = decode_rvl if 'rvl' in message.format.lower() else decode_units
    units = decode(data[_PACKED_HEADER.size if packed else 0:], name)
    if not floating:
        return metres_from_units(units, 1 / unit)
    _, scale, offset = _PACKED_HEADER.unpack_from(data)
    with np.errstate(divide='ignore'):
        metres = np.float32(scale) / (units.astype(np.float32) - np.float32(offset))
    metres[units == 0] = np.nan
    return valid_metres(metres)


def _pixels(message: Any, dtype: str, channels: int, halves: int = 2) -> npt.NDArray:
    """
    Return a (H, W) or (H, W, C) view of the data, in the message's byte order.

    There are `halves` rows of data for each two rows of the image.
    """
    width, height = int(message.width), int(message.height)
    kind = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = width * channels * kind.itemsize
    step = int(message.step) or row
    data = np.frombuffer(message.data, np.uint8)
    what = f'image {message.encoding} {width}x{height} with step {step}'
    if width < 1 or height < 1:
        raise DiffsegError(f'{what}: width and height must be above 0')
    if step < row:
        raise DiffsegError(f'{what}: a row takes {row} bytes; the step must not be below that')
    if halves > 2:
        # Some drivers count the bytes of all planes in the step.
        step = step * 2 // halves if data.size == step * height else step
        height = height * halves // 2
    # The padding of the last row may be missing.
    needed = step * (height - 1) + row
    if data.size < needed:
        raise DiffsegError(f'{what}: {data.size} bytes of data, {needed} are needed; the '
                           'message is truncated')
    pixels: npt.NDArray = np.ndarray((height, width, channels), kind, data,
                                     strides=(step, channels * kind.itemsize, kind.itemsize))
    return pixels if channels > 1 else pixels[..., 0]


def _yuv444(planes: npt.NDArray, height: int) -> npt.NDArray:
    """Return (H, W, 3) of (3H, W) rows: H of Y, then pairs of U and V in H double rows."""
    step, item = planes.strides
    luma = planes[:height]
    pairs = np.lib.stride_tricks.as_strided(planes[height:], (*luma.shape, 2),
                                            (2 * step, 2 * item, item), writeable=False)
    return np.dstack([luma, pairs])


def header(stamp: int, frame_id: str) -> Any:
    """Return a std_msgs/Header of a stamp in ns; raise DiffsegError if ROS cannot hold it."""
    if not 0 <= stamp < 2**31 * _NS:
        raise DiffsegError(f'stamp {stamp} ns: a ROS time lies between 0 and 2**31 seconds')
    time = _type('builtin_interfaces/msg/Time')(*divmod(stamp, _NS))
    return _type('std_msgs/msg/Header')(time, frame_id)


def image_message(pixels: npt.NDArray, stamp: int, frame_id: str,
                  encoding: str | None = None) -> Any:
    """
    Return a sensor_msgs/Image of an (H, W) or (H, W, 3) array.

    Without `encoding` it is rgb8, mono8, 16UC1, 32SC1 or 32FC1; raises DiffsegError for arrays
    of other types.
    """
    kind = (pixels.dtype.name, pixels.shape[2] if pixels.ndim == 3 else 1)
    if encoding is None and kind not in _BUILT_ENCODINGS:
        raise DiffsegError(f'image of {kind[1]} x {kind[0]}: supported are '
                           f'{", ".join(_BUILT_ENCODINGS.values())}')
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder('<'))
    height, width = pixels.shape[:2]
    return _type(IMAGE)(header(stamp, frame_id), height, width,
                        encoding or _BUILT_ENCODINGS[kind], 0, little.nbytes // height,
                        little.reshape(-1).view(np.uint8))


def camera_info_message(intrinsics: Intrinsics, stamp: int, frame_id: str) -> Any:
    """Return a sensor_msgs/CameraInfo of a monocular camera."""
    matrix = camera_matrix(intrinsics)
    projection = np.hstack([matrix, np.zeros((3, 1))])
    region = _type('sensor_msgs/msg/RegionOfInterest')(0, 0, 0, 0, False)
    return _type(CAMERA_INFO)(
        header(stamp, frame_id), intrinsics.height, intrinsics.width, intrinsics.distortion_model,
        np.array(intrinsics.distortion, np.float64), matrix.reshape(-1), np.eye(3).reshape(-1),
        projection.reshape(-1), 0, 0, region)


def transform_message(pose: Matrix, stamp: int, parent: str, child: str) -> Any:
    """Return a tf2_msgs/TFMessage with the (4, 4) pose of `child` in `parent`."""
    place = _type('geometry_msgs/msg/Transform')(
        _type('geometry_msgs/msg/Vector3')(*pose[:3, 3].tolist()),
        _type('geometry_msgs/msg/Quaternion')(*quaternion_from_pose(pose)))
    stamped = _type('geometry_msgs/msg/TransformStamped')(header(stamp, parent), child, place)
    return _type(TRANSFORMS)([stamped])


def odometry_message(pose: Matrix, stamp: int, parent: str, child: str) -> Any:
    """Return a nav_msgs/Odometry with the (4, 4) pose of `child` in `parent`, at rest."""
    nothing, zero = np.zeros(36), _type('geometry_msgs/msg/Vector3')(0.0, 0.0, 0.0)
    place = _type('geometry_msgs/msg/Pose')(
        _type('geometry_msgs/msg/Point')(*pose[:3, 3].tolist()),
        _type('geometry_msgs/msg/Quaternion')(*quaternion_from_pose(pose)))
    return _type('nav_msgs/msg/Odometry')(
        header(stamp, parent), child,
        _type('geometry_msgs/msg/PoseWithCovariance')(place, nothing),
        _type('geometry_msgs/msg/TwistWithCovariance')(
            _type('geometry_msgs/msg/Twist')(zero, zero), nothing))


def pixel_message(pixel: tuple[float, float], stamp: int, frame_id: str) -> Any:
    """Return a geometry_msgs/PointStamped with the x and y of a pixel."""
    return _type('geometry_msgs/msg/PointStamped')(
        header(stamp, frame_id), _type('geometry_msgs/msg/Point')(*pixel, 0.0))


def _type(name: str) -> Any:
    return typestore().types[name]


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Return the definitions of all messages of ROS 2, extended by `require_type`."""
    store = get_typestore(Stores.ROS2_KILTED)
    for name, definition in VIDEO_TYPES.items():
        store.register(get_types_from_msg(definition, name))
    return store


def deserialise(data: bytes, type_name: str) -> Any:
    """Return the message in CDR bytes, with views of `data`; raise DiffsegError if damaged."""
    try:
        return typestore().deserialize_cdr(data, type_name)
    except Exception as error:  # truncated bytes surface as many kinds
        raise DiffsegError(f'{type_name} message: {len(data)} bytes cannot be decoded; it is '
                           'truncated or damaged') from error


def header_stamp(data: bytes) -> int | None:
    """Return the stamp (ns) of a serialised message that begins with a header, or None."""
    if len(data) < 12:
        return None
    seconds, fraction = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return seconds * _NS + fraction


def nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces/Time as nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)


def require_type(type_name: str) -> None:
    """Define a message type from installed packages if need be, or raise DiffsegError."""
    if type_name in typestore().fielddefs:
        return
    package, _, name = type_name.split('/')
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    paths = [Path(prefix, 'share', package, 'msg', f'{name}.msg')
             for prefix in (*prefixes, sys.prefix) if prefix]
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise DiffsegError(f'message type {type_name}: no definition found; install its package '
                           f'{package}, or source the workspace that has it')
    types = get_types_from_msg(path.read_text(encoding='utf-8'), type_name)
    # The description of a field names the types in it, however deep they are nested.
    for nested in re.findall(r"'(\w+/msg/\w+)'", repr([fields for _, fields in types.values()])):
        if nested not in types:
            require_type(nested)
    typestore().register(types)
