"""The worker thread: every frame from its messages to the published outputs."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import TYPE_CHECKING

from diffseg_ros.config import PipelineConfig
from diffseg_ros.error_text import describe_error, without_numbers
from diffseg_ros.gpu_memory import gpu_memory, is_out_of_gpu_memory, release_gpu_memory
from diffseg_ros.ros.clicks import Click, Clicks
from diffseg_ros.ros.counters import Counters, Percentiles, RateMeter
from diffseg_ros.ros.frame_converter import depth_encoding, FrameConverter, NoCloud
from diffseg_ros.ros.outputs.target import target_state
from diffseg_ros.ros.publishers import OutputPublishers
from diffseg_ros.ros.status import ProcessingStatus
from diffseg_ros.ros.synchronizer import FrameSynchronizer, SyncedMessages

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.types import Result, Target

_FRAMES_BEFORE_WARNING = 3


class FrameProcessor:
    """
    Runs the newest frame through the pipeline; each is counted as processed or failed.

    `info` and `warn` log one line; `clock` returns now in nanoseconds, on the clock of the stamps.
    """

    def __init__(self, pipeline: Pipeline, config: PipelineConfig,
                 synchronizer: FrameSynchronizer, converter: FrameConverter,
                 publishers: OutputPublishers, counters: Counters, *,
                 info: Callable[[str], None], warn: Callable[[str], None],
                 clock: Callable[[], int]) -> None:
        self.pipeline = pipeline
        self.publishers = publishers
        self.motion, self.ranges = converter.motion, converter.ranges
        self._config = config
        self._synchronizer = synchronizer
        self._converter = converter
        self._counters = counters
        self._clock = clock
        self._warn = warn
        self._cloud_warnings = _CloudWarnings(warn)
        self._failure = self._last_failure = ''
        self._live_tracks = 0
        self._clicks = Clicks(converter.motion, info, warn)
        self._target: Target | None = None
        self._milliseconds = Percentiles()
        self._output_rate = RateMeter()
        self._thread: threading.Thread | None = None
        self._lock, self._pipeline_lock = threading.Lock(), threading.Lock()
        self._next_config: PipelineConfig | None = None
        self._epoch = 0
        self._busy_since: float | None = None

    def start(self) -> None:
        """Accept messages and begin to process."""
        self._synchronizer.start()
        self._thread = threading.Thread(target=self._run, name='diffseg_worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Accept no more messages and wait until the current frame is finished."""
        self._synchronizer.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self.pipeline.finish()

    def publish_vocabulary(self) -> None:
        """Publish the classes of the vocabulary; log the words that the model does not know."""
        self.publishers.publish_label_info(self._clock(), self._config.vocabulary)
        if words := self._naming.get('naming_words_unknown'):
            self._warn(f'naming model {self._config.naming.model} does not know: {words}')

    def configure(self, config: PipelineConfig) -> None:
        """Apply changed settings before the next frame."""
        with self._lock:
            self._next_config = config

    def save(self, path: str) -> int:
        """Save the pipeline's memory between two frames; return the number of tracks."""
        with self._pipeline_lock:
            return self.pipeline.save(path)

    def load(self, path: str) -> int:
        """Load a memory between two frames; return the number of tracks."""
        with self._pipeline_lock:
            # An epoch that waits to begin would forget what is loaded.
            self._apply_changes(self._synchronizer.epoch)
            count = self.pipeline.load(path)
            self._forget_target()
            return count

    def click(self, click: Click) -> None:
        """Follow what was clicked on, between two frames: now, or after the one in work."""
        self._clicks.add(click)
        self._answer_clicks()

    def clear_target(self) -> tuple[int, ...]:
        """Follow nothing from now on; return the ids that were followed."""
        with self._pipeline_lock:
            ids = self._target.ids if self._target is not None else ()
            self.pipeline.unfollow()
            self._target = None
            self.publishers.publish_target_state(None)
            return ids

    def status(self) -> ProcessingStatus:
        """Return how processing goes."""
        since, depth = self._busy_since, self._depth
        return ProcessingStatus(
            failure=self._failure, naming_failure=self._naming.get('naming_failure', ''),
            depth_failure=depth.get('failure') or depth.get('missing', ''),
            no_cloud_reason=self._cloud_warnings.reason,
            unencodable=self.publishers.encoder.unencodable, output_rate=self._output_rate.rate,
            busy_seconds=0.0 if since is None else time.monotonic() - since)

    @property
    def _naming(self) -> dict[str, str]:
        return self.pipeline.naming if self._config.naming.model else {}

    @property
    def _depth(self) -> dict[str, str]:
        if not self._config.depth.model:
            return {}
        sparse = {'sparse': self.ranges.problem} if self.ranges else {}
        return self.pipeline.depth | sparse

    def diagnostics(self) -> dict[str, str]:
        """Return values for /diagnostics by key."""
        motion, device = self.motion, str(self.pipeline.backbone.device)
        values = {
            'output_rate_hz': f'{self._output_rate.rate:.2f}', **self.pipeline.model,
            'tracks': str(self.pipeline.track_count),
            'tracks_live': str(self._live_tracks),
            'camera_motion': motion.source or f'none: {motion.no_pose_reason}'.rstrip(': '),
            'target_state': target_state(self._target),
            'target_ids': ' '.join(map(str, self._target.ids if self._target else ())),
            'unencodable_ids': str(self.publishers.encoder.unencodable),
            'last_failure': self._last_failure, **gpu_memory(device), **self._naming,
            **{f'depth.{key}': value for key, value in self._depth.items()},
            **(self.pipeline.memory if self._config.memory.file else {})}
        for name, summary in self._milliseconds.summary().items():
            values |= {f'{name}.{key}_ms': f'{value:.1f}' for key, value in summary.items()}
        return values

    def _run(self) -> None:
        while (messages := self._synchronizer.take()) is not None:
            self._busy_since = time.monotonic()
            try:
                with self._pipeline_lock:
                    self._process(messages)
            except Exception as error:
                self._report_failure(error)
                self._counters.add('failed')
            else:
                self._failure = ''
                self._output_rate.tick()
                self._counters.add('processed')
            self._busy_since = None
            self._answer_clicks()

    def _answer_clicks(self) -> None:
        """Answer the clicks that wait, unless a frame is in work: then its end does."""
        if not self._pipeline_lock.acquire(blocking=False):
            return
        try:
            target = self._clicks.answer(self.pipeline)
            if target is not None:
                self._target = target
                self.publishers.publish_target_state(target)
        finally:
            self._pipeline_lock.release()

    def _process(self, messages: SyncedMessages) -> None:
        start = time.perf_counter()
        self._apply_changes(messages.epoch)
        frame, no_cloud = self._converter.convert(messages)
        if not self._depth:
            self._cloud_warnings.update(str(no_cloud))
        converted = time.perf_counter()
        result = self.pipeline.process(frame)
        if depth := self._depth:
            self._cloud_warnings.update(str(_with_predicted(
                no_cloud, result, depth, in_points=self._config.depth.in_points)))
        self._live_tracks, self._target = len(result.tracks), result.target
        self._clicks.remember(result)
        finished = time.perf_counter()
        self.publishers.publish(result, messages.outputs, self._config,
                                depth_encoding(messages.depth))
        published = time.perf_counter()
        self._milliseconds.add({
            'latency.decode': (converted - start) * 1e3,
            **{f'latency.{stage}': value for stage, value in result.latency_ms.items()
               if stage != 'total'},
            'latency.publish': (published - finished) * 1e3,
            'latency.total': (published - start) * 1e3,
            'age_at_publish': (self._clock() - messages.stamp) / 1e6,
            'time_in_node': (time.monotonic() - messages.arrival) * 1e3})

    def _apply_changes(self, epoch: int) -> None:
        """Apply new settings and begin a new epoch, which is tried again where it raises."""
        with self._lock:
            config, self._next_config = self._next_config, None
        if config is not None:
            self.pipeline.configure(config)
            before, self._config = self._config, config
            if config.vocabulary != before.vocabulary:
                self.publish_vocabulary()
            self.publishers.encoder.max_misses = config.tracking.max_misses
        if epoch != self._epoch:
            self.pipeline.reset()
            self._epoch = epoch
            self._forget_target()

    def _forget_target(self) -> None:
        """Forget what was followed, and the frames that were clicked on, in an earlier epoch."""
        self._clicks.forget()
        if self._target is not None:
            self._target = None
            self.publishers.publish_target_state(None)

    def _report_failure(self, error: Exception) -> None:
        reason = describe_error(error)
        if is_out_of_gpu_memory(error):
            release_gpu_memory()
            self._counters.add('fault.gpu_out_of_memory')
        if reason != self._failure:
            self._warn(f'image not processed: {reason}')
        self._failure = self._last_failure = reason


