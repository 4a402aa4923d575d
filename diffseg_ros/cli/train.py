"""diffseg_train: train or adapt the embedded diffusion model on unlabelled photos."""

from __future__ import annotations

import argparse
import functools
import math
import os
from pathlib import Path
import signal
import sys
from types import FrameType
from typing import Any, NamedTuple, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, make_folder, run_command, write_json
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.training.photos import PhotoBank
    from diffseg_ros.training.settings import TrainingReport
    import torch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_train', description=__doc__)
    parser.add_argument('--photos', nargs='+', type=Path, required=True, metavar='PATH',
                        help='folders, tar files, images, bags (.mcap, .db3, bag folders: their '
                             'colour images), sequence folders (their rgb/); no labels are needed')
    parser.add_argument('--rgb-topic', metavar='TOPIC',
                        help='colour images in the bags (found by itself)')
    parser.add_argument('--rooms', type=int, default=0, metavar='N',
                        help='also train on views of N generated rooms, six of each (0)')
    parser.add_argument('--output', type=Path, required=True, metavar='WEIGHTS',
                        help='folder for the weights, checkpoint, loss log and curve')
    parser.add_argument('--resume', type=Path, metavar='WEIGHTS',
                        help='go on from the weights (and trainer state) in this folder')
    parser.add_argument('--minutes', type=float, default=60.0, metavar='M',
                        help='time to spend (60)')
    parser.add_argument('--learning-rate', type=float, metavar='R',
                        help='peak of AdamW (0.001 for a new model, 0.0002 with --resume)')
    parser.add_argument('--batch', type=int, metavar='N',
                        help='crops of 96x128 pixels in a batch (16 on a CPU, 64 on a GPU)')
    parser.add_argument('--precision', choices=('auto', 'bf16', 'fp32'), default='auto',
                        help='of the computation (auto)')
    parser.add_argument('--device', default='auto',
                        help="'auto', 'cpu', 'cuda' or 'cuda:N' (auto)")
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='of the first weights, the crops and the rooms (0)')
    parser.add_argument('--report-seconds', type=float, default=120.0, metavar='S',
                        help='time between checkpoints and lines of progress (120)')
    add_json_option(parser)
    return parser


