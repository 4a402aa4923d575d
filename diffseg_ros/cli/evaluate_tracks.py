"""diffseg_evaluate tracks: persistent ids through recordings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.cli.sequence_plots import add_plots_option, SequencePlots
from diffseg_ros.cli.source_frames import add_frame_options, selected_count, selected_frames
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.report import mean_report, relative_gain, Report, Table
from diffseg_ros.io.base import Source
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.io.source import open_source
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone

TRACKERS = ('full', 'propagation', 'overlap')
BASELINE = 'overlap'

_COLUMNS = {'miou': ('mIoU', '.3f'), 'stq': ('STQ', '.3f'), 'aq': ('AQ', '.3f'),
            'idf1': ('IDF1', '.3f'), 'hota': ('HOTA', '.3f'),
            'best_track_iou': ('best IoU', '.3f'), 'flip_rate': ('flips', '.4f'),
            'voxel_agreement': ('voxels', '.3f'), 'compared_share': ('compared', '.3f'),
            'tracks': ('tracks', '.0f'), 'tracks_per_frame': ('a frame', '.1f'),
            'largest_share': ('largest', '.3f'), 'unlabelled_share': ('unlab.', '.3f'),
            'latency_ms.total.mean': ('ms', '.0f')}
_NOT_PRINTED = ('sq', 'id_switches')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diffseg_evaluate tracks`."""
    parser.add_argument('sequences', nargs='+', type=Path, metavar='SEQUENCE',
                        help='sequence folder, or bag (which has no true instances)')
    parser.add_argument('--tracker', choices=TRACKERS, action='append',
                        help='full is the pipeline as it is configured (the default), propagation '
                        'its propagation alone, overlap the baseline: the same segments, joined '
                        'where their IoU with those of the frame before is at least 0.3; may be '
                        'repeated to compare several in one table')
    parser.add_argument('--no-depth', action='store_true',
                        help='hide depth from segments and tracks; the measures still use it')
    parser.add_argument('--no-pose', action='store_true',
                        help='hide camera poses from the tracks; the measures still use them')
    parser.add_argument('--rgb-too', action='store_true',
                        help='run every tracker a second time without depth and poses')
    add_frame_options(parser)
    add_plots_option(parser, 'DIR/TRACKER/SEQUENCE')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='write report.json and the plots here')
    add_pipeline_options(parser)
    add_json_option(parser)


