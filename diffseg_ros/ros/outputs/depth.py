"""~/depth: predicted or completed depth, where a depth model is set."""

from __future__ import annotations

from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of, image_message
from sensor_msgs.msg import Image


@register_output('depth', message=Image, sensor_data=True)
def depth(context: OutputContext) -> Image | None:
    """
    Return depth as measured, completed or predicted, 32FC1 in metres; only with `depth.model`.

    It has the view and size of ~/camera_info, and is NaN where invalid.
    """
    metres = context.result.frame.depth
    if metres is None or not context.config.depth.model:
        return None
    return image_message(resize_labels(metres, *context.labels.shape), '32FC1',
                         header_of(context.frame))
