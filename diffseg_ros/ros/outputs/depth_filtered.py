"""~/depth_filtered and ~/mask: depth without removed segments, and what was removed."""

from __future__ import annotations

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.postprocessing.segment_filter import depth_pixels, filtered_depth
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message
import numpy as np
from sensor_msgs.msg import Image


@register_output('mask', message=Image, sensor_data=True)
def mask(context: OutputContext) -> Image | None:
    """Return a mono8 image, 255 where a segment or the static mask is removed."""
    if context.removed_ids is None:
        return None
    removed = np.isin(context.labels, context.removed_ids)
    if context.excluded is not None:
        removed |= context.excluded
    return image_message(removed.astype(np.uint8) * 255, 'mono8', header_of(context.frame))


@register_output('depth_filtered', message=Image, sensor_data=True)
def depth_filtered(context: OutputContext) -> Image | None:
    """Return the depth in the encoding that it came in, invalid where removed."""
    depth = context.frame.depth
    if depth is None or context.removed_ids is None:
        return None
    if context.removed_ids:
        depth = filtered_depth(depth, np.isin(context.labels, context.removed_ids))
    encoding = context.depth_encoding
    return image_message(depth_pixels(depth, encoding), encoding, header_of(context.frame))