@dataclass(frozen=True)
class Setting:
    """
    A way of tracking, and which inputs it is given.

    Attributes
    ----------
    depth, pose
        Whether the tracker is given depth and camera pose; the measures always are.

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
        """The inputs that the tracker is not given."""
        return [name for name, given in (('depth', self.depth), ('pose', self.pose)) if not given]

    def seen(self, frame: Frame) -> Frame:
        """Return the frame as the tracker sees it."""
        return replace(frame, depth=frame.depth if self.depth else None,
                       pose=frame.pose if self.pose else None)


def run(arguments: argparse.Namespace) -> None:
    """Score the recordings; print and write the report."""
    if arguments.plots and arguments.output is None:
        raise DiffsegError('--plots: the plots need a folder; give one with --output')
    if arguments.output is not None and arguments.output.is_file():
        raise DiffsegError(f'output {arguments.output}: is a file; give a folder')
    config = pipeline_config(arguments)
    sources = [open_source(path) for path in arguments.sequences]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise DiffsegError(f'sequences: {", ".join(names)}; every name must be different, because '
                           'the report is by name')
    inputs = [(not arguments.no_depth, not arguments.no_pose)]
    if arguments.rgb_too:
        inputs.append((False, False))
    settings = [Setting(tracker, depth, pose) for depth, pose in dict.fromkeys(inputs)
                for tracker in dict.fromkeys(arguments.tracker or TRACKERS[:1])]
    reports = _reports(sources, settings, config, arguments)
    report = reports[settings[0].name] if len(settings) == 1 else {'trackers': reports}
    write_json(arguments.output and arguments.output / 'report.json', report)
    write_json(arguments.json, report)


def _reports(sources: list[Source], settings: list[Setting], config: PipelineConfig,
             arguments: argparse.Namespace) -> dict[str, Report]:
    """Return the report of each setting by name, and print them sequence by sequence."""
    from diffseg_ros.evaluation.measure import MeasureSet
    from diffseg_ros.pipeline import Pipeline

    backbone = Pipeline(config).backbone
    empty = {key: value for key, value in MeasureSet('tracks', config.measures).compute().items()
             if key not in _NOT_PRINTED}
    table = Table(_COLUMNS, empty, name_width=32, width=9)
    found: dict[str, dict[str, Report]] = {setting.name: {} for setting in settings}
    if len(settings) == 1:
        table.print_heading('')
    for source in sources:
        reports = _compare_settings(source, settings, config, backbone, arguments)
        _print(table, source.name, reports)
        for name, report in reports.items():
            found[name][source.name] = report
    if len(sources) == 1:
        return {name: reports[sources[0].name] for name, reports in found.items()}
    means = {name: mean_report(list(reports.values())) for name, reports in found.items()}
    _add_gains(settings, means)
    _print(table, 'mean', means)
    return {name: {'sequences': reports, 'mean': means[name]}
            for name, reports in found.items()}


def _compare_settings(source: Source, settings: list[Setting], config: PipelineConfig,
                      backbone: Backbone, arguments: argparse.Namespace) -> dict[str, Report]:
    """Run one recording with every setting."""
    reports: dict[str, Report] = {}
    inputs = {'depth', 'pose'}
    for setting in settings:
        folder = arguments.output / setting.name / source.name if arguments.plots else None
        same = next((reports[other.name] for other in settings if other.name in reports
                     and other.tracker == setting.tracker
                     and inputs.intersection(other.withheld)
                     == inputs.intersection(setting.withheld)), None)
        if same is not None and folder is None:
            # The recording lacks what the settings differ in: the results would be the same.
            reports[setting.name] = {**same, 'withheld': setting.withheld}
            continue
        report, inputs = _score(source, setting, config, backbone, arguments, folder)
        reports[setting.name] = {**report, 'device': str(backbone.device),
                                 'model': backbone.name}
    _add_gains(settings, reports)
    return reports


def _score(source: Source, setting: Setting, config: PipelineConfig, backbone: Backbone,
           arguments: argparse.Namespace, plots: Path | None) -> tuple[Report, set[str]]:
    """
    Run a recording's frames through a tracker and score the result.

    Frames that cannot be read or processed are reported on stderr and counted.

    Returns
    -------
    tuple
        The report, and which of 'depth' and 'pose' the recording has.

    Raises
    ------
    DiffsegError
        No frame could be processed, or labels cannot be compared with the truth.

    """
    from diffseg_ros.evaluation.measure import MeasureSet, Observation
    from diffseg_ros.evaluation.trackers import create_tracking

    tracking = create_tracking(setting.tracker, config, backbone)
    folder = source if isinstance(source, SequenceFolder) else None
    measures = MeasureSet('tracks', config.measures)
    latencies, inputs = Latencies(), set[str]()
    pictures = SequencePlots(selected_count(source, arguments.every, arguments.limit))
    frames = keyframes = failed = 0
    for item in selected_frames(source, arguments.every, arguments.limit):
        try:
            frame, truth = item.frame, None
            if frame is None:
                raise DiffsegError(item.error or 'cannot be read')
            if folder is not None and folder.has_instances:
                truth = folder.instances(item.number)
            result = tracking.process(setting.seen(frame))
        except DiffsegError as error:
            failed += 1
            print(f'{source.name}: frame {item.number:06d}: {error}', file=sys.stderr)
            continue
        try:
            measures.update(Observation(result.labels, frame, result.confidence, truth,
                                        background=folder.background if folder else None,
                                        epoch=result.epoch))
        except DiffsegError as error:
            raise DiffsegError(f'{source.name}: frame {item.number:06d}: {error}') from error
        inputs |= {name for name in ('depth', 'pose') if getattr(frame, name) is not None}
        latencies.add(result.latency_ms)
        # Frames that are not keyframes have no such stage.
        keyframes += any('segmentation' in stage for stage in result.latency_ms)
        frames += 1
        if plots is not None:
            pictures.add(item.number, frame, result.labels)
    if not frames:
        raise DiffsegError(f'{source.name}: none of {failed} frames could be processed')
    if plots is not None:
        pictures.write(plots, f'{source.name}, {setting.name}', measures['id_switches'].found)
    report: dict[str, Any] = {
        **measures.compute(), 'frames_failed': failed, 'keyframe_share': keyframes / frames,
        'latency_ms': latencies.report(), 'tracker': setting.tracker,
        'withheld': setting.withheld}
    return report, inputs


def _add_gains(settings: list[Setting], reports: dict[str, Report]) -> None:
    """Add to each report how it compares with the baseline that has the same inputs."""
    for setting in settings:
        baseline = reports.get(Setting(BASELINE, setting.depth, setting.pose).name)
        if baseline is not None:
            # The baseline's masks are the segments of each frame by itself.
            reports[setting.name]['miou_untracked'] = baseline['miou']
            if setting.tracker != BASELINE:
                reports[setting.name]['gain_over_overlap'] = relative_gain(
                    reports[setting.name], baseline)


def _print(table: Table, name: str, reports: dict[str, Report]) -> None:
    if len(reports) == 1:
        table.print_row(name, *reports.values())
        return
    table.print_heading(name)
    for setting, report in reports.items():
        table.print_row(f'  {setting}', report)
        if 'gain_over_overlap' in report:
            table.print_gain('    against overlap', report['gain_over_overlap'])
