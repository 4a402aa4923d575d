"""A training run: batches, checkpoints and a log with its curve, until the time is spent."""

from __future__ import annotations

from collections.abc import Callable
import csv
from dataclasses import asdict, dataclass
import math
from pathlib import Path
import shutil
import time

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import checkpoint
from diffseg_ros.training.checkpoint import PATCH
from diffseg_ros.training.crops import colour_jitter, CropSampler, HeldoutCrops
from diffseg_ros.training.teacher import Teacher
from diffseg_ros.training.trainer import DiffusionTrainer, TrainingSettings
import torch
from torch.nn import functional

LOG_FILE = 'training_log.csv'
CURVE_FILE = 'training_curve.png'
COLUMNS = ('samples', 'seconds', 'learning_rate', 'train_loss', 'heldout_loss',
           'train_alignment', 'heldout_alignment')
SIZES = ((160, 160), (128, 176), (160, 128), (96, 96))

_LARGEST_CROP = 160 * 160
_BATCH = {'cpu': 16, 'cuda': 64}
_WARMUP_SHARE = 0.1
_WHITENED_IMAGES = 48


@dataclass(frozen=True)
class TrainingReport:
    """
    One line of progress.

    Attributes
    ----------
    samples, seconds
        Crops seen and time spent since the model was new, over all its runs.
    learning_rate, train_loss
        NaN before the first step; the loss is the mean since the last report.
    train_alignment
        1 - cosine of the features to the teacher's; NaN and mean likewise.
    heldout_loss, heldout_alignment
        Of the averaged weights.
    skipped
        Steps since the last report whose gradient was not finite: they changed nothing.

    """

    samples: int
    seconds: float
    seconds_left: float
    samples_per_second: float
    learning_rate: float
    train_loss: float
    heldout_loss: float
    train_alignment: float
    heldout_alignment: float
    skipped: int = 0


