"""~/points and ~/target/cloud: the labelled point cloud, and the part of it that is the target."""

from __future__ import annotations

import array
from functools import lru_cache
import sys

from diffseg_ros.geometry.point_cloud import pack_points, PackedPoints, point_words
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of
from diffseg_ros.settings import updated
from diffseg_ros.types import UNLABELLED
from diffseg_ros.viz.colours import label_palette, palette_rows
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import PointCloud2, PointField

_FIELDS = [
    PointField(name=name, offset=4 * word, datatype=datatype, count=1)
    for word, (name, datatype) in enumerate([
        ('x', PointField.FLOAT32), ('y', PointField.FLOAT32), ('z', PointField.FLOAT32),
        ('rgb', PointField.FLOAT32), ('label', PointField.UINT32),
        ('instance_id', PointField.UINT32), ('confidence', PointField.FLOAT32)])]


@register_output('points', message=PointCloud2, sensor_data=True)
def points(context: OutputContext) -> PointCloud2 | None:
    """
    Return a cloud of x y z rgb label instance_id, and `confidence` with `depth.model`.

    `rgb` is 0x00RRGGBB in the bits of a float; `label` and `instance_id` hold the value of the
    label image, the unlabelled one included; `confidence` is 1 for measured points and less for
    predicted ones. Invalid points of an organised cloud are NaN; a list holds valid points only
    and is dense.

    Raises
    ------
    DiffsegError
        The distortion model is not supported.

    """
    if not context.has_points:
        return None
    cloud, labels = context.config.cloud, context.labels
    organised = cloud.organised and not cloud.voxel_size
    # In the memory of the last message where it fits: new pages take as long as the points.
    message = context.reusable.setdefault('points', PointCloud2())
    size = labels.size * point_words(context.frame) * 4
    if organised and len(message.data) != size:
        message.data = array.array('B', bytes(size))
    out = np.frombuffer(message.data, np.uint32).reshape(*labels.shape, -1) if organised else None
    removed = context.removed_ids if context.config.removal.from_points else None
    words = pack_points(context.frame, labels, context.encoder.point_values, cloud,
                        exclude=removed or (), out=out)
    _colour(words, context)
    if not organised:
        return _list_message(words, context)
    return _described(message, labels.shape, context)


@register_output('target/cloud', message=PointCloud2, sensor_data=True)
def target_cloud(context: OutputContext) -> PointCloud2 | None:
    """Return the valid points of ~/target/mask, with the fields of ~/points; it may be empty."""
    if not context.has_points:
        return None
    labels = np.where(context.target_mask, context.labels, np.int32(UNLABELLED))
    words = pack_points(context.frame, labels, context.encoder.point_values,
                        updated(context.config.cloud, {'organised': False}),
                        exclude=(UNLABELLED,))
    _colour(words, context)
    return _list_message(words, context)


def _colour(words: PackedPoints, context: OutputContext) -> None:
    """Give points the colour of their label, where that is asked for."""
    if context.points_colour == 'label':
        unlabelled = int(np.uint32(context.encoder.unlabelled % 2**32))
        words[..., 3] = _palette_words()[palette_rows(words[..., 4], unlabelled)]
        _colour_named(words, unlabelled, context)


def _list_message(words: PackedPoints, context: OutputContext) -> PointCloud2:
    """Return a cloud of (N, C) valid points."""
    message = PointCloud2(is_dense=True)
    message.data = array.array('B', words.tobytes())
    return _described(message, (1, len(words)), context)


def _described(message: PointCloud2, shape: tuple[int, ...],
               context: OutputContext) -> PointCloud2:
    """Return the message with all that describes its data, (height, width) points."""
    words = point_words(context.frame)
    message.header, message.fields = header_of(context.frame), _FIELDS[:words]
    message.height, message.width = shape
    message.point_step, message.row_step = words * 4, shape[1] * words * 4
    message.is_bigendian = sys.byteorder == 'big'
    return message


def _colour_named(words: npt.NDArray[np.uint32], unlabelled: int, context: OutputContext) -> None:
    """Give the points of segments whose name has a colour that colour."""
    values = context.encoder.point_values(np.array(list(context.colours), np.int32)).tolist()
    by_value = dict(zip(values, context.colours.values(), strict=True))
    by_value.pop(unlabelled, None)  # of tracks out of view
    if not by_value:
        return
    known = np.array(sorted(by_value), np.uint32)
    colours = _colour_words(np.array([by_value[value] for value in known.tolist()], np.uint32))
    places = np.searchsorted(known, words[..., 4]).clip(max=len(known) - 1)
    named = known[places] == words[..., 4]
    words[..., 3][named] = colours[places[named]]


def _colour_words(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return (N, 3) colours as 0x00RRGGBB."""
    red, green, blue = colours.T
    return red << 16 | green << 8 | blue


@lru_cache(maxsize=1)
def _palette_words() -> npt.NDArray[np.uint32]:
    return _colour_words(label_palette().astype(np.uint32))
