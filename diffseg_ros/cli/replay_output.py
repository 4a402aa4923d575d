"""The files that a replay writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

from diffseg_ros.cli.compare_options import PAGES
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.cli.rerun_file import RerunFile
from diffseg_ros.cli.sequence_plots import NAMES as PLOT_NAMES
from diffseg_ros.cli.sequence_plots import SequencePlots
from diffseg_ros.config import PipelineConfig, RemovalConfig
from diffseg_ros.geometry.point_cloud import labelled_cloud, LabelledCloud, reduced
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.images import write_image
from diffseg_ros.io.ply import write_ply
from diffseg_ros.parameter_file import NODE_NAME
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.name_table import NameTable
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Result, Target, TargetState
import numpy as np

FILES = ('labels/*.png', 'overlay/*.jpg', 'clouds/*.ply', 'target/*.png', 'names.csv',
         'output.mcap', 'report.json', *PLOT_NAMES, *PAGES)
"""What a replay writes, as patterns of an `OutputFolder`."""


class ReplayOutput:
    """
    Writes label images, overlays, clouds and the topics that the node would have published.

    The cloud of every `clouds_every`th frame is written, none for 0. Without `recorder` there is
    no output.mcap, without `plots` there are none, and without `viewer` no file for one. names.csv
    is written where naming is on. `observe` is called with each frame that was written.
    """

    def __init__(self, folder: OutputFolder, config: PipelineConfig, *, clouds_every: int,
                 recorder: TopicRecorder | None, plots: SequencePlots | None = None,
                 viewer: RerunFile | None = None,
                 observe: Callable[[OutputContext], None] | None = None) -> None:
        self._output = folder
        self._folder = folder.path
        self._config = config
        self._clouds_every = clouds_every
        self._recorder = recorder
        self._plots = plots
        self._viewer = viewer
        self._observe = observe
        self._encoder = LabelEncoder()
        self._reusable: dict[str, Any] = {}
        self._names = NameTable(config.vocabulary) if config.vocabulary else None
        self._latencies = Latencies()
        self._predicted_shares: list[float] = []
        self._target = TargetCounts()
        self._counts = {'frames': 0, 'clouds': 0, 'frames_without_cloud': 0,
                        'ids_without_value': 0}

    @property
    def frames(self) -> int:
        """Number of frames written."""
        return self._counts['frames']

    def __enter__(self) -> ReplayOutput:
        """Open the bag."""
        if self._recorder is not None:
            self._recorder.bag.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Finish the bag."""
        if self._recorder is not None:
            self._recorder.bag.__exit__(kind, *exception)

    def write(self, number: int, result: Result) -> None:
        """
        Write everything of one frame.

        Raises
        ------
        DiffsegError
            An output cannot be made of this frame, of which nothing is written then.
        WriteError
            A file cannot be written.

        """
        context = OutputContext(result, self._encoder, self._config, reusable=self._reusable)
        cloud_due = self._clouds_every > 0 and number % self._clouds_every == 0
        cloud = self._cloud(context) if cloud_due and context.has_points else None
        if self._recorder is not None:
            self._recorder.write(context)
        name = f'{number:06d}'
        files = [self._folder / 'labels' / f'{name}.png', self._folder / 'overlay' / f'{name}.jpg']
        write_image(files[0], context.values)
        write_image(files[1], context.overlay)
        if cloud is not None:
            files.append(self._folder / 'clouds' / f'{name}.ply')
            write_ply(files[2], cloud)
        if result.target is not None:
            files.append(self._folder / 'target' / f'{name}.png')
            write_image(files[-1], context.target_mask.astype(np.uint8) * 255)
            self._target.add(result.target)
        self._output.record(*files)
        if self._plots is not None:
            self._plots.add(number, result)
        if self._viewer is not None:
            self._viewer.write(context, cloud)
        if self._names is not None:
            self._names.add(result.tracks)
        self._latencies.add(result.latency_ms)
        if context.has_points:
            self._predicted_shares.append(context.frame.predicted_share)
        self._counts['frames'] += 1
        self._counts['clouds'] += cloud is not None
        self._counts['frames_without_cloud'] += cloud_due and cloud is None
        self._counts['ids_without_value'] += self._encoder.unencodable
        if self._observe is not None:
            self._observe(context)

    def finish(self, title: str) -> dict[str, Any]:
        """
        Write the plots and the names of the whole replay.

        Return what was written, the latencies, and the names where naming is on.
        """
        if self._plots is not None:
            self._plots.write(self._folder, title)
        report = {**self._counts, **self._target.report(), 'latency_ms': self._latencies.report()}
        if self._config.depth.model:
            report['predicted_share'] = float(np.mean(self._predicted_shares or [0.0]))
        if self._names is not None:
            self._names.write(self._folder / 'names.csv')
            report['names'] = self._names.rows()
        return report

    def _cloud(self, context: OutputContext) -> LabelledCloud:
        """Return the points of ~/points; their labels are the values of the label image."""
        removed = context.removed_ids if self._config.removal.from_points else None
        cloud = reduced(labelled_cloud(context.frame, context.labels, self._config.cloud,
                                       exclude=removed or ()), self._config.cloud)
        return replace(cloud, labels=self._encoder.values(cloud.labels).astype(np.int32))


class TargetCounts:
    """In how many frames the target was tracked, hidden and lost, and which ids it had."""

    def __init__(self) -> None:
        self._frames = dict.fromkeys(TargetState, 0)
        self._ids: set[int] = set()

    def add(self, target: Target) -> None:
        """Count a frame."""
        self._frames[target.state] += 1
        self._ids.update(target.ids)

    def report(self) -> dict[str, Any]:
        """Return the section `target` of the report; nothing if nothing was followed."""
        if not self._ids:
            return {}
        return {'target': {**{state.value: count for state, count in self._frames.items()},
                           'ids': sorted(self._ids)}}


class TopicRecorder:
    """
    Records the messages of all outputs into a bag, nothing twice; it needs ROS messages.

    Those of the target are left out unless there is a `target`.
    """

    def __init__(self, path: Path, config: PipelineConfig, *, target: bool = False) -> None:
        from diffseg_ros.ros.messages import type_name
        from diffseg_ros.ros.outputs import available_outputs, create_message
        from rclpy.serialization import serialize_message

        self._type_name, self._create, self._serialize = (
            type_name, create_message, serialize_message)
        left_out = {'labels/compressed'}
        if not config.depth.model:
            left_out.add('depth')
        if config.removal == RemovalConfig() and not config.removed_names:
            left_out |= {'mask', 'depth_filtered'}
        self._outputs = {name: entry for name, entry in available_outputs().items()
                         if name not in left_out
                         and (target or not name.startswith('target/'))}
        self.bag = BagWriter(path, overwrite=True, compressed=True)

    @classmethod
    def create(cls, path: Path, config: PipelineConfig, *,
               target: bool = False) -> TopicRecorder | None:
        """Return a recorder; where ROS is not installed say so on stderr and return None."""
        try:
            return cls(path, config, target=target)
        except ImportError as error:
            print(f'output.mcap is left out, as it needs rclpy and ROS messages ({error})',
                  file=sys.stderr)
            return None

    def write(self, context: OutputContext) -> None:
        """Record a frame; either all of its messages or none."""
        messages = {name: self._create(entry, context) for name, entry in self._outputs.items()}
        for name, message in messages.items():
            if message is not None:
                self.bag.write_raw(f'/{NODE_NAME}/{name}', self._type_name(type(message)),
                                   context.frame.stamp, self._serialize(message))
