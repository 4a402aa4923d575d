"""The lifecycle node: camera topics in, labels and clouds out."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any, TYPE_CHECKING

from diffseg_ros.config import PipelineConfig
from diffseg_ros.error_text import describe_error, out_of_gpu_memory, release_gpu_memory
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.ros.converter import Assembler
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.diagnostics import Diagnostics, Report, report_of
from diffseg_ros.ros.inputs import (
    create_motion_subscriptions,
    create_subscriptions,
    input_topics,
    why_silent,
)
from diffseg_ros.ros.meters import RateMeter
from diffseg_ros.ros.motion import CameraMotion
from diffseg_ros.ros.outputs import Outputs
from diffseg_ros.ros.parameters import Parameters, unknown_overrides
from diffseg_ros.ros.processor import FrameProcessor
from diffseg_ros.ros.status import SILENCE_SECONDS, Situation
from diffseg_ros.ros.synchronizer import Intake
from diffseg_ros.ros.worker import Worker
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def load_pipeline(config: PipelineConfig, first_id: int) -> Pipeline:
    """Load the pipeline; its libraries are imported here, once the node already answers."""
    from diffseg_ros.pipeline import Pipeline

    return Pipeline(config, first_id=first_id)


PipelineFactory = Callable[[PipelineConfig, int], 'Pipeline']


class SegmentationNode(LifecycleNode):
    """Segments the newest image whenever it is done with the last one."""

    def __init__(self, *, pipeline_factory: PipelineFactory = load_pipeline,
                 **options: Any) -> None:
        """
        Declare parameters and services; nothing is loaded before `on_configure`.

        Raises
        ------
        DiffsegError
            A parameter given at the start is wrong.

        """
        super().__init__(NODE_NAME, **options)
        self._pipeline_factory = pipeline_factory
        self._state = 'unconfigured'
        self._step = self._step_error = ''
        self._enabled = True
        self._next_id = 1
        self._active_since = time.monotonic()
        self._subscriptions_in: list[Subscription] = []
        self._processor: FrameProcessor | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._counters = Counters()
        self._input_rate = RateMeter()
        self.parameters = Parameters(self, self._apply_parameters)
        self._topics = input_topics(self, self.parameters.node)
        self._intake = Intake(self._counters)
        self._tune_intake()
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self._diagnostics = Diagnostics(self, self.parameters.node.diagnostics_period, self._look,
                                        self._counters.totals)
        if unknown := unknown_overrides(self):
            self.get_logger().warning(f'unknown parameters are ignored: {", ".join(unknown)}')

    def start(self) -> None:
        """Configure and activate, if the parameter `autostart` says so."""
        if self.parameters.node.autostart and self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def finish(self) -> None:
        """Shut down in order, whatever the state; the last counters go out."""
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
        """Finish the frame in hand and unsubscribe."""
        done = self._transition('deactivating', 'inactive', self._deactivate)
        super().on_deactivate(state)
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the model and the publishers."""
        return self._transition('cleaning up', 'unconfigured', self._clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        return self._transition('shutting down', 'finalized', self._shut_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured, so that configuring can be tried again."""
        return self._transition('cleaning up', 'unconfigured', self._shut_down)

    def _transition(self, during: str, after: str, act: Callable[[], None],
                    step: str = '') -> TransitionCallbackReturn:
        """Run a transition; rclpy would swallow its errors without a line."""
        before, self._state = self._state, during
        self._step, self._step_error = step, ''
        try:
            act()
        except Exception as error:
            self._state = before
            self._step_error = describe_error(error) if self._step else ''
            out_of_gpu_memory(error)
            self.get_logger().error(f'{during} failed: {describe_error(error)}')
            self._diagnostics.publish()
            return _FAILURE
        self._state = after
        self._diagnostics.publish(flush=after == 'finalized')
        return _SUCCESS

    def _configure(self) -> None:
        node, config = self.parameters.node, self.parameters.pipeline
        with self._diagnostics.beating():
            pipeline = self._pipeline_factory(config, self._next_id)
        self._step = 'configuring'
        self._topics = input_topics(self, node)
        encoder = LabelEncoder.from_config(node, config.tracking.max_misses)
        self._outputs = Outputs(self, encoder, node)
        motion = CameraMotion(tf=node.camera_motion in ('auto', 'tf'),
                              odometry=node.camera_motion in ('auto', 'odometry'),
                              base_to_camera=node.base_to_camera)
        self._processor = FrameProcessor(
            pipeline, Assembler(self._intake, self._topics, self._counters, motion),
            self._outputs, config, self._counters, warn=self.get_logger().warning, clock=self._now)
        self._worker = Worker(self._intake, self._processor.process)
        self.parameters.locked = True

    def _activate(self) -> None:
        try:
            self._begin()
        except Exception:
            self._deactivate()
            raise

    def _begin(self) -> None:
        assert self._worker is not None and self._processor is not None
        self._active_since = time.monotonic()
        if self._outputs is not None:
            self._outputs.announce(self._now())
        self._worker.start()
        self._subscriptions_in = create_subscriptions(
            self, self.parameters.node, self._topics, self._on_image, self._intake)
        self._subscriptions_in += create_motion_subscriptions(
            self, self.parameters.node, self._processor.motion)

    def _deactivate(self) -> None:
        for subscription in self._subscriptions_in:
            self.destroy_subscription(subscription)
        self._subscriptions_in = []
        if self._worker is not None:
            self._worker.stop()

    def _clean_up(self) -> None:
        if self._processor is not None:
            self._next_id = self._processor.pipeline.next_id
        if self._outputs is not None:
            self._outputs.destroy()
        self._processor = self._outputs = self._worker = None
        release_gpu_memory()
        self.parameters.locked = False

    def _shut_down(self) -> None:
        self._deactivate()
        self._clean_up()

    def _on_image(self, message: Image) -> None:
        self._input_rate.tick()
        wanted = self._outputs is not None and bool(self._outputs.wanted())
        self._intake.add_image(message, wanted=wanted, enabled=self._enabled)

    def _tune_intake(self) -> None:
        node = self.parameters.node
        self._intake.timeout = node.sync_timeout
        self._intake.slop = round(node.sync_slop * 1e9)
        self._intake.period = round(1e9 / node.max_rate) if node.max_rate else 0

    def _apply_parameters(self) -> None:
        self._tune_intake()
        self._diagnostics.period = self.parameters.node.diagnostics_period
        if self._processor is not None:
            self._processor.configure(self.parameters.pipeline)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._state == 'active'
        if response.success:
            self._intake.restart()
        response.message = (f'epoch {self._intake.epoch} begins with the next image'
                            if response.success else f'the node is {self._state}, not active')
        return response

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    def _now(self) -> int:
        return self.get_clock().now().nanoseconds

    def _look(self) -> Report:
        totals = self._counters.totals()
        wanted = self._outputs.wanted() if self._outputs is not None else set()
        since_image = self._input_rate.seconds_since_last
        waited = time.monotonic() - self._active_since
        waited = waited if since_image is None else min(waited, since_image)
        situation = Situation(
            state=self._state, failed_step=self._step, step_error=self._step_error,
            enabled=self._enabled, image_topic=self._topics.image, restless=self._intake.restless,
            silence=(why_silent(self, self._topics.image, self._subscriptions_in)
                     if waited > SILENCE_SECONDS or not totals.received else ''),
            images=totals.received, seconds_waited=waited,
            subscribed=bool(wanted), points_subscribed='points' in wanted,
            labels_encoding=self.parameters.node.labels_encoding,
            label_pool_size=self.parameters.node.label_pool_size,
            input_rate=self._input_rate.rate)
        return report_of(situation, totals, self._processor, self._outputs, self._intake.epoch)
