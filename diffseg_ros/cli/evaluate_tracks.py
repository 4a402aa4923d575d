"""diffseg_evaluate tracks: persistent ids through recordings."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from diffseg_ros.cli.command import write_json
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.cli.pipeline_options import bag_settings
from diffseg_ros.cli.sequence_plots import add_plots_option, NAMES, SequencePlots
from diffseg_ros.cli.source_frames import (
    add_frame_options,
    print_warnings,
    selected_frames,
    selected_numbers,
)
from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.measure import MeasureSet, Observation
from diffseg_ros.evaluation.report import check_names, mean_report, relative_gain, Report, Table
from diffseg_ros.evaluation.trackers import BASELINE, create_tracking, TRACKERS
from diffseg_ros.io.base import Source
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.io.source import open_source
from diffseg_ros.timing import Latencies
from diffseg_ros.types import Frame

if TYPE_CHECKING:
    from diffseg_ros.backbones.base import Backbone

_COLUMNS = {'miou': ('mIoU', '.3f'), 'stq': ('STQ', '.3f'), 'aq': ('AQ', '.3f'),
            'idf1': ('IDF1', '.3f'), 'hota': ('HOTA', '.3f'),
            'best_track_iou': ('best IoU', '.3f'), 'flip_rate': ('flips', '.4f'),
            'voxel_agreement': ('voxels', '.3f'), 'compared_share': ('compared', '.3f'),
            'tracks': ('tracks', '.0f'), 'tracks_per_frame': ('a frame', '.1f'),
            'largest_share': ('largest', '.3f'), 'unlabelled_share': ('unlab.', '.3f'),
            'latency_ms.total.mean': ('ms', '.0f')}
_NOT_PRINTED = ('sq', 'id_switches')
_INPUTS = ('depth', 'pose')


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


@dataclass(frozen=True)
class Variant:
    """A tracker and which of 'depth' and 'pose' it is not given; the measures always are."""

    tracker: str
    withheld: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For reports and folders, for example 'overlap' or 'full-no-depth'."""
        return '-no-'.join([self.tracker, *self.withheld])

    def seen(self, frame: Frame) -> Frame:
        """Return the frame as the tracker sees it."""
        return replace(frame, depth=None if 'depth' in self.withheld else frame.depth,
                       pose=None if 'pose' in self.withheld else frame.pose)


def run(arguments: argparse.Namespace, config: PipelineConfig) -> None:
    """Score the recordings; print and write the report."""
    settings = bag_settings(arguments)
    sources = [open_source(path, settings=settings) for path in arguments.sequences]
    check_names([source.name for source in sources])
    for source in sources:
        if not getattr(source, 'has_instances', False):
            print(f'{source.name}: no true instances (a sequence folder has them in instances/): '
                  'only the measures that need no truth are computed', file=sys.stderr)
    withheld = tuple(name for name in _INPUTS if getattr(arguments, f'no_{name}'))
    inputs = [withheld, _INPUTS] if arguments.rgb_too else [withheld]
    variants = [Variant(tracker, withheld) for withheld in dict.fromkeys(inputs)
                for tracker in dict.fromkeys(arguments.tracker or TRACKERS[:1])]
    with _output(sources, variants, arguments):
        reports = _reports(sources, variants, config, arguments)
        report = reports[variants[0].name] if len(variants) == 1 else {'trackers': reports}
        write_json(arguments.output and arguments.output / 'report.json', report)
    write_json(arguments.json, report)
    for source in sources:
        print_warnings(source)


def _output(sources: list[Source], variants: list[Variant],
            arguments: argparse.Namespace) -> AbstractContextManager[object]:
    if arguments.output is None:
        return nullcontext()
    plots = [f'{variant.name}/{source.name}/{name}' for variant in variants for source in sources
             for name in NAMES if arguments.plots]
    return OutputFolder(arguments.output, 'diffseg_evaluate tracks', ['report.json', *plots],
                        arguments.sequences)


