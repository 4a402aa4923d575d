"""diffseg_evaluate tracks: persistent ids through recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, write_json
from diffseg_ros.cli.pipeline_options import add_pipeline_options, pipeline_config
from diffseg_ros.cli.sequence_plots import add_plots_option
from diffseg_ros.cli.source_frames import add_frame_options
from diffseg_ros.cli.track_table import print_gains, print_heading, print_report
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.comparison import gains, mean_report, Report
from diffseg_ros.io.source import open_source, Source

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone
    from diffseg_ros.evaluation.track_run import Setting

TRACKERS = ('full', 'propagation', 'overlap')
_YARDSTICK = 'overlap'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diffseg_evaluate tracks`."""
    parser.add_argument('sequences', nargs='+', type=Path, metavar='SEQUENCE',
                        help='sequence folder, or bag (which has no true instances)')
    parser.add_argument('--tracker', choices=TRACKERS, action='append',
                        help='full is the pipeline as it is configured (the default), propagation '
                        'its propagation alone, overlap the yardstick: the same segments, joined '
                        'where their IoU with those of the frame before is at least 0.3. May be '
                        'repeated; all stand in one table')
    parser.add_argument('--no-depth', action='store_true',
                        help='withhold the depth from segments and tracks; the measures use it')
    parser.add_argument('--no-pose', action='store_true',
                        help='withhold the camera poses from the tracks; the measures use them')
    parser.add_argument('--rgb-too', action='store_true',
                        help='run every tracker a second time without depth and poses')
    add_frame_options(parser)
    add_plots_option(parser, 'DIR/TRACKER/SEQUENCE')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='write report.json and the pictures here')
    add_pipeline_options(parser)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score the recordings; print and write the report."""
    if arguments.plots and arguments.output is None:
        raise DiffsegError('--plots: the pictures need a folder; give one with --output')
    if arguments.output is not None and arguments.output.is_file():
        raise DiffsegError(f'output {arguments.output}: is a file; give a folder')
    config = pipeline_config(arguments)
    sources = [open_source(path) for path in arguments.sequences]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise DiffsegError(f'sequences: {", ".join(names)}; each name may occur once, because the '
                           'report is by name')
    settings = _settings(arguments)
    reports = _reports(sources, settings, config, arguments)
    report = (reports[settings[0].name] if len(settings) == 1 else {'trackers': reports})
    write_json(arguments.output and arguments.output / 'report.json', report)
    write_json(arguments.json, report)


def _settings(arguments: argparse.Namespace) -> list[Setting]:
    from diffseg_ros.evaluation.track_run import Setting

    inputs = [(not arguments.no_depth, not arguments.no_pose)]
    if arguments.rgb_too:
        inputs.append((False, False))
    return [Setting(tracker, depth, pose) for depth, pose in dict.fromkeys(inputs)
            for tracker in dict.fromkeys(arguments.tracker or TRACKERS[:1])]


def _reports(sources: list[Source], settings: list[Setting], config: PipelineConfig,
             arguments: argparse.Namespace) -> dict[str, Report]:
    """Return the report of each setting by name, and print them sequence by sequence."""
    from diffseg_ros.pipeline import Pipeline

    backbone = Pipeline(config).backbone
    several = len(settings) > 1
    found: dict[str, dict[str, Report]] = {setting.name: {} for setting in settings}
    if not several:
        print_heading('')
    for source in sources:
        reports = _score(source, settings, config, backbone, arguments)
        _print(source.name, reports, several=several)
        for name, report in reports.items():
            found[name][source.name] = report
    if len(sources) == 1:
        return {name: reports[sources[0].name] for name, reports in found.items()}
    means = {name: mean_report(list(reports.values())) for name, reports in found.items()}
    _compare(settings, means)
    _print('mean', means, several=several)
    return {name: {'sequences': reports, 'mean': means[name]}
            for name, reports in found.items()}


def _score(source: Source, settings: list[Setting], config: PipelineConfig, backbone: Backbone,
           arguments: argparse.Namespace) -> dict[str, Report]:
    """Run one recording through every setting."""
    from diffseg_ros.evaluation.track_run import TrackRun

    reports: dict[str, Report] = {}
    inputs = {'depth', 'pose'}
    for setting in settings:
        folder = arguments.output / setting.name / source.name if arguments.plots else None
        twin = next((reports[other.name] for other in settings if other.name in reports
                     and other.tracker == setting.tracker
                     and not inputs & set(other.withheld) ^ inputs & set(setting.withheld)), None)
        if twin is not None and folder is None:
            # What it withholds the recording does not have: the run would be the same.
            reports[setting.name] = {**twin, 'withheld': setting.withheld}
            continue
        track_run = TrackRun(source, setting, config, backbone)
        reports[setting.name] = {**track_run.run(arguments, folder),
                                 'device': str(backbone.device), 'model': backbone.name}
        inputs = track_run.inputs
    _compare(settings, reports)
    return reports


def _compare(settings: list[Setting], reports: dict[str, Report]) -> None:
    """Add to each report how it compares with the yardstick under the same conditions."""
    from diffseg_ros.evaluation.track_run import Setting

    for setting in settings:
        yardstick = reports.get(Setting(_YARDSTICK, setting.depth, setting.pose).name)
        if yardstick is not None:
            # The yardstick's masks are the segments of each frame by itself.
            reports[setting.name]['miou_untracked'] = yardstick['miou']
            if setting.tracker != _YARDSTICK:
                reports[setting.name]['gain_over_overlap'] = gains(reports[setting.name],
                                                                   yardstick)


def _print(name: str, reports: dict[str, Report], *, several: bool) -> None:
    if not several:
        for report in reports.values():
            print_report(name, report)
        return
    print_heading(name)
    for setting, report in reports.items():
        print_report(f'  {setting}', report)
        if 'gain_over_overlap' in report:
            print_gains('    against overlap', report['gain_over_overlap'])
