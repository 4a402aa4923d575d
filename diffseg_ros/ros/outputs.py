"""The node's publishers: each output is made only while someone subscribes to it."""

from __future__ import annotations

from typing import Any, TYPE_CHECKING

from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.static_mask import StaticMask
from diffseg_ros.ros.detections import label_info, vision_messages
from diffseg_ros.ros.messages import FrameMessages, header_of, OUTPUT_TYPES
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

if TYPE_CHECKING:
    from diffseg_ros.types import Result

_RELIABLE_ALWAYS = ('markers', 'detections', 'detections_3d')
_RELIABILITY = {'best_effort': ReliabilityPolicy.BEST_EFFORT,
                'reliable': ReliabilityPolicy.RELIABLE}


def sensor_qos(depth: int) -> QoSProfile:
    """Return the profile of sensor data with another queue depth."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def depth_encoding_of(message: Any) -> str:
    """Return '16UC1' or '32FC1', as a depth image came; None and all else are 32FC1."""
    said = str(getattr(message, 'encoding', '') or getattr(message, 'format', ''))
    return '16UC1' if said.startswith(('16UC1', 'mono16')) else '32FC1'


class Outputs:
    """Publishers of everything a result is turned into."""

    def __init__(self, node: LifecycleNode, encoder: LabelEncoder, config: NodeConfig) -> None:
        """
        Create the publishers under `~/`, with QoS overrides from parameters.

        Raises
        ------
        DiffsegError
            The static mask cannot be used.

        """
        self._node = node
        self.encoder = encoder
        self._mask = StaticMask.from_file(config.static_mask)
        self._points_colour = config.points_colour
        self._cloud = PointCloud2()
        self._publishers = {name: self._publisher(name, kind, config)
                            for name, kind in OUTPUT_TYPES.items()
                            if name != 'labels/compressed' or encoder.encoding != '32SC1'}
        vision = vision_messages()
        self._label_info = None if vision is None else node.create_lifecycle_publisher(
            vision.LabelInfo, '~/label_info',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def _publisher(self, name: str, kind: Any, config: NodeConfig) -> Any:
        # A transport hangs on its image's topic, wherever that is remapped to.
        base, _, transport = name.partition('/')
        topic = f'~/{base}'
        if transport:
            topic = f'{self._node.resolve_topic_name(topic)}/{transport}'
        reliability = 'reliable' if name in _RELIABLE_ALWAYS else config.output_reliability
        qos = QoSProfile(depth=config.output_queue, reliability=_RELIABILITY[reliability])
        return self._node.create_lifecycle_publisher(
            kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def announce(self, stamp: int) -> None:
        """Publish, for everyone who comes, what the label values mean; the node is active."""
        if self._label_info is not None:
            self._label_info.publish(label_info(header_of(stamp, ''), vision_messages()))

    def wanted(self) -> set[str]:
        """Return the names of the outputs that have subscribers."""
        return {name for name, publisher in self._publishers.items()
                if publisher.get_subscription_count()}

    def publish(self, result: Result, wanted: set[str], config: PipelineConfig,
                depth_encoding: str = '32FC1') -> None:
        """
        Make and publish the wanted outputs that the frame has data for.

        An output that fails does not keep the others back; the first error is raised at the end.

        Parameters
        ----------
        result
            What the pipeline found; the static mask is taken out of it first.
        wanted
            Names of outputs.
        config
            Which depth becomes points, and what is removed.
        depth_encoding
            How the depth came in: '16UC1' or '32FC1'.

        """
        excluded = None
        if self._mask is not None:
            excluded = self._mask.at(*result.labels.shape)
            result = self._mask.on_result(result)
        makers = FrameMessages(
            result, self.encoder, config, points_colour=self._points_colour,
            depth_encoding=depth_encoding, excluded=excluded, reuse=self._cloud).makers()
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
        if self._label_info is not None:
            self._node.destroy_lifecycle_publisher(self._label_info)
        self._publishers, self._label_info = {}, None
