"""One frame from its messages to the published outputs; runs on the worker's thread."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import TYPE_CHECKING

from diffseg_ros.config import PipelineConfig
from diffseg_ros.error_text import describe_error, out_of_gpu_memory, without_numbers
from diffseg_ros.ros.converter import Assembler
from diffseg_ros.ros.counters import Counters
from diffseg_ros.ros.meters import Percentiles, RateMeter
from diffseg_ros.ros.motion import CameraMotion
from diffseg_ros.ros.outputs import depth_encoding_of, Outputs
from diffseg_ros.ros.synchronizer import Bundle

if TYPE_CHECKING:
    from diffseg_ros.pipeline import Pipeline

_FRAMES_BEFORE_WARNING = 3


class FrameProcessor:
    """
    Takes every bundle to exactly one end: processed, failed or idle.

    Attributes
    ----------
    failure
        Why the last frame failed, '' when it did not.
    last_failure
        The newest failure there was.
    cloud_trouble
        Why the last frame gave no cloud, '' when it did.
    live_tracks
        Tracks alive after the last frame, in view or not.

    """

    def __init__(self, pipeline: Pipeline, assembler: Assembler, outputs: Outputs,
                 config: PipelineConfig, counters: Counters, *,
                 warn: Callable[[str], None], clock: Callable[[], int]) -> None:
        """
        Put the parts together.

        Parameters
        ----------
        pipeline
            Loaded with `config`.
        assembler
            Makes frames of bundles.
        outputs
            Where results go.
        config
            Settings in force until `configure` brings others.
        counters
            Where the fate of each image is counted.
        warn
            Logs one line.
        clock
            Now in nanoseconds, on the clock of the stamps.

        """
        self.pipeline = pipeline
        self.failure = self.last_failure = self.cloud_trouble = ''
        self.live_tracks = 0
        self.milliseconds = Percentiles()
        self.output_rate = RateMeter()
        self._assembler = assembler
        self._outputs = outputs
        self._counters = counters
        self._warn = warn
        self._clock = clock
        self._config = config
        self._lock = threading.Lock()
        self._next_config: PipelineConfig | None = None
        self._epoch = self._troubled = self._alike = 0
        self._warned: set[str] = set()
        self._busy_since: float | None = None

    def configure(self, config: PipelineConfig) -> None:
        """Apply changed settings before the next frame."""
        with self._lock:
            self._next_config = config

    @property
    def motion(self) -> CameraMotion:
        """Where the poses of the frames come from."""
        return self._assembler.motion

    @property
    def busy_seconds(self) -> float:
        """How long the frame in hand has been worked on, 0 without one."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def process(self, bundle: Bundle) -> None:
        """Process a bundle; errors are counted and kept in words, never raised."""
        self._busy_since = time.monotonic()
        try:
            wanted = self._outputs.wanted()
            if wanted:
                self._publish(bundle, wanted)
        except Exception as error:
            self._fail(error)
            self._counters.failed()
        else:
            if not wanted:
                self._counters.idle()
                return
            self.failure = ''
            self.output_rate.tick()
            self._counters.processed()
        finally:
            self._busy_since = None

    def _publish(self, bundle: Bundle, wanted: set[str]) -> None:
        start = time.perf_counter()
        self._prepare(bundle.epoch)
        frame, trouble = self._assembler.assemble(bundle)
        self._note_trouble(trouble)
        decoded = time.perf_counter()
        result = self.pipeline.process(frame)
        self.live_tracks = len(getattr(result, 'tracks', ()))
        finished = time.perf_counter()
        self._outputs.publish(result, wanted, self._config,
                              depth_encoding_of(bundle.depth))
        published = time.perf_counter()
        self.milliseconds.add({
            'latency.decode': (decoded - start) * 1e3,
            **{f'latency.{stage}': value for stage, value in result.latency_ms.items()
               if stage != 'total'},
            'latency.publish': (published - finished) * 1e3,
            'latency.total': (published - start) * 1e3,
            'age_at_publish': (self._clock() - bundle.stamp) / 1e6,
            'time_in_node': (time.monotonic() - bundle.arrival) * 1e3})

    def _prepare(self, epoch: int) -> None:
        with self._lock:
            config, self._next_config = self._next_config, None
        if config is not None:
            self.pipeline.configure(config)
            self._config = config
            self._outputs.encoder.max_misses = config.tracking.max_misses
        if epoch != self._epoch:
            self.pipeline.reset()
            self._epoch = epoch

    def _note_trouble(self, trouble: str) -> None:
        """Log each reason once while clouds stay away, again only after they were back."""
        kind, before = without_numbers(trouble), without_numbers(self.cloud_trouble)
        self._troubled = self._troubled + 1 if trouble else 0
        self._alike = self._alike + 1 if kind == before else 1
        self.cloud_trouble = trouble
        if not trouble:
            self._warned.clear()
        elif kind not in self._warned and _FRAMES_BEFORE_WARNING <= (
                self._alike if self._warned else self._troubled):
            self._warned.add(kind)
            self._warn(f'masks go on without clouds: {trouble}')

    def _fail(self, error: Exception) -> None:
        reason = describe_error(error)
        if out_of_gpu_memory(error):
            self._counters.fault('gpu_out_of_memory')
        if reason != self.failure:
            self._warn(f'image not processed: {reason}')
        self.failure = self.last_failure = reason
