"""ROS messages from the pipeline's results, filled without a Python loop or a needless copy."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from typing import Any, TYPE_CHECKING

from builtin_interfaces.msg import Time
from diffseg_ros.cloud.labelled_cloud import labelled_cloud, LabelledCloud
from diffseg_ros.config import CloudConfig
from diffseg_ros.frame import Intrinsics
from diffseg_ros.ros.label_encoding import LabelEncoder
from diffseg_ros.visualization import draw_overlay
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Result

OUTPUT_TYPES: dict[str, Any] = {
    'labels': Image, 'confidence': Image, 'overlay': Image, 'camera_info': CameraInfo,
    'points': PointCloud2}
"""Message type of every output, by its topic's name under `~/`."""

_POINT_WORDS = 6
_POINT_FIELDS = [
    PointField(name=name, offset=4 * word, datatype=datatype, count=1)
    for word, (name, datatype) in enumerate([
        ('x', PointField.FLOAT32), ('y', PointField.FLOAT32), ('z', PointField.FLOAT32),
        ('rgb', PointField.FLOAT32), ('label', PointField.UINT32),
        ('instance_id', PointField.UINT32)])]


def result_messages(result: Result, wanted: Iterable[str], encoder: LabelEncoder,
                    cloud: CloudConfig | None = None, *,
                    reuse: PointCloud2 | None = None) -> dict[str, Any]:
    """
    Return the messages of one frame by output name, stamped as its image.

    Parameters
    ----------
    result
        What the pipeline found in the frame.
    wanted
        Names out of OUTPUT_TYPES. What the frame has no data for is left out: camera_info
        without intrinsics, points without depth or intrinsics.
    encoder
        Sees every frame once, in order.
    cloud
        Which depth becomes points.
    reuse
        A cloud already published, whose memory may be written over.

    Raises
    ------
    DiffsegError
        An output cannot be made of this frame.

    """
    makers = message_makers(result, encoder, cloud, reuse=reuse)
    return {name: makers[name]() for name in wanted if name in makers}


def message_makers(result: Result, encoder: LabelEncoder, cloud: CloudConfig | None = None, *,
                   reuse: PointCloud2 | None = None) -> dict[str, Callable[[], Any]]:
    """Return a function per output that this frame has data for; see `result_messages`."""
    frame = result.frame
    header = header_of(frame.stamp, frame.frame_id)
    values = encoder.encode(result.labels)
    height, width = values.shape
    makers: dict[str, Callable[[], Any]] = {
        'labels': lambda: image_message(values, encoder.encoding, header),
        'confidence': lambda: image_message(result.confidence, 'mono8', header),
        'overlay': lambda: image_message(draw_overlay(frame.rgb, result.labels), 'rgb8', header)}
    intrinsics = frame.intrinsics
    if intrinsics is not None:
        makers['camera_info'] = lambda: camera_info_message(intrinsics.resized(width, height),
                                                            header)
        if frame.depth is not None:
            makers['points'] = lambda: fill_point_cloud(
                reuse or PointCloud2(), labelled_cloud(frame, result.labels, cloud), encoder,
                header)
    return makers


def header_of(stamp: int, frame_id: str) -> Header:
    """Return a header with a stamp in nanoseconds."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def image_message(pixels: npt.NDArray[Any], encoding: str, header: Header) -> Image:
    """Return an Image of (H, W) or (H, W, C) pixels in the byte order of `pixels`."""
    pixels = np.ascontiguousarray(pixels)
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1],
                    encoding=encoding, step=pixels.strides[0],
                    is_bigendian=int(pixels.dtype.str.startswith('>')))
    data = array.array('B')
    data.frombytes(pixels.reshape(-1).view(np.uint8).data)
    message.data = data
    return message


def camera_info_message(intrinsics: Intrinsics, header: Header) -> CameraInfo:
    """Return the CameraInfo of a pinhole camera with its distortion."""
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    return CameraInfo(
        header=header, width=intrinsics.width, height=intrinsics.height,
        distortion_model=intrinsics.distortion_model, d=list(intrinsics.distortion),
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0])


def fill_point_cloud(message: PointCloud2, cloud: LabelledCloud, encoder: LabelEncoder,
                     header: Header) -> PointCloud2:
    """
    Write an organised cloud into a message, into its old memory where the size fits.

    `rgb` is 0x00RRGGBB in the bits of a float; `label` and `instance_id` hold the value of
    the label image, the unlabelled one included. Invalid points are NaN.
    """
    height, width = cloud.labels.shape
    size = height * width * _POINT_WORDS * 4
    if len(message.data) != size:
        message.data = array.array('B', bytes(size))
    words = np.frombuffer(message.data, '<u4').reshape(height, width, _POINT_WORDS)
    floats = words.view('<f4')
    floats[..., :3] = cloud.points
    red, green, blue = (cloud.rgb[..., channel].astype(np.uint32) for channel in range(3))
    words[..., 3] = red << 16 | green << 8 | blue
    words[..., 4] = encoder.point_values(cloud.labels)
    words[..., 5] = words[..., 4]
    message.header, message.fields = header, _POINT_FIELDS
    message.height, message.width = height, width
    message.point_step, message.row_step = _POINT_WORDS * 4, width * _POINT_WORDS * 4
    message.is_bigendian, message.is_dense = False, False
    return message
