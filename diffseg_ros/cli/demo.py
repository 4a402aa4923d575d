"""diffseg_demo: a generated RGB-D scene goes through the real node; pictures and report."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
import json
from pathlib import Path
import signal
import sys
import tempfile
from types import FrameType
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import (
    add_json_option,
    make_folder,
    progress,
    run_command,
    write_json,
)
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.demo.outcome import Outcome

DEFAULT_FRAMES = 100
PARAMETER_FILE = 'demo.yaml'
"""Used from the package's config folder, if it is there and --params is not given."""

FILES = {'overview.png': 'camera, truth, result and depth of a few frames',
         'overlay.webm': 'camera and result as a film',
         'cloud.ply': 'one labelled cloud', 'cloud.png': 'a picture of that cloud',
         'output.mcap': 'everything sent and published (fixed frame: map)',
         'report.json': 'the numbers above', 'sequence': 'the rendered frames with their truth',
         'node.log': 'what the node printed'}
"""What the command leaves in its output folder."""


@dataclass(frozen=True)
class DemoSettings:
    """
    What the command was asked for.

    Attributes
    ----------
    node_module
        Python module that is run as the node.

    """

    output: Path
    frames: int = DEFAULT_FRAMES
    seed: int = 0
    params: Path | None = None
    domain_id: int | None = None
    patience: float = 120.0
    node_module: str = 'diffseg_ros.cli.node'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_demo', description=__doc__)
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='folder for pictures, cloud, recording and report')
    parser.add_argument('--frames', type=int, default=DEFAULT_FRAMES, metavar='N',
                        help=f'frames to render and play at 10 Hz ({DEFAULT_FRAMES})')
    parser.add_argument('--seed', type=int, default=0, help='which room is rendered (0)')
    parser.add_argument('--params', type=Path, metavar='FILE',
                        help='ROS parameter file for the node')
    parser.add_argument('--domain-id', type=int, metavar='ID',
                        help='ROS domain to run in (one that is free)')
    parser.add_argument('--patience', type=float, default=120.0, metavar='SECONDS',
                        help='how long the node may take to load its model (120)')
    add_json_option(parser)
    return parser


def run_demo(settings: DemoSettings) -> dict[str, Any]:
    """
    Render, play, record and judge; return the report.

    Raises
    ------
    DiffsegError
        A setting is wrong, the node does not come up, or what it publishes cannot be
        accounted for.

    """
    _check(settings)
    from diffseg_ros.demo.player import prepare_frames
    from diffseg_ros.io.sequence_folder import SequenceFolder
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    folder = settings.output / 'sequence'
    _consume(render_sequence(folder, settings.frames, settings.seed), settings.frames, 'rendering')
    sequence = SequenceFolder(folder)
    frames = list(progress(prepare_frames(sequence), settings.frames, 'loading'))
    with tempfile.TemporaryDirectory(prefix='.recording.', dir=settings.output) as scratch:
        return _play_and_judge(settings, sequence, frames, Path(scratch))


def _play_and_judge(settings: DemoSettings, sequence: Any, frames: list[Any],
                    scratch: Path) -> dict[str, Any]:
    from diffseg_ros.demo.accounting import account_for
    from diffseg_ros.demo.outcome import Outcome
    from diffseg_ros.demo.processes import free_domain_id
    from diffseg_ros.demo.recorder import RECORDED
    from diffseg_ros.demo.session import Session, SessionSettings
    from diffseg_ros.demo.spool import Spool
    from diffseg_ros.ros.transport import use_large_message_profile

    use_large_message_profile()
    domain_id = settings.domain_id if settings.domain_id is not None else free_domain_id()
    session = Session(scratch, settings.output / 'node.log', SessionSettings(
        domain_id, _params(settings), patience=settings.patience,
        node_module=settings.node_module))
    print(f'starting the node in ROS domain {domain_id}', file=sys.stderr, flush=True)
    with session.running() as play:
        stamps = list(progress(play(frames), len(frames), 'playing'))
    spool = Spool(session.spool, list(RECORDED))
    outcome = Outcome(sequence, spool, stamps, account_for(spool, stamps))
    return _write_results(settings, outcome, frames)


