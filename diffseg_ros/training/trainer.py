"""Denoising training of the embedded model (v-prediction, EMA, mixed crop sizes)."""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
import time

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import checkpoint, curve
from diffseg_ros.training.heldout import Heldout
from diffseg_ros.training.learner import Learner
from diffseg_ros.training.model import PATCH
from diffseg_ros.training.photos import colour_jitter, PhotoBank
from diffseg_ros.training.settings import TrainingReport, TrainingSettings
from diffseg_ros.training.whitening import write_whitening
import torch
from torch.nn import functional

LOG_FILE = 'training_log.csv'
CURVE_FILE = 'training_curve.png'
SIZES = ((96, 128), (64, 64), (128, 96), (64, 96))
_LARGEST_CROP = 96 * 128
_BATCH = {'cpu': 16, 'cuda': 64}
_WARMUP_SHARE = 0.1


class Trainer:
    """
    Trains one model on one bank of photos; `run` spends the time and writes the result.

    Attributes
    ----------
    notes
        Lines that the user should know.

    """

    def __init__(self, settings: TrainingSettings, learner: Learner, training: PhotoBank,
                 heldout: PhotoBank) -> None:
        """
        Prepare for these photos; on a GPU the model is compiled here.

        Parameters
        ----------
        settings
            As those of the learner.
        learner
            What learns.
        training
            Photos to learn from, on the learner's device.
        heldout
            Photos to measure the loss on, on the CPU.

        Raises
        ------
        DiffsegError
            The photos are too small, or a batch is too large for the device.

        """
        self._settings, self._learner, self._bank = settings, learner, training
        self._device = learner.device
        self._batch_pixels = _LARGEST_CROP * (
            settings.batch or _BATCH.get(self._device.type, _BATCH['cpu']))
        self._eligible = {size: index for size in SIZES
                          if len(index := training.eligible(*size))}
        if not self._eligible:
            raise DiffsegError('photos: none is large enough for crops of 64x64 pixels')
        self._heldout = Heldout(heldout, settings.heldout_samples, self._device)
        self.notes: list[str] = []
        if self._device.type == 'cuda':
            self._compile()

    def run(self, output: Path, report: Callable[[TrainingReport], None],
            stop: Callable[[], bool] = lambda: False) -> TrainingReport:
        """
        Train for the given minutes and return what the last checkpoint reports.

        Parameters
        ----------
        output
            Folder for checkpoints and the log, made where it is not there.
        report
            Called before the first step and after each checkpoint.
        stop
            Asked after each step; when it says yes, a last checkpoint is written.

        Raises
        ------
        DiffsegError
            Training diverged; the checkpoint before stays.

        """
        last = self._begin(output)
        report(last)
        start = mark = time.monotonic()
        left = budget = self._settings.minutes * 60
        seen = 0
        while left > 0:
            rate = self._learning_rate((time.monotonic() - start) / budget)
            seen += self._train_batch(rate)
            now = time.monotonic()
            left = 0.0 if stop() else max(budget - (now - start), 0.0)
            if left > 0 and now - mark < self._settings.report_seconds:
                continue
            last = self._checkpoint(output, seen, now - mark, left, rate)
            report(last)
            mark, seen = time.monotonic(), 0
        return last

    def heldout_loss(self) -> float:
        """Return the EMA model's loss on held-out crops with fixed noise and timesteps."""
        return self._heldout.loss(self._learner.ema_loss)

    def _begin(self, output: Path) -> TrainingReport:
        """Write the loss before the first step into the log, so that the curve shows it."""
        output.mkdir(parents=True, exist_ok=True)
        if self._learner.resumed:
            checkpoint.copy_log(self._learner.resumed / LOG_FILE, output / LOG_FILE)
        progress = self._learner.progress
        nothing = float('nan')
        first = TrainingReport(int(progress['samples']), progress['seconds'],
                               self._settings.minutes * 60, 0.0, nothing, nothing,
                               self.heldout_loss())
        self._log(output, first)
        return first

    def _checkpoint(self, output: Path, seen: int, seconds: float, left: float,
                    rate: float) -> TrainingReport:
        progress = self._learner.progress
        progress['samples'] += seen
        progress['seconds'] += seconds
        loss, skipped = self._learner.take_loss()
        report = TrainingReport(int(progress['samples']), progress['seconds'], left,
                                seen / seconds, rate, loss, self.heldout_loss(), skipped)
        self._learner.check_finite(report.heldout_loss)
        with checkpoint.replacing(output) as scratch:
            checkpoint.save_weights(self._learner.ema, scratch)
            write_whitening(scratch, self._heldout.photos(), self._device)
            checkpoint.save_state(scratch, self._learner.state(), self._learner.progress)
        self._log(output, report)
        return report

    def _log(self, output: Path, report: TrainingReport) -> None:
        curve.append_row(output / LOG_FILE,
                         {key: getattr(report, key) for key in curve.COLUMNS})
        curve.draw_curve(output / LOG_FILE, output / CURVE_FILE)

    def _compile(self) -> None:
        failure = self._learner.warm_up(
            (self._count(height, width), 3 * PATCH**2, height // PATCH, width // PATCH)
            for height, width in self._eligible)
        if failure:
            self.notes.append(f'the model cannot be compiled here, training is slower: {failure}')

    def _count(self, height: int, width: int) -> int:
        """Return how many crops of this size make a batch."""
        return max(1, self._batch_pixels // (height * width))

    def _train_batch(self, rate: float) -> int:
        """Take one step on random crops of one size; return how many."""
        sizes = list(self._eligible)
        height, width = sizes[self._learner.steps % len(sizes)]
        eligible, generator = self._eligible[height, width], self._learner.generator
        count = self._count(height, width)
        draw = torch.randint(len(eligible), (count,), generator=generator, device=self._device)
        images = self._bank.crops(eligible[draw], height, width, generator)
        images = functional.pixel_unshuffle(colour_jitter(images, generator) * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=generator, device=self._device)
        timesteps = torch.randint(1000, (count,), generator=generator, device=self._device)
        self._learner.learn(images, noise, timesteps, rate)
        return count

    def _learning_rate(self, fraction: float) -> float:
        # A run of a minute has fewer steps than the warm-up of a long one.
        warmup = min(1.0, max((self._learner.steps + 1) / self._settings.warmup_steps,
                              fraction / _WARMUP_SHARE))
        cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
        return self._learner.rate * warmup * (0.1 + 0.9 * cosine)
