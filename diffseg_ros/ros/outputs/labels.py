"""~/labels, ~/labels/compressed and ~/objects/labels: the persistent id of each pixel."""

from __future__ import annotations

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

_FASTEST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@register_output('labels', message=Image, sensor_data=True)
def labels(context: OutputContext) -> Image:
    """Return an image of label values in the encoding of the parameter `labels_encoding`."""
    return image_message(context.values, context.encoder.encoding, header_of(context.frame))


@register_output('objects/labels', message=Image, sensor_data=True)
def object_labels(context: OutputContext) -> Image | None:
    """Return ~/labels of the objects; floors, tables, walls and all else are unlabelled."""
    if not context.has_points:
        return None
    unlabelled = context.values.dtype.type(context.encoder.unlabelled)
    values = np.where(np.isin(context.labels, context.objects), context.values, unlabelled)
    return image_message(values, context.encoder.encoding, header_of(context.frame))


@register_output('labels/compressed', message=CompressedImage, sensor_data=True)
def labels_compressed(context: OutputContext) -> CompressedImage | None:
    """Return a PNG, described as compressed_image_transport does; none of 32SC1."""
    encoding = context.encoder.encoding
    if encoding == '32SC1':
        return None
    encoded, data = cv2.imencode('.png', context.values, _FASTEST)
    if not encoded:
        raise DiffsegError(f'labels/compressed: {context.values.shape} pixels cannot be encoded '
                           'as PNG; use ~/labels')
    message = CompressedImage(header=header_of(context.frame),
                              format=f'{encoding}; png compressed ')
    message.data.frombytes(data.data)
    return message