def _reports(sources: list[Source], variants: list[Variant], config: PipelineConfig,
             arguments: argparse.Namespace) -> dict[str, Report]:
    """Return the report of each variant by name, and print them sequence by sequence."""
    from diffseg_ros.pipeline import Pipeline

    backbone = Pipeline(config).backbone
    empty = {key: value for key, value in MeasureSet('tracks', config.measures).compute().items()
             if key not in _NOT_PRINTED}
    table = Table(_COLUMNS, empty, name_width=32, width=9)
    if len(variants) == 1:
        table.print_heading('')
    found: dict[str, dict[str, Report]] = {}
    for source in sources:
        found[source.name] = _compare(source, variants, config, backbone, arguments)
        _print(table, source.name, found[source.name])
    if len(sources) == 1:
        return found[sources[0].name]
    by_variant = {variant.name: {name: reports[variant.name] for name, reports in found.items()}
                  for variant in variants}
    means = {name: mean_report(list(reports.values())) for name, reports in by_variant.items()}
    _add_gains(variants, means)
    _print(table, 'mean', means)
    return {name: {'sequences': reports, 'mean': means[name]}
            for name, reports in by_variant.items()}


def _compare(source: Source, variants: list[Variant], config: PipelineConfig,
             backbone: Backbone, arguments: argparse.Namespace) -> dict[str, Report]:
    """Return the reports of one recording; variants that see the same frames share a run."""
    reports: dict[str, Report] = {}
    runs: dict[tuple[str, frozenset[str]], Report] = {}
    inputs = set(_INPUTS)
    for variant in variants:
        report = runs.get((variant.tracker, frozenset(inputs.intersection(variant.withheld))))
        if report is None or arguments.plots:
            report, inputs = _score(source, variant, config, backbone, arguments)
            runs[variant.tracker, frozenset(inputs.intersection(variant.withheld))] = report
        reports[variant.name] = {**report, 'withheld': variant.withheld,
                                 'device': str(backbone.device), 'model': backbone.name}
    _add_gains(variants, reports)
    return reports


def _score(source: Source, variant: Variant, config: PipelineConfig, backbone: Backbone,
           arguments: argparse.Namespace) -> tuple[Report, set[str]]:
    """
    Run a recording's frames through a tracker, score the result and draw the plots.

    Frames that cannot be read or processed are reported on stderr and counted. Returns the
    report, and which of 'depth' and 'pose' the recording has. Raises DiffsegError if no frame
    could be processed, or labels cannot be compared with the truth.
    """
    tracking = create_tracking(variant.tracker, config, backbone)
    folder = source if isinstance(source, SequenceFolder) else None
    measures = MeasureSet('tracks', config.measures)
    latencies, inputs = Latencies(), set[str]()
    plots = SequencePlots(len(selected_numbers(source, arguments.every, arguments.limit)))
    frames = keyframes = failed = 0
    for item in selected_frames(source, arguments.every, arguments.limit):
        try:
            frame, truth = item.frame, None
            if frame is None:
                raise DiffsegError(item.error or 'cannot be read')
            if folder is not None and folder.has_instances:
                truth = folder.instances(item.number)
            result = tracking.process(variant.seen(frame))
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
        inputs |= {name for name in _INPUTS if getattr(frame, name) is not None}
        latencies.add(result.latency_ms)
        # Frames that are not keyframes have no such stage.
        keyframes += any('segmentation' in stage for stage in result.latency_ms)
        frames += 1
        if arguments.plots:
            plots.add(item.number, result)
    if not frames:
        raise DiffsegError(f'{source.name}: none of {failed} frames could be processed')
    if arguments.plots:
        plots.write(arguments.output / variant.name / source.name,
                    f'{source.name}, {variant.name}', measures['id_switches'].found)
    return {**measures.compute(), 'frames_failed': failed, 'keyframe_share': keyframes / frames,
            'latency_ms': latencies.report(), 'tracker': variant.tracker}, inputs


def _add_gains(variants: list[Variant], reports: dict[str, Report]) -> None:
    """Add to each report how it compares with the baseline that has the same inputs."""
    for variant in variants:
        report = reports[variant.name]
        baseline = reports.get(Variant(BASELINE, variant.withheld).name)
        if baseline is not None:
            # The baseline's masks are the segments of each frame by itself.
            report['miou_untracked'] = baseline['miou']
            if variant.tracker != BASELINE:
                report['gain_over_overlap'] = relative_gain(report, baseline)


def _print(table: Table, name: str, reports: dict[str, Report]) -> None:
    if len(reports) == 1:
        table.print_row(name, *reports.values())
        return
    table.print_heading(name)
    for variant, report in reports.items():
        table.print_row(f'  {variant}', report)
        if 'gain_over_overlap' in report:
            table.print_gain('    against overlap', report['gain_over_overlap'])
