"""The lifecycle node: camera topics in, labels and clouds out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import time
from typing import Any, TYPE_CHECKING

from diffseg_ros.config import PipelineConfig
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.gpu_memory import release_gpu_memory
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.ros.camera_motion import CameraMotion
from diffseg_ros.ros.counters import Counters, RateMeter
from diffseg_ros.ros.diagnostics import Diagnostics, process_memory
from diffseg_ros.ros.frame_converter import FrameConverter
from diffseg_ros.ros.parameters import Parameters, unknown_parameters
from diffseg_ros.ros.processor import FrameProcessor
from diffseg_ros.ros.publishers import OutputPublishers
from diffseg_ros.ros.sparse_ranges import SparseRanges
from diffseg_ros.ros.status import NodeStatus, ProcessingStatus, SILENCE_SECONDS
from diffseg_ros.ros.subscriptions import (
    create_subscriptions,
    input_topics,
    namesake,
    subscribe_to_clicks,
    why_no_images,
)
from diffseg_ros.ros.synchronizer import FrameSynchronizer
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_REQUESTS = 10
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def load_pipeline(config: PipelineConfig, first_id: int) -> Pipeline:
    """Load the pipeline; PyTorch is imported only now, while the node already answers."""
    from diffseg_ros.pipeline import Pipeline

    return Pipeline(config, first_id=first_id, background=True)


PipelineFactory = Callable[[PipelineConfig, int], 'Pipeline']


class SegmentationNode(LifecycleNode):
    """
    Segments the newest image whenever the last one is finished.

    Unconfigured it has parameters, services and diagnostics; configuring loads the model and
    advertises the outputs; activating subscribes to the camera and starts the worker.

    Raises
    ------
    DiffsegError
        A parameter given at the start is wrong.

    """

    def __init__(self, *, pipeline_factory: PipelineFactory = load_pipeline,
                 **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        self._pipeline_factory = pipeline_factory
        self._state = 'unconfigured'
        self._step = self._step_error = ''
        self._enabled = True
        self._no_frame_id = False
        self._next_id = 1
        self._active_since = time.monotonic()
        self._counters = Counters()
        self._input_rate = RateMeter()
        self._synchronizer = FrameSynchronizer(self._counters)
        self._inputs: list[Subscription] = []
        self._processor: FrameProcessor | None = None
        self._settings = Parameters(self, self._apply_parameters)
        self._synchronizer.configure(self._settings.node)
        self._topics = input_topics(self, self._settings.node)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.create_service(Trigger, '~/save', self._on_save)
        self.create_service(Trigger, '~/load', self._on_load)
        self.create_service(Trigger, '~/clear_target', self._on_clear_target)
        self._find = self.create_subscription(String, '~/find', self._on_find, _REQUESTS)
        self._diagnostics = Diagnostics(self, self._settings.node.diagnostics_period,
                                        self._counters, self._collect_status)
        if unknown := unknown_parameters(self):
            self.get_logger().warning(f'unknown parameters are ignored: {", ".join(unknown)}')

    def start(self) -> None:
        """Configure and activate, if the parameter `autostart` says so."""
        if self._settings.node.autostart and self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def finish(self) -> None:
        """Shut down cleanly from any state; the final counters are published."""
        if self._state != 'finalized':
            self.trigger_shutdown()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and advertise the outputs."""
        return self._transition('configuring', 'inactive', self._configure, 'loading')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to process."""
        super().on_activate(state)
        return self._transition('activating', 'active', self._activate, 'activating')

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the current frame and unsubscribe."""
        done = self._transition('deactivating', 'inactive', self._deactivate)
        super().on_deactivate(state)
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and the publishers."""
        return self._transition('cleaning up', 'unconfigured', self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        return self._transition('shutting down', 'finalized', self._shut_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured, so that configuring can be tried again."""
        return self._transition('cleaning up', 'unconfigured', self._shut_down)

    def _transition(self, during: str, after: str, action: Callable[[], None],
                    step: str = '') -> TransitionCallbackReturn:
        """Run a transition and report its errors, which rclpy would swallow."""
        before, self._state = self._state, during
        self._step, self._step_error = step, ''
        try:
            action()
        except Exception as error:
            self._state = before
            self._step_error = describe_error(error) if self._step else ''
            self.get_logger().error(f'{during} failed: {describe_error(error)}')
            release_gpu_memory()
            self._diagnostics.publish()
            return _FAILURE
        self._state = after
        self._diagnostics.publish(flush=after == 'finalized')
        return _SUCCESS

    def _configure(self) -> None:
        node, config = self._settings.node, self._settings.pipeline
        with self._diagnostics.heartbeat():
            pipeline = self._pipeline_factory(config, self._next_id)
        self.get_logger().info('model {model} on {device}, of the kind {model_kind}: '
                               '{model_settings}'.format(**pipeline.model))
        self._step = 'configuring'
        if config.memory.file:
            self.get_logger().info(pipeline.load_at_start(config.memory.file))
        self._topics = input_topics(self, node)
        motion = CameraMotion(tf=node.camera_motion in ('auto', 'tf'),
                              odometry=node.camera_motion in ('auto', 'odometry'),
                              base_to_camera=node.base_to_camera)
        topic = config.depth.sparse_topic if config.depth.model else ''
        ranges = SparseRanges(topic, motion, self._counters) if topic else None
        converter = FrameConverter(self._synchronizer, self._topics, self._counters, motion,
                                   node.depth_scale, ranges)
        publishers = OutputPublishers(self, node, config.tracking.max_misses)
        self._processor = FrameProcessor(
            pipeline, config, self._synchronizer, converter, publishers, self._counters,
            info=lambda line: self.get_logger().info(line),
            warn=self.get_logger().warning, clock=self._now)
        self._settings.locked = True

    def _activate(self) -> None:
        assert self._processor is not None
        self._active_since = time.monotonic()
        try:
            self._processor.publish_vocabulary()
            self._processor.start()
            self._inputs = create_subscriptions(
                self, self._settings.node, self._topics, self._on_image, self._synchronizer,
                self._processor.motion)
            self._inputs += subscribe_to_clicks(self, self._processor.click)
            if self._processor.ranges:
                self._processor.ranges.start(self)
        except Exception:
            self._deactivate()
            raise

    def _deactivate(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._processor is not None:
            if self._processor.ranges:
                self._processor.ranges.stop(self)
            self._processor.stop()

    def _clean_up(self) -> None:
        if self._processor is not None:
            self._save_at_end(self._processor.pipeline)
            self._next_id = self._processor.pipeline.next_id
            self._processor.publishers.destroy()
            self._processor = None
        release_gpu_memory()
        self._settings.locked = False

    def _shut_down(self) -> None:
        self._deactivate()
        self._clean_up()

    def _on_image(self, message: Image) -> None:
        self._input_rate.tick()
        self._no_frame_id = not message.header.frame_id
        self._synchronizer.add_image(message, self._subscribed_outputs(), enabled=self._enabled)

    def _subscribed_outputs(self) -> set[str]:
        if self._processor is None:
            return set()
        return self._processor.publishers.subscribed_outputs()

    def _apply_parameters(self) -> None:
        self._synchronizer.configure(self._settings.node)
        self._diagnostics.period = self._settings.node.diagnostics_period
        if self._processor is not None:
            self._processor.configure(self._settings.pipeline)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._state == 'active'
        if response.success:
            self._synchronizer.restart()
        response.message = (f'epoch {self._synchronizer.epoch} begins with the next image'
                            if response.success else f'the node is {self._state}, not active')
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    def _on_find(self, message: String) -> None:
        """Look for words from the next frame on; nothing but '' ends it."""
        try:
            if self._processor is None:
                raise DiffsegError(f'the node is {self._state}; configure it first')
            self._processor.pipeline.look_for(message.data)
            self.get_logger().info(f'looking for {message.data!r}')
        except Exception as error:
            self.get_logger().warning(f'~/find {message.data!r}: {describe_error(error)}')

    def _on_save(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._use_memory(response, FrameProcessor.save, 'saved')

    def _on_load(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._use_memory(response, FrameProcessor.load, 'loaded')

    def _on_clear_target(self, request: Trigger.Request,
                         response: Trigger.Response) -> Trigger.Response:
        response.success = self._processor is not None
        if self._processor is None:
            response.message = f'the node is {self._state}; configure it first'
            return response
        ids = self._processor.clear_target()
        response.message = (f'segment {", ".join(map(str, ids))} is followed no longer' if ids
                            else 'nothing was followed')
        return response

    def _use_memory(self, response: Trigger.Response, action: Callable[[FrameProcessor, str], int],
                    done: str) -> Trigger.Response:
        """Save or load, after the frame in work, and say in one line what came of it."""
        file = self._settings.pipeline.memory.file
        try:
            if not file:
                raise DiffsegError('parameter memory.file: empty; set it to the path of a file')
            if self._processor is None:
                raise DiffsegError(f'the node is {self._state}; configure it first')
            count = action(self._processor, file)
            response.success = True
            response.message = f'memory file {file}: {count} tracks {done}'
        except Exception as error:
            response.success, response.message = False, describe_error(error)
        return response

    def _save_at_end(self, pipeline: Pipeline) -> None:
        if file := self._settings.pipeline.memory.file:
            try:
                self.get_logger().info(pipeline.save_at_end(file))
            except Exception as error:
                self.get_logger().error(f'memory not saved: {describe_error(error)}')

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _collect_status(self, totals: Counter[str],
                        refused: str) -> tuple[NodeStatus, dict[str, str]]:
        node, processor = self._settings.node, self._processor
        subscribed = self._subscribed_outputs()
        since_image = self._input_rate.seconds_since_last
        waited = time.monotonic() - self._active_since
        waited = waited if since_image is None else min(waited, since_image)
        status = NodeStatus(
            state=self._state, failed_step=self._step, step_error=self._step_error,
            enabled=self._enabled, image_topic=self._topics.image, images=totals['received'],
            no_images_reason=(why_no_images(self, self._topics.image, self._inputs)
                              if waited > SILENCE_SECONDS else ''),
            seconds_without_image=waited, refused=refused,
            unstable_stamps=self._synchronizer.unstable_stamps,
            no_frame_id=self._no_frame_id, namesake=namesake(self), subscribed=bool(subscribed),
            points_subscribed='points' in subscribed, labels_encoding=node.labels_encoding,
            label_pool_size=node.label_pool_size, input_rate=self._input_rate.rate,
            processing=ProcessingStatus() if processor is None else processor.status())
        inputs = (item.topic_name for item in (*self._inputs, self._find)
                  if item.get_publisher_count())
        values = {'state': self._state, 'epoch': str(self._synchronizer.epoch),
                  'inputs': ' '.join(inputs), 'outputs': ' '.join(sorted(subscribed)),
                  'input_rate_hz': f'{status.input_rate:.2f}', **process_memory()}
        return status, values | ({} if processor is None else processor.diagnostics())
