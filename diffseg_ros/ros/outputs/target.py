"""~/target/state, ~/target/mask and ~/target/pose: the object that somebody clicked on."""

from __future__ import annotations

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import box_pose, header_of, image_message
from diffseg_ros.types import Target
from geometry_msgs.msg import PoseStamped
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import String

NO_TARGET = 'none'
"""The state where nothing is followed."""


def target_state(target: Target | None) -> str:
    """Return the state of a target as a word."""
    return NO_TARGET if target is None else target.state.value


@register_output('target/state', message=String)
def state(context: OutputContext) -> String:
    """Return whether the target is `tracked`, `hidden` or `lost`; `none` without a target."""
    return String(data=target_state(context.result.target))


@register_output('target/mask', message=Image, sensor_data=True)
def mask(context: OutputContext) -> Image:
    """Return a mono8 image, 255 where the target is; 0 everywhere while it is not in view."""
    return image_message(context.target_mask.astype(np.uint8) * 255, 'mono8',
                         header_of(context.frame))


@register_output('target/pose', message=PoseStamped)
def pose(context: OutputContext) -> PoseStamped | None:
    """Return the middle of the target's 3-D box and its axes, while it is in view with depth."""
    box = context.target_box
    if box is None:
        return None
    return PoseStamped(header=header_of(context.frame), pose=box_pose(box))