class _StopSignal:
    """
    Notes SIGINT and SIGTERM; the same one a second time ends the process at once.

    Attributes
    ----------
    number
        The signal that came, or None.
    training
        Whether a signal leaves it to the training to stop; before, it interrupts.

    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.training = False
        self._former = {number: signal.signal(number, self._note)
                        for number in (signal.SIGINT, signal.SIGTERM)}

    def __call__(self) -> bool:
        return self.number is not None

    def restore(self) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)
        if not self.training:
            raise KeyboardInterrupt


def _print_report(report: TrainingReport) -> None:
    if math.isnan(report.learning_rate):
        line = f'held-out loss at the start: {report.heldout_loss:.4f}'
    else:
        skipped = (f'{report.skipped} steps skipped (gradient not finite)  ' if report.skipped
                   else '')
        line = (f'{report.samples} samples  {report.samples_per_second:.1f}/s  '
                f'train {report.train_loss:.4f}  held out {report.heldout_loss:.4f}  {skipped}'
                f'{report.seconds_left / 60:.1f} min left')
    print(line, file=sys.stderr, flush=True)


class _Banks(NamedTuple):
    training: PhotoBank
    heldout: PhotoBank
    photos: int
    views: int
    unreadable: int
    every: int
    skipped: dict[str, int]


def _check_output(output: Path, resume: Path | None) -> None:
    """Refuse a folder that cannot be made, or whose model would be lost."""
    from diffseg_ros.training.checkpoint import STATE_FILE, WEIGHTS_FILE
    from diffseg_ros.training.trainer import LOG_FILE

    place = output
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = 'cannot be written to' if place.is_dir() else 'is no folder'
        raise DiffsegError(f'--output {output}: cannot be made a folder to write to ({place} '
                           f'{reason}); name one in a place that can be written to')
    held = [name for name in (WEIGHTS_FILE, STATE_FILE, LOG_FILE) if (output / name).exists()]
    if held and (resume is None or output.resolve() != resume.resolve()):
        raise DiffsegError(f'--output {output}: holds {held[0]} of another run; name a new '
                           f'folder, or go on from it with --resume {output}')


def _load_banks(arguments: argparse.Namespace, device: torch.device) -> _Banks:
    from diffseg_ros.training.photo_files import PhotoFiles
    from diffseg_ros.training.photos import PhotoBank
    from diffseg_ros.training.rooms import room_photos
    import torch

    files = PhotoFiles(arguments.photos, arguments.rgb_topic)
    photos = [photo for _, photo in files]
    for note in files.notes:
        print(note, file=sys.stderr)
    if files.skipped:
        print('skipped: ' + ', '.join(f'{count} {kind}' for kind, count in files.skipped.items()),
              file=sys.stderr)
    if arguments.rgb_topic and not files.notes:
        raise DiffsegError(f'--rgb-topic {arguments.rgb_topic}: there is no bag among the photos; '
                           'leave the option out, or name a bag')
    if len(photos) < 2:
        raise DiffsegError(f'photos {" ".join(map(str, arguments.photos))}: {len(photos)} found; '
                           'at least 2 are needed, one to hold out')
    every = max(2, min(50, len(photos) // 4))
    heldout, unreadable_heldout = PhotoBank.load(photos[::every], torch.device('cpu'))
    views = list(room_photos(arguments.rooms, arguments.seed))
    training, unreadable = PhotoBank.load(
        [*(photo for number, photo in enumerate(photos) if number % every), *views], device)
    return _Banks(training, heldout, len(photos), len(views), unreadable + unreadable_heldout,
                  every, dict(files.skipped))


def _run(arguments: argparse.Namespace, stop: _StopSignal) -> None:
    from diffseg_ros.backbones.device import resolve_device
    from diffseg_ros.training.learner import Learner
    from diffseg_ros.training.settings import TrainingSettings
    from diffseg_ros.training.trainer import Trainer

    settings = TrainingSettings(
        minutes=arguments.minutes, learning_rate=arguments.learning_rate,
        batch=arguments.batch, precision=arguments.precision, seed=arguments.seed,
        report_seconds=arguments.report_seconds)
    if arguments.rooms < 0:
        raise DiffsegError(f'--rooms {arguments.rooms}: give 0 or more')
    device = resolve_device(arguments.device)
    _check_output(arguments.output, arguments.resume)
    learner = Learner(settings, device, resume=arguments.resume)
    banks = _load_banks(arguments, device)
    rooms = f', {banks.views} views of rooms' if banks.views else ''
    print(f'{banks.photos} photos ({banks.unreadable} unreadable or below 48x48){rooms}, '
          f'1 photo in {banks.every} held out, on {device}', file=sys.stderr)
    trainer = Trainer(settings, learner, banks.training, banks.heldout)
    for note in trainer.notes:
        print(note, file=sys.stderr)
    make_folder(arguments.output)
    stop.training = True
    reports: list[TrainingReport] = []

    def report(line: TrainingReport) -> None:
        reports.append(line)
        _print_report(line)

    trainer.run(arguments.output, report, stop)
    write_json(arguments.json, _summary(banks, reports) | {'device': str(device)})
    if stop():
        print(f'diffseg_train: stopped early; saved in {arguments.output}, and --resume '
              f'{arguments.output} goes on from there', file=sys.stderr)


def _summary(banks: _Banks, reports: list[TrainingReport]) -> dict[str, Any]:
    first, last = reports[0], reports[-1]
    return {
        'photos': banks.photos, 'views': banks.views, 'unreadable': banks.unreadable,
        'skipped': banks.skipped, 'samples': last.samples, 'seconds': last.seconds,
        'train_loss': last.train_loss, 'heldout_loss_at_start': first.heldout_loss,
        'heldout_loss': last.heldout_loss, 'steps_skipped': sum(line.skipped for line in reports)}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 130 or 143 after SIGINT or SIGTERM."""
    stop = _StopSignal()
    try:
        code = run_command(functools.partial(_run, stop=stop), _parser(), argv)
    finally:
        stop.restore()
    return 128 + stop.number if stop.number is not None and code in (0, 130) else code
