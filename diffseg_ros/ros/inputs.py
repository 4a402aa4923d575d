"""The node's subscriptions, and what the graph says about who feeds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffseg_ros.config import NodeConfig
from diffseg_ros.ros.converter import Topics
from diffseg_ros.ros.motion import CameraMotion
from diffseg_ros.ros.outputs import sensor_qos
from diffseg_ros.ros.synchronizer import Intake
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_check_compatible, QoSCompatibility, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

_OVERRIDABLE = QoSOverridingOptions.with_default_policies()
_TRANSFORMS_KEPT = 100
_IMAGE_TYPES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
_TOPICS_NAMED = 3


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
    """Subscribe to the camera with sensor-data QoS, overridable by parameters."""
    image_type = Image if config.image_transport == 'raw' else CompressedImage
    depth_type = Image if config.depth_transport == 'raw' else CompressedImage
    return [
        node.create_subscription(kind, topic, callback, sensor_qos(depth),
                                 qos_overriding_options=_OVERRIDABLE)
        for kind, topic, callback, depth in (
            (image_type, topics.image, on_image, config.image_queue),
            (depth_type, topics.depth, intake.add_depth, config.depth_queue),
            (CameraInfo, topics.camera_info, intake.add_camera_info, config.depth_queue))]


def create_motion_subscriptions(node: Node, config: NodeConfig,
                                motion: CameraMotion) -> list[Subscription]:
    """Subscribe to what tells the camera's motion; TF only where tf2_msgs is installed."""
    subscriptions = []
    if config.camera_motion in ('auto', 'odometry'):
        subscriptions.append(node.create_subscription(
            Odometry, 'odom', motion.add_odometry, sensor_qos(_TRANSFORMS_KEPT),
            qos_overriding_options=_OVERRIDABLE))
    if config.camera_motion in ('auto', 'tf'):
        subscriptions += _transform_subscriptions(node, motion)
    return subscriptions


def _transform_subscriptions(node: Node, motion: CameraMotion) -> list[Subscription]:
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        return []
    latched = QoSProfile(depth=_TRANSFORMS_KEPT, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return [
        node.create_subscription(
            TFMessage, '/tf', lambda message: motion.add_transforms(message, static=False),
            QoSProfile(depth=_TRANSFORMS_KEPT)),
        node.create_subscription(
            TFMessage, '/tf_static', lambda message: motion.add_transforms(message, static=True),
            latched)]


def why_silent(node: Node, topic: str, subscriptions: list[Subscription]) -> str:
    """Say who publishes `topic` and what keeps their images away, or where images are."""
    publishers = node.get_publishers_info_by_topic(topic)
    own = next((item for item in subscriptions if item.topic_name == topic), None)
    if not publishers:
        return f'nobody publishes it{_elsewhere(node, topic)}'
    if own is not None:
        for publisher in publishers:
            if _IMAGE_TYPES.get(publisher.topic_type) is not own.msg_type:
                return (f'{publisher.node_name} publishes it as {publisher.topic_type}; '
                        f'{own.msg_type.__name__} is needed, see image_transport')
            verdict, reason = qos_check_compatible(publisher.qos_profile, own.qos_profile)
            if verdict == QoSCompatibility.ERROR:
                return (f'{publisher.node_name} publishes it with another QoS: '
                        f'{" ".join(reason.split()).rstrip(".;")}')
    return f'{len(publishers)} publish it but send nothing, or too much for the transport'


def _elsewhere(node: Node, topic: str) -> str:
    """Name topics with images of others, to remap to."""
    own = f'/{node.get_name()}/'
    found = [name for name, types in node.get_topic_names_and_types()
             if set(types) & set(_IMAGE_TYPES) and name != topic
             and own not in name and node.count_publishers(name)]
    found.sort(key=lambda name: ('depth' in name, name))
    if not found:
        return ''
    more = ', ...' if len(found) > _TOPICS_NAMED else ''
    return f'; images are on {", ".join(found[:_TOPICS_NAMED])}{more}'
