"""The fixed noise that every photo gets before the U-Net looks at it."""

from __future__ import annotations

from collections.abc import Mapping
import functools
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
import torch

BETA_KEYS = ('num_train_timesteps', 'beta_start', 'beta_end', 'beta_schedule', 'trained_betas',
             'rescale_betas_zero_snr')
"""The part of a scheduler's configuration that says how noisy each timestep is. Samplers
(Euler, LCM, DPM-Solver, PNDM ...) differ only in the rest, which one pass does not need."""


def signal_share(scheduler: Mapping[str, Any], timestep: int) -> float:
    """
    Return the cumulative alpha of `timestep`: the share of the signal's variance, 0 to 1.

    Raises
    ------
    DiffsegError
        The scheduler has no beta schedule (flow matching, EDM), or no such timestep.

    """
    name = scheduler.get('_class_name', 'scheduler')
    if not {'beta_schedule', 'trained_betas'} & set(scheduler) or 'Flow' in name or 'EDM' in name:
        raise DiffsegError(f'scheduler {name}: no beta schedule; supported are models trained '
                           'with one (DDPM, DDIM, PNDM, Euler, DPM-Solver, LCM configurations), '
                           'not flow matching or EDM')
    options = {key: scheduler[key] for key in BETA_KEYS if key in scheduler}
    try:
        alphas = DDPMScheduler(**options).alphas_cumprod
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise DiffsegError(f'scheduler {name}: its beta schedule cannot be used ({error}); '
                           'restore scheduler_config.json from its source') from error
    if not 0 <= timestep < len(alphas):
        raise DiffsegError(f'timestep {timestep}: the model was trained with {len(alphas)} '
                           f'timesteps; choose 0 to {len(alphas) - 1}, or -1 for the default')
    return float(alphas[timestep])


class FixedNoise:
    """Adds the same noise to every sample of a size, whatever the device."""

    def __init__(self, share: float, seed: int, device: torch.device) -> None:
        """Take the share of signal from `signal_share` and the seed of the noise."""
        self._signal = share ** 0.5
        self._scale = (1 - share) ** 0.5
        self._seed = seed
        self._device = device
        self._noise = functools.lru_cache(maxsize=8)(self._draw)

    def add(self, sample: torch.Tensor) -> torch.Tensor:
        """Return the noisy sample; (1, C, h, w) float32 in and out."""
        return torch.add(self._noise(tuple(sample.shape)), sample, alpha=self._signal)

    def _draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        generator = torch.Generator('cpu').manual_seed(self._seed)
        noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        return (noise * self._scale).to(self._device)