def _with_predicted(reasons: NoCloud, result: Result, depth: dict[str, str], *,
                    in_points: bool) -> NoCloud:
    """Return why there is no cloud where a model predicts depth, of which `depth` reports."""
    if result.frame.depth is None:
        predicted = '; '.join(filter(None, (depth['missing'], depth.get('sparse'))))
    elif in_points or result.frame.measured.depth is not None:
        return reasons._replace(depth='')
    else:
        predicted = 'predicted depth is in ~/depth only: depth.in_points is off'
    return reasons._replace(depth=', and '.join(filter(None, (reasons.depth, predicted))))


class _CloudWarnings:
    """Logs each reason for frames without clouds once, and again after clouds were back."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.reason = ''
        self._warn = warn
        self._without_cloud = self._same_reason = 0
        self._logged: set[str] = set()

    def update(self, reason: str) -> None:
        """Take the next frame's reason, '' when it has a cloud; three in a row are logged."""
        kind = without_numbers(reason)
        self._without_cloud = self._without_cloud + 1 if reason else 0
        self._same_reason = self._same_reason + 1 if kind == without_numbers(self.reason) else 1
        self.reason = reason
        if not reason:
            self._logged.clear()
            return
        frames = self._same_reason if self._logged else self._without_cloud
        if kind not in self._logged and frames >= _FRAMES_BEFORE_WARNING:
            self._logged.add(kind)
            self._warn(f'masks go on without clouds: {reason}')
