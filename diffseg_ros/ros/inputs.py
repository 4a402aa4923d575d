"""The node's subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffseg_ros.node_config import NodeConfig
from diffseg_ros.ros.assembly import Topics
from diffseg_ros.ros.intake import Intake
from diffseg_ros.ros.outputs import sensor_qos
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

_OVERRIDABLE = QoSOverridingOptions.with_default_policies()


def input_topics(node: Node, config: NodeConfig) -> Topics:
    """Return the full topic names after remapping; transports hang on the remapped image."""
    def full(name: str, transport: str) -> str:
        topic = node.resolve_topic_name(name)
        return topic if transport == 'raw' else f'{topic}/{transport}'

    return Topics(full('rgb/image_raw', config.image_transport),
                  full('depth_registered/image_rect', config.depth_transport),
                  node.resolve_topic_name('rgb/camera_info'))


def create_subscriptions(node: Node, config: NodeConfig, topics: Topics,
                         on_image: Callable[[Any], None], intake: Intake) -> list[Subscription]:
    """Subscribe with sensor-data QoS, overridable by parameters."""
    image_type = Image if config.image_transport == 'raw' else CompressedImage
    depth_type = Image if config.depth_transport == 'raw' else CompressedImage
    return [
        node.create_subscription(kind, topic, callback, sensor_qos(depth),
                                 qos_overriding_options=_OVERRIDABLE)
        for kind, topic, callback, depth in (
            (image_type, topics.image, on_image, config.image_queue),
            (depth_type, topics.depth, intake.add_depth, config.depth_queue),
            (CameraInfo, topics.camera_info, intake.add_camera_info, config.depth_queue))]
