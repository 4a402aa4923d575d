"""One model in training: its weights, their moving average (EMA) and AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import contextlib
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training import checkpoint
from diffseg_ros.training.model import create_scheduler, create_unet
from diffseg_ros.training.settings import NEW_RATE, RESUMED_RATE, TrainingSettings
from diffusers import UNet2DModel
import torch
from torch.nn import functional

_MOMENTS = ('step', 'exp_avg', 'exp_avg_sq')


class Learner:
    """
    Learns v-prediction from batches.

    Attributes
    ----------
    ema
        The averaged weights, which are what is kept in the end.
    device
        Where everything is.
    generator
        For drawing batches; it is part of the state.
    rate
        Peak learning rate.
    resumed
        The folder that it goes on from, None for a new model.
    steps
        Steps so far, those of the runs before included if their state was there.
    progress
        'samples' and 'seconds' of all runs.

    """

    def __init__(self, settings: TrainingSettings, device: torch.device, *,
                 resume: Path | None = None) -> None:
        """
        Create the model, or continue the one in the folder `resume`.

        Raises
        ------
        DiffsegError
            The folder lacks weights, or holds damaged ones.

        """
        torch.manual_seed(settings.seed)
        self.device, self.resumed = device, resume
        self.rate = settings.learning_rate or (RESUMED_RATE if resume else NEW_RATE)
        self._settings = settings
        self._unet = (checkpoint.load_weights(resume) if resume else create_unet()).to(device)
        self.ema = UNet2DModel.from_config(self._unet.config).to(device)
        self.ema.load_state_dict(self._unet.state_dict())
        self.ema.requires_grad_(False).eval()
        self._unet.train()
        self._optimizer = torch.optim.AdamW(self._unet.parameters(), lr=self.rate, fused=True,
                                            weight_decay=0.01, betas=(0.9, 0.99))
        # With a fused optimiser it skips steps of non-finite gradients without waiting for them.
        self._scaler = torch.amp.GradScaler(device.type, init_scale=1.0)
        self._scheduler = create_scheduler()
        self._forward: Callable[..., Any] = self._unet
        self._sums = torch.zeros(3, device=device)
        self.steps = 0
        self.progress: dict[str, float] = {'samples': 0, 'seconds': 0.0}
        tensors: dict[str, torch.Tensor] = {}
        if resume:
            tensors, self.progress = checkpoint.load_state(resume)
        self.generator = torch.Generator(device).manual_seed(
            settings.seed + int(self.progress['samples']))
        if resume and tensors:
            self._restore(resume, tensors)

    def learn(self, images: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor,
              rate: float) -> None:
        """
        Take one step on a batch; one whose gradient is not finite is counted and skipped.

        Parameters
        ----------
        images, noise
            (B, 3 * PATCH**2, h, w) float32 folded crops in [-1, 1], and Gaussian noise.
        timesteps
            (B,) int64.
        rate
            Learning rate of this step.

        """
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        loss = self._loss(self._forward, images, noise, timesteps)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._unet.parameters(), 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update(1.0)
        self.steps += 1
        self._average()
        finite = norm.isfinite()
        self._sums += torch.stack([loss.detach().where(finite, 0.0), finite, ~finite])

    def warm_up(self, shapes: Iterable[tuple[int, ...]]) -> str | None:
        """
        Compile the model for batches of these shapes, without a step.

        Returns
        -------
        str or None
            Why that failed: then the model runs as it is, slower.

        Raises
        ------
        DiffsegError
            A batch does not fit the device's memory.

        """
        failure = None
        try:
            self._forward = torch.compile(self._unet, dynamic=False)
            for shape in shapes:
                batch = torch.zeros(shape, device=self.device)
                steps = torch.zeros(shape[:1], dtype=torch.int64, device=self.device)
                self._loss(self._forward, batch, batch, steps).backward()
        except torch.OutOfMemoryError as error:
            raise DiffsegError(f'batch: does not fit the memory of {self.device}; give a smaller '
                               '--batch') from error
        except Exception as error:  # compilers fail in many ways, and training can do without
            failure = ' '.join(str(error).split())[:200] or type(error).__name__
            self._forward = self._unet
        self._optimizer.zero_grad(set_to_none=True)
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return failure

    def take_loss(self) -> tuple[float, int]:
        """Return the mean loss (NaN without any) and the skipped steps since the last call."""
        total, count, skipped = self._sums.tolist()
        self._sums.zero_()
        return total / count if count else float('nan'), int(skipped)

    def ema_loss(self, images: torch.Tensor, noise: torch.Tensor,
                 timesteps: torch.Tensor) -> torch.Tensor:
        """Return the loss of the averaged weights on a batch."""
        return self._loss(self.ema, images, noise, timesteps)

    def check_finite(self, heldout_loss: float) -> None:
        """
        Refuse weights that are not worth keeping.

        Raises
        ------
        DiffsegError
            The loss or a weight, also as float16, is not a finite number.

        """
        if not (torch.tensor(heldout_loss).isfinite() and checkpoint.all_finite(self._unet)
                and checkpoint.all_finite(self.ema, torch.float16)):
            raise DiffsegError(f'training diverged at learning rate {self.rate:g} (held-out loss '
                               f'{heldout_loss:g}): this checkpoint is not written; give a lower '
                               '--learning-rate')

    def state(self) -> dict[str, torch.Tensor]:
        """Return all that the next steps depend on, apart from the rate."""
        names = {parameter: name for name, parameter in self._unet.named_parameters()}
        return {
            **{f'model.{name}': value for name, value in self._unet.state_dict().items()},
            **{f'ema.{name}': value for name, value in self.ema.state_dict().items()},
            **{f'{key}.{names[parameter]}': moments[key]
               for parameter, moments in self._optimizer.state.items() for key in _MOMENTS},
            'steps': torch.tensor(self.steps),
            f'generator.{self.device.type}': self.generator.get_state()}

    def _restore(self, folder: Path, tensors: dict[str, torch.Tensor]) -> None:
        try:
            self._unet.load_state_dict(_below('model.', tensors))
            # States of earlier versions have neither average nor count of steps nor generator.
            if averaged := _below('ema.', tensors):
                self.ema.load_state_dict(averaged)
            for name, parameter in self._unet.named_parameters():
                moments = {key: tensors[f'{key}.{name}'].to(self.device) for key in _MOMENTS}
                if {moments[key].shape for key in _MOMENTS[1:]} != {parameter.shape}:
                    raise ValueError(f'moments of {name}')
                self._optimizer.state[parameter] = moments
            self.steps = int(tensors['steps'] if 'steps' in tensors else
                             max(_below('step.', tensors).values()))
            drawn = tensors.get(f'generator.{self.device.type}')
            if drawn is not None:
                self.generator.set_state(drawn)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise checkpoint.damaged_state(folder, error) from error

    @torch.no_grad()
    def _average(self) -> None:
        # Few steps have little to average. A restored count of steps keeps the average slow.
        decay = min(self._settings.ema_decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self._unet.parameters()),
                             1 - decay)

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
            wanted = 'bf16' if supports_bf16(self.device) else 'fp32'
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted == 'bf16')


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items()
            if key.startswith(prefix)}


def supports_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32 on this device."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported()
    return bool(torch.backends.mkldnn.is_available()
                and torch.ops.mkldnn._is_mkldnn_bf16_supported())
