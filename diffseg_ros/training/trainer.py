"""One model in training: its weights, their moving average (EMA) and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
import math
from pathlib import Path
from typing import Literal

from diffseg_ros.backbones.imagenet_features import CHANNELS
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import EMBEDDED, model_defaults
from diffseg_ros.settings import setting, Settings
from diffseg_ros.training import checkpoint
from diffseg_ros.training.checkpoint import AlignedUnet
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch.nn import functional

NEW_RATE, RESUMED_RATE = 1e-3, 2e-4
"""Peak learning rates; a higher one undoes part of what a resumed model has learnt."""

_TIMESTEP = model_defaults(EMBEDDED)['backbone.timestep']
_MOMENTS = ('step', 'exp_avg', 'exp_avg_sq')


class TrainingSettings(Settings):
    """How long a training run takes and how fast it learns."""

    minutes: float = setting(60.0, 'wall time to spend; the learning rate falls to a tenth along '
                             'a cosine over it', 1e-3, 1e6)
    learning_rate: float | None = setting(
        None, 'peak of AdamW; None is 0.001 for a new model, 0.0002 for a resumed one', 1e-9, 1e9)
    warmup_steps: int = setting(200, 'steps over which the rate rises to its peak, or a tenth of '
                                'the time where that is shorter', 1, 1000000)
    ema_decay: float = setting(0.999, 'share of the average that a step keeps', 0.0, 1.0)
    batch: int | None = setting(
        None, 'crops of 160x160 pixels in a batch, more of smaller crops; None is 16 on a CPU '
        'and 64 on a GPU', 2, 100000)
    report_seconds: float = setting(120.0, 'time between checkpoints', 1e-3, 1e9)
    heldout_samples: int = setting(128, 'crops that the held-out losses are measured on', 1,
                                   100000)
    precision: Literal['auto', 'bf16', 'fp32'] = setting(
        'auto', 'of the computation; weights and optimiser are always float32')
    seed: int = setting(0, 'of the first weights and of the crops', 0, 2**32 - 1)


class DiffusionTrainer:
    """
    Trains the embedded model to predict v from noisy images and to give a teacher's features.

    Source of the second loss: Yu et al., "Representation alignment for generation" (REPA), 2025;
    at a decoder layer: Tian et al., "U-REPA", 2025.

    Attributes
    ----------
    ema
        The averaged weights, which are saved in the end.
    generator
        For drawing batches; it is part of the state.
    resumed
        The folder that training resumes from, None for a new model.
    progress
        'samples' and 'seconds' of all runs.

    """

    def __init__(self, settings: TrainingSettings, device: torch.device, *,
                 resume: Path | None = None) -> None:
        """
        Create the model, or continue the one in the folder `resume`.

        Raises DiffsegError where the folder lacks weights, or holds damaged ones.
        """
        torch.manual_seed(settings.seed)
        self.device, self.resumed = device, resume
        self.peak_rate = settings.learning_rate or (RESUMED_RATE if resume else NEW_RATE)
        bf16 = settings.precision == 'bf16' or (settings.precision == 'auto'
                                                and supports_bf16(device))
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        model = checkpoint.load_model(resume) if resume else checkpoint.create_model()
        self._model = model.to(device, memory_format=torch.channels_last)
        self.ema = checkpoint.create_model().to(device, memory_format=torch.channels_last)
        self.ema.load_state_dict(self._model.state_dict())
        self.ema.requires_grad_(False).eval()
        self._model.train()
        # The decay of step n is at most (1 + n) / (10 + n): few steps have little to average.
        self._average = EMAModel((), decay=settings.ema_decay, update_after_step=-1, foreach=True)
        self._average.shadow_params = list(self.ema.parameters())
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=self.peak_rate,
                                            fused=True, weight_decay=0.01, betas=(0.9, 0.99))
        # With a fused optimiser it skips steps of non-finite gradients without waiting for them.
        self._scaler = torch.amp.GradScaler(device.type, init_scale=1.0)
        self._scheduler = checkpoint.create_scheduler()
        self._sums = torch.zeros(4, device=device)
        self.progress = (checkpoint.load_progress(resume) if resume
                         else {'samples': 0, 'seconds': 0.0})
        self.generator = torch.Generator(device).manual_seed(
            settings.seed + int(self.progress['samples']))
        if resume and (resume / checkpoint.STATE_FILE).is_file():
            self._restore(resume / checkpoint.STATE_FILE)

    @property
    def steps(self) -> int:
        """Number of steps so far; a restored state includes those of the runs before."""
        return int(self._average.optimization_step)

    def step(self, images: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor,
             timesteps: torch.Tensor, rate: float) -> None:
        """
        Take one step on a batch; one whose gradient is not finite is counted and skipped.

        `images` are (B, 3 * PATCH**2, h, w) float32 folded crops in [-1, 1], `targets` the
        teacher's (B, 64, h / 2, w / 2) features of them, `noise` is Gaussian noise of the images'
        shape, `timesteps` (B,) int64, and `rate` is the learning rate of this step. A quarter of
        the batch is denoised, the rest aligned; B is at least 2.
        """
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        losses = self._losses(images, targets, noise, timesteps)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(losses.sum()).backward()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update(1.0)
        self._average.step(self._model.parameters())
        finite = norm.isfinite()
        self._sums += torch.stack([*losses.detach().where(finite, 0.0), finite, ~finite])

    def compile(self, shapes: Iterable[tuple[int, int, int, int]]) -> str | None:
        """
        Compile the model for batches of images of these shapes, without a step.

        Returns why that failed, or None; after a failure the model runs uncompiled, slower.
        Raises DiffsegError where a batch does not fit the device's memory.
        """
        failure = None
        try:
            for part in self._model.passes:
                part.compile(dynamic=False)
            for count, channels, height, width in shapes:
                images = torch.zeros((count, channels, height, width), device=self.device)
                targets = images.new_zeros((count, CHANNELS, height // 2, width // 2))
                steps = torch.zeros(count, dtype=torch.int64, device=self.device)
                self._losses(images, targets, images, steps).sum().backward()
        except torch.OutOfMemoryError as error:
            raise DiffsegError(f'batch: does not fit the memory of {self.device}; give a smaller '
                               '--batch') from error
        except Exception as error:  # compilers fail in many ways, and training works without
            failure = ' '.join(str(error).split())[:200] or type(error).__name__
            for part in self._model.passes:
                part._compiled_call_impl = None
        self._optimizer.zero_grad(set_to_none=True)
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return failure

    def take_losses(self) -> tuple[float, float, int]:
        """Return the mean losses (NaN without any) and the skipped steps since the last call."""
        denoising, alignment, count, skipped = self._sums.tolist()
        self._sums.zero_()
        if not count:
            return math.nan, math.nan, int(skipped)
        return denoising / count, alignment / count, int(skipped)

    def ema_losses(self, images: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor,
                   timesteps: torch.Tensor) -> torch.Tensor:
        """Return the (2,) losses of denoising and alignment of the averaged weights."""
        return torch.stack([self._denoising(self.ema, images, noise, timesteps),
                            self._alignment(self.ema, images, targets, noise)])

    def check_finite(self, heldout_loss: float) -> None:
        """Raise DiffsegError if the loss or a weight, also as float16, is not finite."""
        if not (math.isfinite(heldout_loss) and checkpoint.all_finite(self._model)
                and checkpoint.all_finite(self.ema, torch.float16)):
            raise DiffsegError(f'training diverged at learning rate {self.peak_rate:g} (held-out '
                               f'loss {heldout_loss:g}): this checkpoint is not written; give a '
                               'lower --learning-rate')

    def state(self) -> dict[str, torch.Tensor]:
        """Return all that the next steps depend on, apart from the rate."""
        names = {parameter: name for name, parameter in self._model.named_parameters()}
        return {
            **{f'model.{name}': value for name, value in self._model.state_dict().items()},
            **{f'ema.{name}': value for name, value in self.ema.state_dict().items()},
            **{f'{key}.{names[parameter]}': moments[key]
               for parameter, moments in self._optimizer.state.items() for key in _MOMENTS},
            'steps': torch.tensor(self.steps),
            f'generator.{self.device.type}': self.generator.get_state()}

    def _restore(self, file: Path) -> None:
        try:
            tensors = load_file(file)
            self._model.load_state_dict(_below('model.', tensors))
            # States of earlier versions have neither average nor count of steps nor generator.
            if averaged := _below('ema.', tensors):
                self.ema.load_state_dict(averaged)
            for name, parameter in self._model.named_parameters():
                moments = {key: tensors[f'{key}.{name}'].to(self.device) for key in _MOMENTS}
                for key in _MOMENTS[1:]:
                    if moments[key].shape != parameter.shape:
                        raise ValueError(f'moments of {name}')
                    # The fused optimiser needs the strides of the parameter.
                    moments[key] = torch.empty_like(parameter).copy_(moments[key])
                self._optimizer.state[parameter] = moments
            self._average.optimization_step = int(tensors['steps'] if 'steps' in tensors else
                                                  max(_below('step.', tensors).values()))
            drawn = tensors.get(f'generator.{self.device.type}')
            if drawn is not None:
                self.generator.set_state(drawn)
        except (KeyError, OSError, RuntimeError, SafetensorError, TypeError,
                ValueError) as error:
            raise DiffsegError(f'{file}: damaged, or of other weights '
                               f'({describe_error(error)[:200]}); remove it to resume from the '
                               'weights alone') from error

    def _losses(self, images: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor,
                timesteps: torch.Tensor) -> torch.Tensor:
        """Return the (2,) losses of a batch: of its first quarter, and of the rest."""
        share = max(1, len(images) // 4)
        return torch.stack([
            self._denoising(self._model, images[:share], noise[:share], timesteps[:share]),
            self._alignment(self._model, images[share:], targets[share:], noise[share:])])

    def _denoising(self, model: AlignedUnet, images: torch.Tensor, noise: torch.Tensor,
                   timesteps: torch.Tensor) -> torch.Tensor:
        noisy = self._scheduler.add_noise(images, noise, timesteps)
        target = self._scheduler.get_velocity(images, noise, timesteps)
        with self._autocast:
            prediction = model(noisy, timesteps)
        return functional.mse_loss(prediction.float(), target)

    def _alignment(self, model: AlignedUnet, images: torch.Tensor, targets: torch.Tensor,
                   noise: torch.Tensor) -> torch.Tensor:
        """Return 1 - cosine to the teacher, at the noise of the model's use."""
        timesteps = torch.full((len(images),), _TIMESTEP, device=self.device)
        noisy = self._scheduler.add_noise(images, noise, timesteps)
        with self._autocast:
            features = model.features(noisy, timesteps)
        return 1 - functional.cosine_similarity(features.float(), targets, dim=1).mean()


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items()
            if key.startswith(prefix)}


def supports_bf16(device: torch.device) -> bool:
    """Return whether bf16 is faster than fp32 on this device."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported()
    # Without AMX, autocast to bf16 took 1.6 times as long as fp32.
    return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported())
