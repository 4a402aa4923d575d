"""~/overlay: the image with segments in colour, for people."""

from __future__ import annotations

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message
from sensor_msgs.msg import Image


@register_output('overlay', message=Image, sensor_data=True, for_people=True)
def overlay(context: OutputContext) -> Image:
    """Return an rgb8 image."""
    return image_message(context.overlay, 'rgb8', header_of(context.frame))
