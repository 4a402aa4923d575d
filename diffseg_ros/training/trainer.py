"""Denoising training of the embedded model (v-prediction, EMA, mixed crop sizes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass
import math
from pathlib import Path
import time
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import checkpoint, curve
from diffseg_ros.training.model import create_scheduler, create_unet, PATCH
from diffseg_ros.training.photos import colour_jitter, PhotoBank
from diffseg_ros.training.whitening import write_whitening
from diffusers import UNet2DModel
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

LOG_FILE = 'training_log.csv'
CURVE_FILE = 'training_curve.png'
SIZES = ((96, 128), (64, 64), (128, 96), (64, 96))
_LARGEST_CROP = 96 * 128
_BATCH = {'cpu': 16, 'cuda': 64}


@dataclass(frozen=True)
class TrainingSettings:
    """
    What a training run may spend and how fast it learns.

    Attributes
    ----------
    minutes
        Wall time to spend; the learning rate falls to a tenth along a cosine over it.
    batch
        Crops of 96x128 pixels in one batch; of smaller crops there are as many more. None is 16
        on a CPU and 64 on a GPU, which fewer would leave idle.
    precision
        'auto', 'bf16' or 'fp32' arithmetic; weights and optimiser are always float32.

    """

    minutes: float
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    ema_decay: float = 0.999
    batch: int | None = None
    report_seconds: float = 120.0
    heldout_samples: int = 128
    precision: str = 'auto'
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values no run can use."""
        if self.minutes <= 0 or self.learning_rate <= 0:
            raise DiffsegError(f'minutes ({self.minutes}) and learning rate '
                               f'({self.learning_rate}) must be above 0')
        if self.batch is not None and self.batch < 1:
            raise DiffsegError(f'batch {self.batch}: at least 1 crop is needed')
        if self.precision not in ('auto', 'bf16', 'fp32'):
            raise DiffsegError(f'precision {self.precision!r}: choose auto, bf16 or fp32')


@dataclass(frozen=True)
class TrainingReport:
    """One line of progress."""

    samples: int
    seconds: float
    seconds_left: float
    samples_per_second: float
    learning_rate: float
    train_loss: float
    heldout_loss: float


