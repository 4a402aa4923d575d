"""~/confidence: how certain the label of each pixel is."""

from __future__ import annotations

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message
from sensor_msgs.msg import Image


@register_output('confidence', message=Image, sensor_data=True)
def confidence(context: OutputContext) -> Image:
    """Return a mono8 image, 0 to 255."""
    return image_message(context.result.confidence, 'mono8', header_of(context.frame))
