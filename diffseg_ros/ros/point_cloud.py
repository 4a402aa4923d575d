"""PointCloud2 from a frame and its labels, in place where the message has room."""

from __future__ import annotations

import array
from collections.abc import Collection
from functools import lru_cache
import sys

from diffseg_ros.config import CloudConfig
from diffseg_ros.geometry.point_cloud import pack_points, POINT_WORDS
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.types import Frame
from diffseg_ros.viz.palette import label_palette, palette_rows
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

_FIELDS = [
    PointField(name=name, offset=4 * word, datatype=datatype, count=1)
    for word, (name, datatype) in enumerate([
        ('x', PointField.FLOAT32), ('y', PointField.FLOAT32), ('z', PointField.FLOAT32),
        ('rgb', PointField.FLOAT32), ('label', PointField.UINT32),
        ('instance_id', PointField.UINT32)])]


def fill_points(message: PointCloud2, frame: Frame, labels: npt.NDArray[np.int32],
                encoder: LabelEncoder, header: Header, *, config: CloudConfig | None = None,
                exclude: Collection[int] = (), colour: str = 'photo') -> PointCloud2:
    """
    Write the frame's labelled points into a message, into its old memory where the size fits.

    `rgb` is 0x00RRGGBB in the bits of a float; `label` and `instance_id` hold the value of the
    label image, the unlabelled one included. Invalid points of an organised cloud are NaN; a
    list holds valid points only and is dense.

    Parameters
    ----------
    message
        Written over.
    frame, labels, config, exclude
        As for `pack_points`.
    encoder
        Has encoded the labels of this frame.
    header
        Of the image.
    colour
        'photo', or 'label' for the label palette's colour of each value.

    Raises
    ------
    DiffsegError
        As `pack_points`.

    """
    size = labels.size * POINT_WORDS * 4
    listed = config is not None and (not config.organised or config.voxel_size > 0)
    if not listed and len(message.data) != size:
        message.data = array.array('B', bytes(size))
    out = None if listed else np.frombuffer(message.data, np.uint32).reshape(
        *labels.shape, POINT_WORDS)
    words = pack_points(frame, labels, encoder.point_values, config, exclude=exclude, out=out)
    if colour == 'label':
        unlabelled = np.uint32(encoder.unlabelled % 2**32)
        words[..., 3] = _palette_words()[palette_rows(words[..., 4], int(unlabelled))]
    if listed:
        message.data = array.array('B', words.tobytes())
    height, width = (1, len(words)) if listed else labels.shape
    message.header, message.fields = header, _FIELDS
    message.height, message.width = height, width
    message.point_step, message.row_step = POINT_WORDS * 4, width * POINT_WORDS * 4
    message.is_bigendian, message.is_dense = sys.byteorder == 'big', listed
    return message


@lru_cache(maxsize=1)
def _palette_words() -> npt.NDArray[np.uint32]:
    red, green, blue = label_palette().astype(np.uint32).T
    return red << 16 | green << 8 | blue
