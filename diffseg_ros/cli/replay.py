"""diffseg_replay: run every frame of a recording through the pipeline, none dropped."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, run_stoppable, write_json
from diffseg_ros.cli.compare_options import (
    add_compare_options,
    checked_tolerances,
    PAGES,
    write_comparisons,
    write_replay_page,
)
from diffseg_ros.cli.pipeline_options import (
    add_pipeline_options,
    bag_settings,
    pipeline_config,
)
from diffseg_ros.cli.replay_follow import add_follow_option, Clicks
from diffseg_ros.cli.sequence_plots import add_plots_option, SequencePlots
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.cli.source_frames import (
    add_frame_options,
    add_topic_options,
    print_missing_depth,
    process_frames,
    selected_numbers,
    topic_names,
)
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source, Source

if TYPE_CHECKING:
    from diffseg_ros.cli.rerun_file import RerunFile
    from diffseg_ros.config import PipelineConfig
    from diffseg_ros.pipeline import Pipeline
    from diffseg_ros.postprocessing.output_context import OutputContext


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_replay', description=__doc__)
    parser.add_argument('source', type=Path, metavar='SOURCE',
                        help='bag (.mcap, .db3 or a bag folder), sequence folder, folder of '
                        'images, image or video')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='labels/, overlay/, clouds/, output.mcap, report.json and, with '
                        'naming.model, names.csv go here')
    add_replay_options(parser, 'DIR')
    add_follow_option(parser)
    parser.add_argument('--page', action='store_true',
                        help='write DIR/page.html, the replay as a page for a browser')
    add_compare_options(parser, 'DIR')
    parser.add_argument('--rerun', type=Path, metavar='FILE.rrd',
                        help='write images, labels, points, boxes, camera and times for the '
                        'Rerun viewer (extra viewer)')
    add_json_option(parser)
    return parser


def add_replay_options(parser: argparse.ArgumentParser, folder: str) -> None:
    """
    Add the options that say which frames are replayed, how, and what is written.

    `folder` is where the results of a recording go, for the help.
    """
    add_frame_options(parser)
    parser.add_argument('--clouds', type=int, default=1, metavar='N',
                        help='write the cloud of every Nth frame (1); 0 writes none')
    parser.add_argument('--no-bag', action='store_true', help='leave output.mcap out')
    add_plots_option(parser, folder)
    add_topic_options(parser)
    add_pipeline_options(parser)


def check_replay_options(arguments: argparse.Namespace) -> None:
    """Raise DiffsegError for an option of `add_replay_options` that cannot be used."""
    if arguments.clouds < 0:
        raise DiffsegError(f'--clouds {arguments.clouds}: 0 (none) or more is needed')


def _run(arguments: argparse.Namespace, stop: StopSignal) -> int:
    source = open_source(arguments.source, topic_names(arguments), bag_settings(arguments))
    config = pipeline_config(arguments)
    check_replay_options(arguments)
    clicks = Clicks(arguments.follow, selected_numbers(source, arguments.every, arguments.limit))
    tolerances = checked_tolerances(arguments)

    from diffseg_ros.cli.rerun_file import RerunFile
    from diffseg_ros.comparison.replay_folder import ReplayFolder

    if arguments.compare is not None:
        ReplayFolder.open(arguments.compare)
    viewer = None if arguments.rerun is None else RerunFile(
        arguments.rerun, [arguments.source], source.name)

    def load() -> Pipeline:
        from diffseg_ros.pipeline import Pipeline

        with stop.interrupting():
            pipeline = Pipeline(config)
            if config.memory.file:
                print(pipeline.load_at_start(config.memory.file), file=sys.stderr)
        return pipeline

    report = replay_recording(source, arguments, config, load, stop, clicks=clicks, viewer=viewer,
                              inputs=list(filter(None, [arguments.compare])))
    write_json(arguments.json, report)
    _print_summary(report, arguments.output)
    if report.get('depth') and report['frames_without_cloud']:
        print(_why_no_cloud(report, source, config), file=sys.stderr)
    else:
        print_missing_depth(report)
    return 0 if stop() else _write_pages(arguments, tolerances, stop)


def replay_recording(source: Source, arguments: argparse.Namespace, config: PipelineConfig,
                     load: Callable[[], Pipeline], stop: Callable[[], bool], *,
                     observe: Callable[[OutputContext], None] | None = None,
                     clicks: Clicks | None = None, viewer: RerunFile | None = None,
                     inputs: Sequence[Path] = ()) -> dict[str, Any]:
    """
    Write what the pipeline makes of a recording into `arguments.output`; return the report.

    The arguments hold `source` and `output`, and the options of `add_replay_options`. `load` gives
    a pipeline that has seen nothing; it is called once the output folder proved usable. `observe`
    is called with each frame that was written. The folder may not hold `inputs`.

    Raises
    ------
    DiffsegError
        No frame can be processed, or the folder cannot be written to.

    """
    from diffseg_ros.cli.output_folder import OutputFolder
    from diffseg_ros.cli.replay_output import FILES, ReplayOutput, TopicRecorder

    numbers = selected_numbers(source, arguments.every, arguments.limit)
    clicks = clicks or Clicks([], numbers)
    folder = OutputFolder(arguments.output, 'diffseg_replay', FILES, [arguments.source, *inputs])
    pipeline = load()
    recorder = None if arguments.no_bag else TopicRecorder.create(
        arguments.output / 'output.mcap', config, target=bool(clicks))
    plots = SequencePlots(len(numbers))
    with viewer or nullcontext(), folder:
        with ReplayOutput(folder, config, clouds_every=arguments.clouds, recorder=recorder,
                          plots=plots if arguments.plots else None, viewer=viewer,
                          observe=observe) as output:
            failed = process_frames(
                source, arguments, stop,
                lambda number, frame: output.write(
                    number, clicks.apply(number, pipeline.process(frame), pipeline)))
            if not output.frames:
                if stop():
                    raise KeyboardInterrupt
                raise DiffsegError(f'{arguments.source}: none of {failed} frames could be '
                                   'processed')
            if not stop():
                clicks.require_applied()
            if config.memory.file:
                print(pipeline.save_at_end(config.memory.file), file=sys.stderr)
            memory = pipeline.memory if config.memory.file else {}
            report = {**output.finish(source.name), 'frames_failed': failed, 'stopped': stop(),
                      'tracks': pipeline.track_count,
                      **pipeline.model, **pipeline.naming, **memory,
                      **({'depth': pipeline.depth} if pipeline.depth else {}),
                      'source': source.name,
                      'notes': source.warnings}
        write_json(arguments.output / 'report.json', report)
    return report


def _write_pages(arguments: argparse.Namespace, tolerances: dict[str, float],
                 stop: StopSignal) -> int:
    """Write what --page and --compare ask for, of a whole replay, and return the exit code."""
    from diffseg_ros.cli.output_folder import OutputFolder

    with stop.interrupting(), OutputFolder(arguments.output, 'diffseg_replay', PAGES):
        if arguments.page:
            write_replay_page(arguments.output)
        return 0 if arguments.compare is None else _compare(arguments, tolerances)


def _compare(arguments: argparse.Namespace, tolerances: dict[str, float]) -> int:
    from diffseg_ros.comparison.comparison import compare_folders

    comparison = compare_folders(arguments.output, arguments.compare)
    mean, worst, lost, gained = (comparison.figures[name] for name in (
        'moved_share_mean', 'moved_share_worst', 'tracks_lost', 'tracks_gained'))
    print(f'against {arguments.compare}: {mean:.2%} of the pixels moved ({worst:.2%} in the worst '
          f'of {len(comparison.frames)} frames), {lost} tracks lost, {gained} gained')
    return write_comparisons(arguments.output, [comparison], tolerances,
                             title=f'{comparison.name}: what changed')


def _why_no_cloud(report: dict[str, Any], source: Source, config: PipelineConfig) -> str:
    """Return what some frames of a replay with a depth model lack for a cloud."""
    reason = report['depth']['missing']
    if not reason and config.depth.in_points:
        reason = 'they lack predicted depth, or the intrinsics of the camera'
    elif not reason:
        reason = 'predicted depth gives none, because depth.in_points is off'
    if source.camera_file and not Path(source.camera_file).exists():
        reason = (f'the camera has no intrinsics: write them to {source.camera_file}, as '
                  '{"width": W, "height": H, "fx": FX, "fy": FY, "cx": CX, "cy": CY} in pixels')
    return f'{report["frames_without_cloud"]} frames without cloud: {reason}'


def _print_summary(report: dict[str, Any], output: Path) -> None:
    latency = report['latency_ms']['total']
    print(f'{"stopped early: " if report["stopped"] else ""}{report["frames"]} frames '
          f'({report["frames_failed"]} failed), {report["tracks"]} tracks, {report["clouds"]} '
          f'clouds, {latency["p50"]:.0f} ms a frame (p95 {latency["p95"]:.0f}), into {output}')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_stoppable(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
