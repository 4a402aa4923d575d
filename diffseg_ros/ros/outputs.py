"""The node's publishers: each output is made only while someone subscribes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffseg_ros.config import CloudConfig
from diffseg_ros.ros.label_encoding import LabelEncoder
from diffseg_ros.ros.messages import message_makers, OUTPUT_TYPES
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Result


def sensor_qos(depth: int) -> QoSProfile:
    """Return the profile of sensor data with another queue depth."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


class Outputs:
    """Publishers of everything a result is turned into."""

    def __init__(self, node: LifecycleNode, encoder: LabelEncoder, depth: int) -> None:
        """Create the publishers under `~/`, with QoS overrides from parameters."""
        self._node = node
        self.encoder = encoder
        self._cloud = PointCloud2()
        self._publishers = {
            name: node.create_lifecycle_publisher(
                kind, f'~/{name}', sensor_qos(depth),
                qos_overriding_options=QoSOverridingOptions.with_default_policies())
            for name, kind in OUTPUT_TYPES.items()}

    def wanted(self) -> set[str]:
        """Return the names of the outputs that have subscribers."""
        return {name for name, publisher in self._publishers.items()
                if publisher.get_subscription_count()}

    def publish(self, result: Result, wanted: set[str], cloud: CloudConfig) -> None:
        """
        Make and publish the wanted outputs that the frame has data for.

        An output that fails does not keep the others back; the first error is raised at the end.
        """
        makers = message_makers(result, self.encoder, cloud, reuse=self._cloud)
        failure: Exception | None = None
        for name in OUTPUT_TYPES:
            if name not in wanted or name not in makers:
                continue
            try:
                self._publishers[name].publish(makers[name]())
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def destroy(self) -> None:
        """Take the publishers down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}
