"""diffseg_demo: a generated RGB-D scene goes through the real node; pictures and report."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import tempfile
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import (
    add_json_option,
    progress,
    run_interruptible,
    write_json,
)
from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.demo.click import Click
    from diffseg_ros.demo.run_results import RunResults

PARAMETER_FILE = 'demo.yaml'
"""Used from the package's config folder unless --params is given."""

FILES = {'overview.png': 'camera, truth, result and depth of a few frames',
         'overlay.webm': 'camera and result as a video',
         'cloud.ply': 'one labelled cloud', 'cloud.png': 'a picture of that cloud',
         'output.mcap': 'everything sent and published (fixed frame: map)',
         'report.json': 'the numbers above', 'node.log': 'what the node printed'}
SEQUENCE = 'sequence'
"""What the command leaves in its output folder: files, and the rendered frames."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_demo', description=__doc__)
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='folder for pictures, cloud, recording and report')
    parser.add_argument('--frames', type=int, default=100, metavar='N',
                        help='frames to render and play at 10 Hz (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='which room is rendered (0)')
    parser.add_argument('--params', type=Path, metavar='FILE',
                        help='ROS parameter file for the node')
    parser.add_argument('--domain-id', type=int, metavar='ID',
                        help='ROS domain to run in (one that is free)')
    parser.add_argument('--patience', type=float, default=120.0, metavar='SECONDS',
                        help='how long the node may take to load its model (120)')
    add_json_option(parser)
    return parser


def run_demo(arguments: argparse.Namespace,
             node_module: str = 'diffseg_ros.cli.node') -> dict[str, Any]:
    """
    Render, play, record and score; return the report.

    Parameters
    ----------
    arguments
        Those of the command.
    node_module
        Python module that is run as the node.

    Raises
    ------
    DiffsegError
        An argument is wrong, the node does not come up, or what it publishes cannot be
        accounted for.

    """
    _check(arguments)
    with OutputFolder(arguments.output, 'diffseg_demo', [*FILES, f'{SEQUENCE}/**']):
        return _run_demo(arguments, node_module)


def _run_demo(arguments: argparse.Namespace, node_module: str) -> dict[str, Any]:
    from diffseg_ros.config_files import config_file
    from diffseg_ros.demo.click import choose_click
    from diffseg_ros.demo.processes import free_domain_id
    from diffseg_ros.demo.run_results import read_results
    from diffseg_ros.demo.session import run_session
    from diffseg_ros.io.sequence_folder import SequenceFolder
    from diffseg_ros.naming.loader import IMAGENET, missing_names_package
    from diffseg_ros.ros.startup import use_large_message_profile
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    output, count = arguments.output, arguments.frames
    for _ in _steps(render_sequence(output / SEQUENCE, count, arguments.seed), count, 'rendering'):
        pass
    sequence = SequenceFolder(output / SEQUENCE)
    frames = list(progress(sequence, count, 'loading'))
    if len(frames) < count:
        raise DiffsegError(sequence.warnings[-1])
    use_large_message_profile()
    domain_id = free_domain_id() if arguments.domain_id is None else arguments.domain_id
    click, missing = choose_click(sequence), missing_names_package()
    if missing:
        print(f'nothing is named, as {missing} is not installed: it comes with the extra names',
              file=sys.stderr)
    print(f'starting the node in ROS domain {domain_id}', file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix='.recording.', dir=output) as scratch:
        log = Path(scratch, 'log.mcap')
        sent = run_session(
            progress(frames, count, 'playing'), log, output / 'node.log', domain_id=domain_id,
            node_module=node_module, params=arguments.params or config_file(PARAMETER_FILE),
            settings=[] if missing else [f'naming.model:={IMAGENET}'], click=click,
            patience=arguments.patience)
        return _write_results(output, read_results(sequence, sent, log), click)


def _write_results(output: Path, results: RunResults, click: Click | None) -> dict[str, Any]:
    from diffseg_ros.demo import pictures
    from diffseg_ros.demo.click import followed_iou
    from diffseg_ros.demo.run_results import score, write_recording
    from diffseg_ros.timing import percentiles

    processed, sent = results.processed, len(results.frames)
    print('writing the recording', file=sys.stderr, flush=True)
    write_recording(output / 'output.mcap', results)
    scores = score(results, _steps(processed, len(processed), 'scoring'))
    pictures.write_video(output / 'overlay.webm', results, _steps(range(sent), sent, 'video'))
    points = pictures.write_cloud(output / 'cloud.ply', output / 'cloud.png', results)
    followed = None if click is None else followed_iou(
        click, processed,
        lambda number: results.sequence.instances(number) == click.instance, results.target)
    ages = [*results.ages_ms.values()]
    report = {
        'frames_sent': sent, 'frames_processed': len(processed),
        'frames_dropped': sum(results.dropped.values()), 'dropped_by_cause': results.dropped,
        **scores, 'target_iou': followed, 'cloud_points': points,
        'age_ms': ({name: round(age, 1) for name, age in percentiles(ages).items()} if ages
                   else {'p50': None, 'p95': None}),
        'device': results.status.get('device', ''), 'model': results.status.get('model', '')}
    if processed:
        pictures.write_overview(output / 'overview.png', results, _summary(report))
    write_json(output / 'report.json', report)
    return report


def _summary(report: dict[str, Any]) -> str:
    def number(value: float | None, digits: int = 2) -> str:
        return 'n/a' if value is None else f'{value:.{digits}f}'

    return (f'{report["frames_processed"]} of {report["frames_sent"]} frames processed   '
            f'mIoU {number(report["miou"])} (grid of rectangles {number(report["miou_grid"])})   '
            f'IDF1 {number(report["idf1"])}   IoU of what was clicked on '
            f'{number(report["target_iou"])}   '
            f'age p50 {number(report["age_ms"]["p50"], 0)} ms, '
            f'p95 {number(report["age_ms"]["p95"], 0)} ms')


def _check(arguments: argparse.Namespace) -> None:
    if not 2 <= arguments.frames <= 100_000:
        raise DiffsegError(f'--frames {arguments.frames}: must be between 2 and 100000')
    if arguments.seed < 0:
        raise DiffsegError(f'--seed {arguments.seed}: must be 0 or more')
    if arguments.domain_id is not None and not 0 <= arguments.domain_id <= 232:
        raise DiffsegError(f'--domain-id {arguments.domain_id}: must be between 0 and 232')
    if arguments.params is not None and not arguments.params.is_file():
        raise DiffsegError(f'--params {arguments.params}: no such file')
    if not arguments.patience > 0:
        raise DiffsegError(f'--patience {arguments.patience:g}: must be above 0 seconds')


def _steps(items: Any, total: int, title: str) -> Any:
    """Iterate with a progress bar, or a line where there can be none."""
    if not sys.stderr.isatty():
        print(f'{title}: {total} frames', file=sys.stderr, flush=True)
    return progress(items, total, title)


def _run(arguments: argparse.Namespace) -> None:
    report = run_demo(arguments)
    write_json(arguments.json, report)
    losses = ', '.join(f'{cause} {count}' for cause, count in report['dropped_by_cause'].items())
    print(f'{_summary(report)}\ndropped: {losses or "none"}\n')
    for name, meaning in [*FILES.items(), (SEQUENCE, 'the rendered frames with their truth')]:
        if (arguments.output / name).exists():
            print(f'  {arguments.output / name}  {meaning}')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_interruptible(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
