"""ROS messages from the pipeline's results, filled without a Python loop or a needless copy."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TYPE_CHECKING

from builtin_interfaces.msg import Time
import cv2
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.boxes import segment_boxes, SegmentBox
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.segment_filter import (
    depth_pixels,
    filtered_depth,
    needs_boxes,
    removal_mask,
    removed_ids,
)
from diffseg_ros.ros.detections import (
    detections_2d,
    detections_3d,
    Segments2D,
    vision_messages,
)
from diffseg_ros.ros.markers import marker_array
from diffseg_ros.ros.point_cloud import fill_points
from diffseg_ros.types import Intrinsics
from diffseg_ros.viz.overlay import draw_overlay
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

if TYPE_CHECKING:
    from diffseg_ros.types import Result

OUTPUT_TYPES: dict[str, Any] = {
    'labels': Image, 'labels/compressed': CompressedImage, 'confidence': Image,
    'overlay': Image, 'mask': Image, 'camera_info': CameraInfo, 'points': PointCloud2,
    'depth_filtered': Image, 'markers': MarkerArray}
"""Message type of every output made per frame, by its topic's name under `~/`."""

if (_VISION := vision_messages()) is not None:
    OUTPUT_TYPES |= {'detections': _VISION.Detection2DArray,
                     'detections_3d': _VISION.Detection3DArray}

_PNG_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class FrameMessages:
    """
    The outputs of one frame, each made when it is asked for.

    What several outputs need (boxes, the segments to remove) is computed once.
    """

    def __init__(self, result: Result, encoder: LabelEncoder,
                 config: PipelineConfig | None = None, *, points_colour: str = 'photo',
                 depth_encoding: str = '32FC1', excluded: npt.NDArray[np.bool_] | None = None,
                 reuse: PointCloud2 | None = None) -> None:
        """
        Encode the labels; everything else waits.

        Parameters
        ----------
        result
            What the pipeline found in the frame.
        encoder
            Sees every frame once, in order.
        config
            Which depth becomes points, and what is removed.
        points_colour
            What the points' rgb shows: 'photo', or 'label' for a colour per label value.
        depth_encoding
            Of depth_filtered: '32FC1' or '16UC1'.
        excluded
            (H, W) what a static mask took out of the result, for `mask` to show, or None.
        reuse
            A cloud already published, whose memory may be written over.

        """
        self._result = result
        self._frame = result.frame
        self._labels = result.labels
        self._encoder = encoder
        self._config = config or PipelineConfig()
        self._points_colour = points_colour
        self._depth_encoding = depth_encoding
        self._excluded = excluded
        self._reuse = reuse
        self._header = header_of(self._frame.stamp, self._frame.frame_id)
        self._values = encoder.encode(self._labels)

    def makers(self) -> dict[str, Callable[[], Any]]:
        """Return a function per output that this frame has data for."""
        makers: dict[str, Callable[[], Any]] = {
            'labels': lambda: image_message(self._values, self._encoder.encoding, self._header),
            'confidence': lambda: image_message(self._result.confidence, 'mono8', self._header),
            'overlay': lambda: image_message(draw_overlay(self._frame.rgb, self._labels), 'rgb8',
                                             self._header)}
        if self._encoder.encoding != '32SC1':
            makers['labels/compressed'] = lambda: png_message(
                self._values, self._encoder.encoding, self._header)
        depth, intrinsics = self._frame.depth, self._frame.intrinsics
        in_space = depth is not None and intrinsics is not None
        if in_space or not needs_boxes(self._config.removal):
            makers['mask'] = self._mask
            if depth is not None:
                makers['depth_filtered'] = self._depth_filtered
        if intrinsics is not None:
            makers['camera_info'] = lambda: camera_info_message(
                intrinsics.resized(*self._labels.shape[::-1]), self._header)
        if in_space:
            makers['points'] = self._points
            makers['markers'] = lambda: marker_array(self._boxes, self._header)
        if _VISION is not None:
            makers['detections'] = lambda: detections_2d(self._segments, self._header, _VISION)
            if in_space:
                makers['detections_3d'] = lambda: detections_3d(
                    self._boxes, self._segments, self._header, _VISION)
        return makers

    @cached_property
    def _boxes(self) -> list[SegmentBox]:
        return segment_boxes(self._frame, self._labels, self._config.cloud)

    @cached_property
    def _segments(self) -> Segments2D:
        return Segments2D(self._labels, self._result.confidence)

    @cached_property
    def _removed(self) -> list[int]:
        return removed_ids(self._config.removal, distinct_labels(self._labels),
                           lambda: self._boxes)

    def _mask(self) -> Image:
        mask = removal_mask(self._labels, self._removed)
        if self._excluded is not None:
            mask |= self._excluded
        return image_message(mask.astype(np.uint8) * 255, 'mono8', self._header)

    def _points(self) -> PointCloud2:
        removed = self._removed if self._config.removal.from_points else []
        return fill_points(self._reuse or PointCloud2(), self._frame, self._labels,
                           self._encoder, self._header, config=self._config.cloud,
                           exclude=removed, colour=self._points_colour)

    def _depth_filtered(self) -> Image:
        depth = self._frame.depth
        assert depth is not None
        if self._removed:
            depth = filtered_depth(depth, removal_mask(self._labels, self._removed))
        return image_message(depth_pixels(depth, self._depth_encoding), self._depth_encoding,
                             self._header)


def result_messages(result: Result, wanted: Iterable[str], encoder: LabelEncoder,
                    config: PipelineConfig | None = None, *, points_colour: str = 'photo',
                    depth_encoding: str = '32FC1',
                    reuse: PointCloud2 | None = None) -> dict[str, Any]:
    """
    Return the messages of one frame by output name, stamped as its image.

    Parameters
    ----------
    wanted
        Names out of OUTPUT_TYPES. What the frame has no data for is left out: camera_info
        without intrinsics, points without depth or intrinsics.
    result, encoder, config, points_colour, depth_encoding, reuse
        As for `FrameMessages`.

    Raises
    ------
    DiffsegError
        An output cannot be made of this frame.

    """
    makers = FrameMessages(result, encoder, config, points_colour=points_colour,
                           depth_encoding=depth_encoding, reuse=reuse).makers()
    return {name: makers[name]() for name in wanted if name in makers}


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


def png_message(pixels: npt.NDArray[np.integer], encoding: str,
                header: Header) -> CompressedImage:
    """
    Return a PNG of (H, W) uint8 or uint16 pixels, declared as compressed_image_transport does.

    Raises
    ------
    DiffsegError
        The image cannot be encoded.

    """
    encoded, data = cv2.imencode('.png', pixels, _PNG_FAST)
    if not encoded:
        raise DiffsegError(f'labels/compressed: {pixels.dtype} {pixels.shape} cannot be encoded '
                           'as PNG; use ~/labels')
    message = CompressedImage(header=header, format=f'{encoding}; png compressed ')
    message.data = array.array('B', data.tobytes())
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
