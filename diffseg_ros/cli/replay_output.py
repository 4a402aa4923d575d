"""The files that a replay writes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
import shutil
import sys
from types import TracebackType
from typing import Any

from diffseg_ros.cli.sequence_plots import NAMES as PLOT_NAMES
from diffseg_ros.cli.sequence_plots import SequencePlots
from diffseg_ros.config import PipelineConfig, RemovalConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud, reduced
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import write_ply
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Result
import numpy as np

_FOLDERS = ('labels', 'overlay', 'clouds')


class ReplayOutput:
    """
    Writes label images, overlays, clouds and the topics that the node would have published.

    The files of an earlier replay in the same folder are removed first, so that every file there
    belongs to this run.
    """

    def __init__(self, folder: Path, config: PipelineConfig, *, clouds_every: int,
                 bag: bool, plots: SequencePlots | None = None) -> None:
        """
        Check the folder; nothing is written yet.

        Parameters
        ----------
        folder
            Made where it is missing.
        config
            Settings of the clouds, of what is removed, and of the outputs.
        clouds_every
            Write the cloud of every Nth frame; 0 writes none.
        bag
            Whether to write output.mcap; it needs ROS messages.
        plots
            Is given every frame, or None.

        Raises
        ------
        DiffsegError
            The path is a file.

        """
        if folder.exists() and not folder.is_dir():
            raise DiffsegError(f'output {folder}: is a file; give a folder')
        self._folder = folder
        self._config = config
        self._clouds_every = clouds_every
        self._encoder = LabelEncoder()
        self._reusable: dict[str, Any] = {}
        self._topics = _create_recorder(folder / 'output.mcap', config) if bag else None
        self._plots = plots
        self._latencies = Latencies()
        self._without_cloud = 0
        self._unencodable = 0
        self.frames = 0
        self.clouds = 0

    def __enter__(self) -> ReplayOutput:
        """Clear and create the folders and open the bag."""
        for name in _FOLDERS:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir(parents=True)
        for name in ('report.json', 'output.mcap', *PLOT_NAMES):
            (self._folder / name).unlink(missing_ok=True)
        if self._topics is not None:
            self._topics.bag.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Finish the bag; without a single frame leave nothing behind."""
        if self._topics is not None:
            self._topics.bag.__exit__(kind, error, trace)
        if not self.frames:
            for name in _FOLDERS:
                shutil.rmtree(self._folder / name, ignore_errors=True)
            with suppress(OSError):
                self._folder.rmdir()

    def write(self, number: int, result: Result) -> None:
        """
        Write everything of one frame.

        Raises
        ------
        DiffsegError
            An output cannot be made of this frame, of which nothing is written then, or a file
            cannot be written.

        """
        context = OutputContext(result, self._encoder, self._config, reusable=self._reusable)
        self._unencodable += self._encoder.unencodable
        cloud_due = self._clouds_every > 0 and number % self._clouds_every == 0
        cloud = self._cloud(context) if cloud_due and context.has_points else None
        if self._topics is not None:
            self._topics.write(context)
        name = f'{number:06d}'
        write_image(self._folder / 'labels' / f'{name}.png', context.values)
        write_image(self._folder / 'overlay' / f'{name}.jpg', context.overlay)
        if cloud is not None:
            write_ply(self._folder / 'clouds' / f'{name}.ply', cloud)
        if self._plots is not None:
            self._plots.add(number, result.frame, result.labels)
        self._latencies.add(result.latency_ms)
        self.frames += 1
        self.clouds += cloud is not None
        self._without_cloud += cloud_due and cloud is None

    def report(self) -> dict[str, Any]:
        """Return what was written, and the latencies."""
        return {'frames': self.frames, 'clouds': self.clouds,
                'frames_without_cloud': self._without_cloud,
                'ids_without_value': self._unencodable,
                'latency_ms': self._latencies.report()}

    def draw_plots(self, title: str) -> None:
        """Write the plots of the whole replay, if there are to be any."""
        if self._plots is not None:
            self._plots.write(self._folder, title)

    def _cloud(self, context: OutputContext) -> LabelledCloud:
        """Return the points of ~/points; their labels are the values of the label image."""
        removed = context.removed_ids if self._config.removal.from_points else None
        cloud = reduced(labelled_cloud(context.frame, context.labels, self._config.cloud,
                                       exclude=removed or ()), self._config.cloud)
        return LabelledCloud(cloud.points, cloud.rgb,
                             self._encoder.values(cloud.labels).astype(np.int32))


class _TopicRecorder:
    """Writes the messages of all outputs into a bag; needs ROS messages."""

    def __init__(self, path: Path, config: PipelineConfig) -> None:
        from diffseg_ros.ros.outputs import available_outputs
        import rclpy.serialization  # noqa: F401

        left_out = {'labels/compressed'}
        if config.removal == RemovalConfig():
            left_out |= {'mask', 'depth_filtered'}
        self._outputs = [entry for entry in available_outputs().values()
                         if entry.name not in left_out]
        self.bag = BagWriter(path, overwrite=True, compressed=True)

    def write(self, context: OutputContext) -> None:
        """Record a frame; either all of its messages or none."""
        from diffseg_ros.ros.messages import type_name
        from diffseg_ros.ros.outputs import create_message
        from rclpy.serialization import serialize_message

        messages = {entry.name: create_message(entry, context) for entry in self._outputs}
        for name, message in messages.items():
            if message is not None:
                self.bag.write_raw(f'/{NODE_NAME}/{name}', type_name(type(message)),
                                   context.frame.stamp, serialize_message(message))


def _create_recorder(path: Path, config: PipelineConfig) -> _TopicRecorder | None:
    try:
        return _TopicRecorder(path, config)
    except ImportError as error:
        print(f'output.mcap is left out, as it needs rclpy and ROS messages ({error})',
              file=sys.stderr)
        return None