def _write_results(settings: DemoSettings, outcome: Outcome, frames: list[Any]) -> dict[str, Any]:
    from diffseg_ros.demo import pictures
    from diffseg_ros.demo.recording import write_recording
    from diffseg_ros.demo.scores import Scores

    output, account = settings.output, outcome.account
    print('writing the recording', file=sys.stderr, flush=True)
    write_recording(output / 'output.mcap', outcome.spool, frames, outcome.stamps)
    scores = Scores(outcome)
    _consume(scores.update(), len(account.processed), 'scoring')
    _consume(pictures.write_video(output / 'overlay.webm', outcome), account.sent, 'film')
    points = pictures.write_cloud(output / 'cloud.ply', output / 'cloud.png', outcome)
    report = make_report(account, scores.report(), points)
    if account.processed:
        pictures.write_overview(output / 'overview.png', outcome, summary(report))
    (output / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    return report


def make_report(account: Any, scores: dict[str, Any], cloud_points: int) -> dict[str, Any]:
    """Return the content of report.json."""
    import numpy as np

    ages = {name: round(float(np.percentile(account.ages, share)) / 1e6, 1) if account.ages
            else None for name, share in (('p50', 50), ('p95', 95))}
    return {'frames_sent': account.sent, 'frames_processed': len(account.processed),
            'frames_dropped': sum(account.dropped.values()),
            'dropped_by_cause': account.dropped, **scores, 'cloud_points': cloud_points,
            'age_ms': ages, 'device': account.facts.get('device', ''),
            'model': account.facts.get('model', '')}


def summary(report: dict[str, Any]) -> str:
    """Return the numbers as a line."""
    def number(value: float | None, digits: int = 2) -> str:
        return 'n/a' if value is None else f'{value:.{digits}f}'

    return (f'{report["frames_processed"]} of {report["frames_sent"]} frames processed   '
            f'mIoU {number(report["miou"])} (grid of rectangles {number(report["miou_grid"])})   '
            f'IDF1 {number(report["idf1"])}   '
            f'age p50 {number(report["age_ms"]["p50"], 0)} ms, '
            f'p95 {number(report["age_ms"]["p95"], 0)} ms')


def _check(settings: DemoSettings) -> None:
    if not 2 <= settings.frames <= 100_000:
        raise DiffsegError(f'--frames {settings.frames}: between 2 and 100000 are possible')
    if settings.seed < 0:
        raise DiffsegError(f'--seed {settings.seed}: 0 or more is needed')
    if settings.domain_id is not None and not 0 <= settings.domain_id <= 232:
        raise DiffsegError(f'--domain-id {settings.domain_id}: 0 to 232 are possible')
    if settings.params is not None and not settings.params.is_file():
        raise DiffsegError(f'--params {settings.params}: no such file')
    if not settings.patience > 0:
        raise DiffsegError(f'--patience {settings.patience:g}: more than 0 seconds are needed')
    make_folder(settings.output)
    for name in FILES:
        if name != 'sequence':
            (settings.output / name).unlink(missing_ok=True)


def _params(settings: DemoSettings) -> Path | None:
    from diffseg_ros.config_files import config_file

    if settings.params is not None:
        return settings.params.resolve()
    try:
        return config_file(PARAMETER_FILE)
    except DiffsegError:
        return None


def _consume(items: Iterable[Any], total: int, title: str) -> None:
    if not sys.stderr.isatty():
        print(f'{title}: {total} frames', file=sys.stderr, flush=True)
    for _ in progress(items, total, title):
        pass


def _run(arguments: argparse.Namespace) -> None:
    settings = DemoSettings(arguments.output, arguments.frames, arguments.seed, arguments.params,
                            arguments.domain_id, arguments.patience)
    signal.signal(signal.SIGTERM, _interrupt)
    report = run_demo(settings)
    write_json(arguments.json, report)
    losses = ', '.join(f'{cause} {count}' for cause, count in report['dropped_by_cause'].items())
    print(f'{summary(report)}\ndropped: {losses or "none"}\n')
    for name, meaning in FILES.items():
        if (arguments.output / name).exists():
            print(f'  {arguments.output / name}  {meaning}')


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
