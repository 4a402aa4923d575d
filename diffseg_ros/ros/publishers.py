"""The publishers of the outputs; each output is computed only while somebody subscribes."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, TYPE_CHECKING

from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.naming.vocabulary import Vocabulary
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.postprocessing.static_mask import StaticMask
from diffseg_ros.ros.messages import make_header, message_class
from diffseg_ros.ros.outputs import available_outputs, create_message
from diffseg_ros.ros.outputs.detections import LABEL_INFO, label_info
from diffseg_ros.ros.outputs.target import target_state
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import String

if TYPE_CHECKING:
    from diffseg_ros.types import Result, Target


_EARLY = 0.9
"""Share of the period after which a message is due: stamps jitter."""


class OutputPublishers:
    """
    Advertises every output under `~/` and publishes those that somebody subscribes to.

    Raises
    ------
    DiffsegError
        The static mask cannot be used.

    """

    def __init__(self, node: LifecycleNode, config: NodeConfig, max_misses: int) -> None:
        self.encoder = LabelEncoder.from_config(config, max_misses)
        self._node = node
        self._config = config
        self._mask = StaticMask(config.static_mask) if config.static_mask else None
        self._reusable: dict[str, Any] = {}
        self._outputs = available_outputs()
        self._last: dict[str, int] = {}
        if config.labels_encoding == '32SC1':
            del self._outputs['labels/compressed']
        self._publishers = {name: self._create_publisher(name) for name in self._outputs}
        kind = message_class(LABEL_INFO)
        self._label_info = None if kind is None else node.create_lifecycle_publisher(
            kind, '~/label_info',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def _create_publisher(self, name: str) -> Any:
        # An image transport follows its image topic, wherever that is remapped to.
        base, _, transport = name.partition('/')
        topic = f'~/{base}'
        if transport:
            topic = f'{self._node.resolve_topic_name(topic)}/{transport}'
        facts = self._outputs[name].facts
        reliable = not facts.get('sensor_data') or self._config.output_reliability == 'reliable'
        qos = QoSProfile(depth=self._config.output_queue, reliability=(
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT))
        return self._node.create_lifecycle_publisher(
            message_class(facts['message']), topic, qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def publish_label_info(self, stamp: int, vocabulary: Vocabulary | None = None) -> None:
        """Publish what the classes mean, for all subscribers to come."""
        if self._label_info is not None:
            self._label_info.publish(label_info(make_header(stamp), vocabulary))

    def publish_target_state(self, target: Target | None) -> None:
        """Publish ~/target/state when it changes between two frames."""
        publisher = self._publishers['target/state']
        if publisher.get_subscription_count():
            publisher.publish(String(data=target_state(target)))

    def subscribed_outputs(self) -> set[str]:
        """Return the names of the outputs that have subscribers."""
        return {name for name, publisher in self._publishers.items()
                if publisher.get_subscription_count()}

    def publish(self, result: Result, names: Set[str], config: PipelineConfig,
                depth_encoding: str = '32FC1') -> None:
        """
        Publish the outputs `names` of a frame, as far as it has the data.

        An output that fails does not keep the others back; the first error is raised at the end.
        """
        context = OutputContext(
            result, self.encoder, config, static_mask=self._mask, reusable=self._reusable,
            points_colour=self._config.points_colour, depth_encoding=depth_encoding)
        failure: Exception | None = None
        for name, entry in self._outputs.items():
            if name not in names or not self._due(name, result.frame.stamp):
                continue
            try:
                message = create_message(entry, context)
                if message is not None:
                    self._publishers[name].publish(message)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _due(self, name: str, stamp: int) -> bool:
        """Return whether an output is to be published again; those for people have a rate."""
        rate = self._config.view_rate
        if not rate or not self._outputs[name].facts.get('for_people'):
            return True
        last = self._last.get(name)
        if last is not None and 0 <= stamp - last < _EARLY * 1e9 / rate:
            return False
        self._last[name] = stamp
        return True

    def destroy(self) -> None:
        """Destroy all publishers."""
        for publisher in (*self._publishers.values(), self._label_info):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
        self._publishers, self._label_info = {}, None
