"""~/camera_info: the calibration of the label image."""

from __future__ import annotations

from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.registry import register_output
from diffseg_ros.ros.messages import header_of
from sensor_msgs.msg import CameraInfo


@register_output('camera_info', message=CameraInfo, sensor_data=True)
def camera_info(context: OutputContext) -> CameraInfo | None:
    """Return the pinhole camera with its distortion, at the size of the label image."""
    if context.frame.intrinsics is None:
        return None
    height, width = context.labels.shape
    camera = context.frame.intrinsics.resized(width, height)
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return CameraInfo(
        header=header_of(context.frame), width=width, height=height,
        distortion_model=camera.distortion_model, d=list(camera.distortion),
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0])
