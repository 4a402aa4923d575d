"""diffseg_train: train or adapt the embedded diffusion model on unlabelled photos."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import NamedTuple, TYPE_CHECKING

from diffseg_ros.apps.command import add_json_option, make_folder, run_command, write_json
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.training.photos import PhotoBank
    from diffseg_ros.training.trainer import TrainingReport
    import torch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_train', description=__doc__)
    parser.add_argument('--photos', nargs='+', type=Path, required=True, metavar='PATH',
                        help='folders, tar files or images; no labels are needed')
    parser.add_argument('--rooms', type=int, default=0, metavar='N',
                        help='also train on views of N generated rooms, six of each (0)')
    parser.add_argument('--output', type=Path, required=True, metavar='WEIGHTS',
                        help='folder for the weights, checkpoint, loss log and curve')
    parser.add_argument('--resume', type=Path, metavar='WEIGHTS',
                        help='continue from the weights (and trainer state) in this folder')
    parser.add_argument('--minutes', type=float, default=60.0, metavar='M',
                        help='time to spend (60)')
    parser.add_argument('--learning-rate', type=float, default=1e-3, metavar='R',
                        help='of AdamW (0.001)')
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


def _print_report(report: TrainingReport) -> None:
    print(f'{report.samples} samples  {report.samples_per_second:.1f}/s  '
          f'train {report.train_loss:.4f}  held out {report.heldout_loss:.4f}  '
          f'{report.seconds_left / 60:.1f} min left', file=sys.stderr, flush=True)


class _Banks(NamedTuple):
    training: PhotoBank
    heldout: PhotoBank
    photos: int
    views: int
    unreadable: int
    every: int


def _load_banks(arguments: argparse.Namespace, device: torch.device) -> _Banks:
    from diffseg_ros.training.photos import iterate_photos, PhotoBank
    from diffseg_ros.training.rooms import room_photos

    if arguments.rooms < 0:
        raise DiffsegError(f'--rooms {arguments.rooms}: give 0 or more')
    photos = [data for _, data in iterate_photos(arguments.photos)]
    if len(photos) < 2:
        raise DiffsegError(f'photos {" ".join(map(str, arguments.photos))}: {len(photos)} found; '
                           'at least 2 are needed, one to hold out')
    every = max(2, min(50, len(photos) // 4))
    heldout, unreadable_heldout = PhotoBank.load(photos[::every], device)
    views = list(room_photos(arguments.rooms, arguments.seed))
    training, unreadable = PhotoBank.load(
        [photo for number, photo in enumerate(photos) if number % every] + views, device)
    return _Banks(training, heldout, len(photos), len(views), unreadable + unreadable_heldout,
                  every)


def _run(arguments: argparse.Namespace) -> None:
    from diffseg_ros.diffusion.device import resolve_device
    from diffseg_ros.training.trainer import Trainer, TrainingSettings

    settings = TrainingSettings(
        minutes=arguments.minutes, learning_rate=arguments.learning_rate,
        batch=arguments.batch, precision=arguments.precision, seed=arguments.seed,
        report_seconds=arguments.report_seconds)
    device = resolve_device(arguments.device)
    banks = _load_banks(arguments, device)
    rooms = f', {banks.views} views of rooms' if banks.views else ''
    print(f'{banks.photos} photos ({banks.unreadable} unreadable or below 48x48){rooms}, '
          f'1 photo in {banks.every} held out, on {device}', file=sys.stderr)
    trainer = Trainer(settings, banks.training, banks.heldout, device,
                      resume=arguments.resume)
    make_folder(arguments.output)
    print(f'held-out loss at the start: {trainer.heldout_loss():.4f}', file=sys.stderr, flush=True)
    last = trainer.run(arguments.output, _print_report)
    write_json(arguments.json, {
        'photos': banks.photos, 'views': banks.views, 'unreadable': banks.unreadable,
        'samples': last.samples, 'seconds': last.seconds, 'train_loss': last.train_loss,
        'heldout_loss': last.heldout_loss, 'device': str(device)})


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, _parser(), argv)