class Trainer:
    """Trains one model on one bank of photos; `run` spends the time and writes the result."""

    def __init__(self, settings: TrainingSettings, training: PhotoBank, heldout: PhotoBank,
                 device: torch.device, *, resume: Path | None = None) -> None:
        """Create the model, or continue the one in the folder `resume`."""
        torch.manual_seed(settings.seed)
        self._settings = settings
        self._device = device
        self._bank = training
        self._batch_pixels = _LARGEST_CROP * (
            settings.batch or _BATCH.get(device.type, _BATCH['cpu']))
        self._unet = (checkpoint.load_weights(resume) if resume else create_unet()).to(device)
        self._ema = UNet2DModel.from_config(self._unet.config).to(device)
        self._ema.load_state_dict(self._unet.state_dict())
        self._ema.requires_grad_(False).eval()
        self._unet.train()
        self._optimizer = torch.optim.AdamW(self._unet.parameters(), lr=settings.learning_rate,
                                            weight_decay=0.01, betas=(0.9, 0.99))
        self._progress = {'samples': 0, 'seconds': 0.0}
        if resume:
            self._progress = checkpoint.load_state(resume, self._unet, self._optimizer)
        self._resume = resume
        self._scheduler = create_scheduler()
        self._generator = torch.Generator(device).manual_seed(
            settings.seed + int(self._progress['samples']))
        self._step = 0
        self._eligible = {size: index for size in SIZES
                          if len(index := training.eligible(*size))}
        if not self._eligible:
            raise DiffsegError('photos: none is large enough for crops of 64x64 pixels')
        self._heldout = self._heldout_batch(heldout)
        compiled = device.type == 'cuda'
        self._forward = torch.compile(self._unet) if compiled else self._unet

    def run(self, output: Path, report: Callable[[TrainingReport], None]) -> TrainingReport:
        """Train for the given minutes, writing checkpoints and the log to `output`."""
        log = output / LOG_FILE
        output.mkdir(parents=True, exist_ok=True)
        if self._resume:
            checkpoint.copy_log(self._resume / LOG_FILE, log)
        start = mark = time.monotonic()
        seen = 0
        losses = torch.zeros(2, device=self._device)
        last = None
        budget = self._settings.minutes * 60
        while last is None or last.seconds_left > 0:
            rate = self._learning_rate((time.monotonic() - start) / budget)
            count, loss = self._train_batch(rate)
            seen += count
            losses += torch.stack([loss, torch.ones_like(loss)])
            now = time.monotonic()
            left = budget - (now - start)
            if left > 0 and now - mark < self._settings.report_seconds:
                continue
            self._progress['samples'] += seen
            self._progress['seconds'] += now - mark
            last = TrainingReport(int(self._progress['samples']), self._progress['seconds'],
                                  max(left, 0.0), seen / (now - mark), rate,
                                  float(losses[0] / losses[1]), self.heldout_loss())
            self._save(output, log, last)
            report(last)
            mark, seen = time.monotonic(), 0
            losses.zero_()
        return last

    def heldout_loss(self) -> float:
        """Return the EMA model's loss on held-out crops with fixed noise and timesteps."""
        total = 0.0
        with torch.no_grad():
            for images, noise, timesteps in zip(*(part.split(32) for part in self._heldout),
                                                strict=True):
                total += float(self._loss(self._ema, images, noise, timesteps)) * len(images)
        return total / len(self._heldout[0])

    def _save(self, output: Path, log: Path, report: TrainingReport) -> None:
        checkpoint.save_weights(self._ema, output)
        write_whitening(output, self._heldout_photos(), self._device)
        checkpoint.save_state(output, self._unet, self._optimizer, self._progress)
        curve.append_row(log, {key: getattr(report, key) for key in curve.COLUMNS})
        curve.draw_curve(log, output / CURVE_FILE)

    def _heldout_photos(self) -> Iterator[npt.NDArray[np.uint8]]:
        photos = functional.pixel_shuffle(self._heldout[0], PATCH).permute(0, 2, 3, 1)
        yield from ((photos + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()

    def _train_batch(self, rate: float) -> tuple[int, torch.Tensor]:
        sizes = list(self._eligible)
        height, width = sizes[self._step % len(sizes)]
        eligible = self._eligible[height, width]
        count = max(1, self._batch_pixels // (height * width))
        draw = torch.randint(len(eligible), (count,), generator=self._generator,
                             device=self._device)
        images = self._bank.crops(eligible[draw], height, width, self._generator)
        images = functional.pixel_unshuffle(
            colour_jitter(images, self._generator) * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=self._generator, device=self._device)
        timesteps = torch.randint(1000, (count,), generator=self._generator, device=self._device)
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        loss = self._loss(self._forward, images, noise, timesteps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._unet.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        decay = min(self._settings.ema_decay, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_(list(self._ema.parameters()), list(self._unet.parameters()),
                             1 - decay)
        return count, loss.detach()

    def _loss(self, model: Callable[..., Any], images: torch.Tensor, noise: torch.Tensor,
              timesteps: torch.Tensor) -> torch.Tensor:
        noisy = self._scheduler.add_noise(images, noise, timesteps)
        target = self._scheduler.get_velocity(images, noise, timesteps)
        with self._autocast():
            prediction = model(noisy, timesteps, return_dict=False)[0]
        return functional.mse_loss(prediction.float(), target)

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        wanted = self._settings.precision
        if wanted == 'auto':
            wanted = 'bf16' if supports_bf16(self._device) else 'fp32'
        return torch.autocast(self._device.type, torch.bfloat16, enabled=wanted == 'bf16')

    def _learning_rate(self, fraction: float) -> float:
        warmup = min(1.0, (self._step + 1) / self._settings.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
        return self._settings.learning_rate * warmup * (0.1 + 0.9 * cosine)

    def _heldout_batch(self, bank: PhotoBank) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = torch.Generator(self._device).manual_seed(20260)
        size = (96, 128) if len(bank.eligible(96, 128)) else (64, 64)
        eligible = bank.eligible(*size)
        if not len(eligible):
            raise DiffsegError('photos: none of those held out is at least 64x64 pixels; '
                               'give more photos')
        count = self._settings.heldout_samples
        spread = torch.arange(count, device=self._device)
        index = eligible[spread * len(eligible) // count]
        images = functional.pixel_unshuffle(
            bank.crops(index, *size, generator) * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=generator, device=self._device)
        timesteps = (spread * 389) % count * 1000 // count
        return images, noise, timesteps


def supports_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32 on this device."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
