"""The node's subscriptions, and the reason why no image arrives."""

from __future__ import annotations

from collections.abc import Callable
import os
from typing import Any

from diffseg_ros.config import NodeConfig
from diffseg_ros.ros.camera_motion import CameraMotion
from diffseg_ros.ros.clicks import Click
from diffseg_ros.ros.frame_converter import Topics
from diffseg_ros.ros.messages import message_class
from diffseg_ros.ros.synchronizer import FrameSynchronizer
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    qos_check_compatible,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

_OVERRIDABLE = QoSOverridingOptions.with_default_policies()
_MOTION_QUEUE = 100
_CLICK_QUEUE = 10
_IMAGE_TYPES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
_MOST_TOPICS_NAMED = 3


def input_topics(node: Node, config: NodeConfig) -> Topics:
    """Return the full topic names after remapping; transports follow the remapped image."""
    def full(name: str, transport: str) -> str:
        topic = node.resolve_topic_name(name)
        return topic if transport == 'raw' else f'{topic}/{transport}'

    return Topics(full('rgb/image_raw', config.image_transport),
                  full('depth_registered/image_rect', config.depth_transport),
                  node.resolve_topic_name('rgb/camera_info'))


def create_subscriptions(node: Node, config: NodeConfig, topics: Topics,
                         on_image: Callable[[Any], None], synchronizer: FrameSynchronizer,
                         motion: CameraMotion) -> list[Subscription]:
    """Subscribe to the camera and its motion; QoS may be overridden by parameters."""
    def subscribe(kind: Any, topic: str, callback: Callable[[Any], None],
                  depth: int) -> Subscription:
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        return node.create_subscription(kind, topic, callback, qos,
                                        qos_overriding_options=_OVERRIDABLE)

    image_type = Image if config.image_transport == 'raw' else CompressedImage
    depth_type = Image if config.depth_transport == 'raw' else CompressedImage
    subscriptions = [
        subscribe(image_type, topics.image, on_image, config.image_queue),
        subscribe(depth_type, topics.depth, synchronizer.add_depth, config.depth_queue),
        subscribe(CameraInfo, topics.camera_info, synchronizer.add_camera_info,
                  config.depth_queue)]
    if config.camera_motion in ('auto', 'odometry'):
        subscriptions.append(subscribe(Odometry, 'odom', motion.add_odometry, _MOTION_QUEUE))
    if config.camera_motion in ('auto', 'tf'):
        subscriptions += _subscribe_to_tf(node, motion)
    return subscriptions


def subscribe_to_clicks(node: Node, on_click: Callable[[Click], None]) -> list[Subscription]:
    """Subscribe to points in the scene and pixels of the image that somebody clicked on."""
    return [
        node.create_subscription(PointStamped, '/clicked_point',
                                 lambda message: on_click(Click.on_point(message)), _CLICK_QUEUE),
        node.create_subscription(PointStamped, '~/clicked_pixel',
                                 lambda message: on_click(Click.on_pixel(message)), _CLICK_QUEUE)]


def _subscribe_to_tf(node: Node, motion: CameraMotion) -> list[Subscription]:
    """Subscribe to transforms where tf2_msgs is installed."""
    kind = message_class('tf2_msgs/msg/TFMessage')
    if kind is None:
        return []
    latched = QoSProfile(depth=_MOTION_QUEUE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return [
        node.create_subscription(
            kind, '/tf', lambda message: motion.add_transforms(message, static=False),
            QoSProfile(depth=_MOTION_QUEUE)),
        node.create_subscription(
            kind, '/tf_static', lambda message: motion.add_transforms(message, static=True),
            latched)]


def why_no_images(node: Node, topic: str, subscriptions: list[Subscription]) -> str:
    """Return who publishes `topic` and why it does not arrive, or where other images are."""
    publishers = node.get_publishers_info_by_topic(topic)
    own = next((item for item in subscriptions if item.topic_name == topic), None)
    if not publishers:
        return f'nobody publishes it{_other_image_topics(node, topic)}'
    for publisher in publishers:
        if own is None:
            break
        if _IMAGE_TYPES.get(publisher.topic_type) is not own.msg_type:
            return (f'{publisher.node_name} publishes it as {publisher.topic_type}; '
                    f'{own.msg_type.__name__} is needed, see image_transport')
        compatible, reason = qos_check_compatible(publisher.qos_profile, own.qos_profile)
        if compatible == QoSCompatibility.ERROR:
            return (f'{publisher.node_name} publishes it with another QoS: '
                    f'{" ".join(reason.split()).rstrip(".;")}')
    return f'{len(publishers)} publish it but send nothing, or too much for the transport'


def _others(node: Node) -> list[str]:
    """Return the full names of the other nodes in the domain."""
    names = [f'{space.rstrip("/")}/{name}' for name, space in node.get_node_names_and_namespaces()]
    own = node.get_fully_qualified_name()
    if own in names:
        names.remove(own)
    return names


def namesake(node: Node) -> str:
    """Return the node's full name if another node in the domain has it too, else ''."""
    own = node.get_fully_qualified_name()
    return own if own in _others(node) else ''


def _other_image_topics(node: Node, topic: str) -> str:
    own = f'/{node.get_name()}/'
    found = [name for name, types in node.get_topic_names_and_types()
             if set(types) & set(_IMAGE_TYPES) and name != topic
             and own not in name and node.count_publishers(name)]
    found.sort(key=lambda name: ('depth' in name, name))
    if not found and not _others(node):
        return ('; this node sees no other node at all: is ROS_DOMAIN_ID the same everywhere '
                f'(here {os.environ.get("ROS_DOMAIN_ID") or 0})?')
    if not found:
        return ''
    more = ', ...' if len(found) > _MOST_TOPICS_NAMED else ''
    return f'; images are on {", ".join(found[:_MOST_TOPICS_NAMED])}{more}'