class TrainingRun:
    """
    Trains a model on the images of a sampler; `run` writes the result.

    Attributes
    ----------
    warnings
        Lines that the user should know.

    """

    def __init__(self, settings: TrainingSettings, trainer: DiffusionTrainer,
                 sampler: CropSampler, heldout: CropSampler, teacher: Teacher) -> None:
        """
        Prepare for these images; on a GPU the model is compiled here.

        The images to learn from are on the trainer's device, the held-out ones on the CPU.
        Raises DiffsegError where they are too small, or a batch too large for the device.
        """
        self._settings, self._trainer, self._sampler = settings, trainer, sampler
        self._teacher = teacher
        self._device = trainer.device
        self._batch_pixels = _LARGEST_CROP * (
            settings.batch or _BATCH.get(self._device.type, _BATCH['cpu']))
        self._eligible = {size: index for size in SIZES
                          if len(index := sampler.eligible(*size))}
        if not self._eligible:
            raise DiffsegError('--photos: no image has at least 58x58 pixels; give larger ones')
        self._heldout = HeldoutCrops(heldout, settings.heldout_samples, self._device)
        self.warnings: list[str] = []
        if self._device.type == 'cuda':
            failure = trainer.compile(
                (self._count(height, width), 3 * PATCH**2, height // PATCH, width // PATCH)
                for height, width in self._eligible)
            if failure:
                self.warnings.append('the model cannot be compiled here, training is slower: '
                                     f'{failure}')

    def run(self, output: Path, report: Callable[[TrainingReport], None],
            stop: Callable[[], bool] = lambda: False) -> TrainingReport:
        """
        Train for the given minutes and return what the last checkpoint reports.

        Checkpoints and the log go to the folder `output`. `report` is called before the first
        step and after each checkpoint; `stop` after each step, and when it returns True, a last
        checkpoint is written. Raises DiffsegError when training diverges; the last checkpoint
        stays.
        """
        last = self._begin(output)
        report(last)
        start = mark = time.monotonic()
        left = budget = self._settings.minutes * 60
        seen = 0
        while left > 0:
            rate = self.learning_rate((time.monotonic() - start) / budget)
            seen += self.train_batch(rate)
            now = time.monotonic()
            left = 0.0 if stop() else max(budget - (now - start), 0.0)
            if left > 0 and now - mark < self._settings.report_seconds:
                continue
            last = self._checkpoint(output, seen, now - mark, left, rate)
            report(last)
            mark, seen = time.monotonic(), 0
        return last

    def heldout_losses(self) -> list[float]:
        """Return both losses of the averaged weights on held-out crops with fixed noise."""
        return self._heldout.mean_losses(self._trainer.ema_losses)

    def learning_rate(self, fraction: float) -> float:
        """Return the rate of the next step after this fraction of the time."""
        # A run of a minute has fewer steps than the warm-up of a long one.
        warmup = min(1.0, max((self._trainer.steps + 1) / self._settings.warmup_steps,
                              fraction / _WARMUP_SHARE))
        cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
        return self._trainer.peak_rate * warmup * (0.1 + 0.9 * cosine)

    def train_batch(self, rate: float) -> int:
        """Take one step on random crops of one size; return how many."""
        sizes = list(self._eligible)
        height, width = sizes[self._trainer.steps % len(sizes)]
        eligible, generator = self._eligible[height, width], self._trainer.generator
        count = self._count(height, width)
        draw = torch.randint(len(eligible), (count,), generator=generator, device=self._device)
        crops, targets = self._sampler.crops(eligible[draw], height, width, generator)
        images = functional.pixel_unshuffle(colour_jitter(crops, generator) * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=generator, device=self._device)
        timesteps = torch.randint(1000, (count,), generator=generator, device=self._device)
        self._trainer.step(images, targets, noise, timesteps, rate)
        return count

    def _count(self, height: int, width: int) -> int:
        """Return how many crops of this size make a batch."""
        return self._batch_pixels // (height * width)

    def _begin(self, output: Path) -> TrainingReport:
        """Write the loss before the first step into the log, so that the curve shows it."""
        output.mkdir(parents=True, exist_ok=True)
        former = self._trainer.resumed / LOG_FILE if self._trainer.resumed else output
        if former.is_file() and former.resolve() != (output / LOG_FILE).resolve():
            shutil.copyfile(former, output / LOG_FILE)
        progress = self._trainer.progress
        denoising, alignment = self.heldout_losses()
        first = TrainingReport(int(progress['samples']), progress['seconds'],
                               self._settings.minutes * 60, 0.0, math.nan, math.nan, denoising,
                               math.nan, alignment)
        log(output, first)
        return first

    def _checkpoint(self, output: Path, seen: int, seconds: float, left: float,
                    rate: float) -> TrainingReport:
        progress = self._trainer.progress
        progress['samples'] += seen
        progress['seconds'] += seconds
        denoising, alignment, skipped = self._trainer.take_losses()
        heldout = self.heldout_losses()
        report = TrainingReport(int(progress['samples']), progress['seconds'], left,
                                seen / seconds, rate, denoising, heldout[0], alignment,
                                heldout[1], skipped)
        self._trainer.check_finite(report.heldout_loss)
        with checkpoint.replacing(output) as scratch:
            checkpoint.save_weights(self._trainer.ema, scratch)
            self._teacher.save(scratch)
            checkpoint.write_whitening(scratch, self._heldout.images(_WHITENED_IMAGES),
                                       self._device)
            checkpoint.save_state(scratch, self._trainer.state(), progress)
        log(output, report)
        return report


def log(output: Path, report: TrainingReport) -> None:
    """Append a report to the CSV log in `output`, and draw both losses against the samples."""
    path = output / LOG_FILE
    new = not path.is_file()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction='ignore')
        if new:
            writer.writeheader()
        writer.writerow({key: f'{value:.6g}' for key, value in asdict(report).items()})
    try:
        with path.open(newline='') as file:
            rows = [{key: float(row[key]) for key in COLUMNS} for row in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise DiffsegError(f'{path}: damaged ({type(error).__name__}: {error}); remove it to '
                           'start a new log') from error
    _draw_curve(rows, output / CURVE_FILE)


def _draw_curve(rows: list[dict[str, float]], picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), dpi=110)
    panels = figure.subplots(2, sharex=True)
    samples = [max(row['samples'], 1) for row in rows]
    for axes, name, label in zip(panels, ('loss', 'alignment'),
                                 ('denoising loss (v)', 'alignment (1 - cosine)'), strict=True):
        axes.plot(samples, [row[f'train_{name}'] for row in rows], color='0.7', label='training')
        axes.plot(samples, [row[f'heldout_{name}'] for row in rows], color='C0',
                  label='held out (EMA)')
        axes.set(xscale='log', yscale='log', ylabel=label)
        axes.grid(True, which='both', alpha=0.3)
    panels[0].legend()
    panels[1].set_xlabel('samples')
    figure.tight_layout()
    figure.savefig(picture)
