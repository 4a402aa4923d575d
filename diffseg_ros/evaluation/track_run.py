"""One recording through one way of tracking, scored."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
import sys
from typing import Any

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.cli.sequence_plots import SequencePlots
from diffseg_ros.cli.source_frames import EpochWatch, selected_count, selected_frames
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.track_scores import TrackScores
from diffseg_ros.evaluation.trackers import create_tracking, Tracking
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.io.source import Source, SourceFrame
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame, Result
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Setting:
    """
    A way of tracking, and what it gets to see.

    Attributes
    ----------
    depth, pose
        Whether the tracker is given the depth and the camera's pose; the measures always are.

    """

    tracker: str
    depth: bool = True
    pose: bool = True

    @property
    def name(self) -> str:
        """For reports and folders, for example 'overlap' or 'full-no-depth'."""
        return '-no-'.join([self.tracker, *self.withheld])

    @property
    def withheld(self) -> list[str]:
        """What the tracker is not given."""
        return [name for name, seen in (('depth', self.depth), ('pose', self.pose)) if not seen]

    def seen(self, frame: Frame) -> Frame:
        """Return what the tracker sees of the frame."""
        return replace(frame, depth=frame.depth if self.depth else None,
                       pose=frame.pose if self.pose else None)


class TrackRun:
    """
    Runs a recording's frames through a tracker, in order, and scores what comes out.

    Attributes
    ----------
    inputs
        Which of 'depth' and 'pose' the recording turned out to have.

    """

    def __init__(self, source: Source, setting: Setting, config: PipelineConfig,
                 backbone: Backbone) -> None:
        """Begin with fresh tracks."""
        self._source = source
        self._setting = setting
        self._tracking: Tracking = create_tracking(setting.tracker, config, backbone)
        self._folder = source if isinstance(source, SequenceFolder) else None
        self._scores = TrackScores(background=self._folder.background if self._folder else None)
        self._latencies = Latencies()
        self._epochs = EpochWatch()
        self._frames = self._keyframes = self._failed = 0
        self.inputs: set[str] = set()

    def run(self, arguments: argparse.Namespace, plots: Path | None) -> dict[str, Any]:
        """
        Return the report of the frames that `--every` and `--limit` choose.

        `plots` is the folder for pictures, or None. Frames that cannot be read or processed are
        reported on stderr and counted.

        Raises
        ------
        DiffsegError
            No frame could be processed, or labels cannot be compared with the truth.

        """
        total = selected_count(self._source, arguments.every, arguments.limit)
        pictures = SequencePlots(total) if plots is not None else None
        for item in selected_frames(self._source, arguments.every, arguments.limit):
            try:
                frame, truth, result = self._process(item)
            except DiffsegError as error:
                self._failed += 1
                print(f'{self._source.name}: frame {item.number:06d}: {error}', file=sys.stderr)
                continue
            self._score(item.number, frame, truth, result)
            if pictures is not None:
                pictures.add(item.number, frame, result.labels)
        if not self._frames:
            raise DiffsegError(f'{self._source.name}: none of {self._failed} frames could be '
                               'processed')
        if pictures is not None and plots is not None:
            title = f'{self._source.name}, {self._setting.name}'
            pictures.write(plots, title, self._scores.switches.found if self._truth else None)
        return self._report()

    @property
    def _truth(self) -> SequenceFolder | None:
        """The folder where it has true instances."""
        return self._folder if self._folder is not None and self._folder.has_instances else None

    def _process(self, item: SourceFrame) -> tuple[Frame, npt.NDArray[np.uint16] | None, Result]:
        if item.frame is None:
            raise DiffsegError(item.error or 'cannot be read')
        truth = self._truth.instances(item.number) if self._truth is not None else None
        if self._epochs.starts_over(item.frame.stamp):
            self._tracking.reset()
            self._scores.begin_epoch()
        self.inputs.update(name for name in ('depth', 'pose')
                           if getattr(item.frame, name) is not None)
        return item.frame, truth, self._tracking.process(self._setting.seen(item.frame))

    def _score(self, number: int, frame: Frame, truth: npt.NDArray[np.uint16] | None,
               result: Result) -> None:
        try:
            self._scores.add(frame, result.labels, truth)
        except DiffsegError as error:
            raise DiffsegError(f'{self._source.name}: frame {number:06d}: {error}') from error
        self._latencies.add(result.latency_ms)
        # A frame that is not segmented afresh spends no time on it.
        self._keyframes += any('segmentation' in stage for stage in result.latency_ms)
        self._frames += 1

    def _report(self) -> dict[str, Any]:
        return {**self._scores.report(), 'frames_failed': self._failed,
                'keyframe_share': self._keyframes / self._frames,
                'latency_ms': self._latencies.report(),
                'tracker': self._setting.tracker, 'withheld': self._setting.withheld}
