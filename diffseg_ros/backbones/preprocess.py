"""From an image to the noisy tensor that the U-Net sees."""

from __future__ import annotations

from collections.abc import Mapping
import functools
import math
from typing import Any

import cv2
from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
import numpy as np
import torch

_COUNT_WEIGHT = 1.1
"""Weight of a grid's size against its shape: above 1, so that narrow images stay cheap."""

_BETA_KEYS = ('num_train_timesteps', 'beta_start', 'beta_end', 'beta_schedule', 'trained_betas',
              'rescale_betas_zero_snr')
"""The part of a scheduler's configuration that says how noisy each timestep is. Samplers
(Euler, LCM, DPM-Solver, PNDM ...) differ only in the rest, which one pass does not need."""


def choose_grid(height: int, width: int, tokens: int, multiple: int = 1) -> tuple[int, int]:
    """
    Return the size (h, w) of the feature grid: about `tokens` cells in the image's aspect ratio.

    h and w are multiples of `multiple`. The number of cells takes precedence over the aspect ratio
    where an image is so narrow that the grid would be less than `multiple` cells high or wide.
    """
    ratio = width / height
    units = tokens / multiple**2
    ideal = min(max(math.sqrt(units / ratio), 1.0), max(units, 1.0))
    best = math.inf, (multiple, multiple)
    for rows in {math.floor(ideal), math.ceil(ideal)}:
        for exact in (units / rows, rows * ratio):
            for columns in {max(1, math.floor(exact)), max(1, math.ceil(exact))}:
                cost = (_COUNT_WEIGHT * abs(math.log(rows * columns / units))
                        + abs(math.log(columns / rows / ratio)))
                best = min(best, (cost, (rows * multiple, columns * multiple)))
    return best[1]


def check_image(rgb: RgbImage) -> None:
    """Raise DiffsegError unless the array is an image of shape (H, W, 3) and type uint8."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise DiffsegError(f'image: got {rgb.dtype} {rgb.shape}; HxWx3 uint8 RGB is needed')


def image_tensor(rgb: RgbImage, height: int, width: int) -> torch.Tensor:
    """
    Resize an image without aliasing and scale its values.

    Returns (1, 3, height, width) float32 in [-1, 1] on the CPU, channels last in memory.
    """
    smaller = min(width, rgb.shape[1]), min(height, rgb.shape[0])
    if smaller != (rgb.shape[1], rgb.shape[0]):
        rgb = cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    scaled = np.multiply(rgb, np.float32(1 / 127.5), dtype=np.float32)
    scaled -= 1
    return torch.from_numpy(scaled).permute(2, 0, 1)[None]


def signal_share(scheduler: Mapping[str, Any], timestep: int) -> float:
    """
    Return the cumulative alpha of `timestep`: the signal's share of the variance, 0 to 1.

    Raises DiffsegError where the scheduler has no beta schedule, or no such timestep.
    """
    name = scheduler.get('_class_name', 'scheduler')
    if not {'beta_schedule', 'trained_betas'} & set(scheduler) or 'Flow' in name or 'EDM' in name:
        raise DiffsegError(f'scheduler {name}: no beta schedule; supported are models trained '
                           'with one (DDPM, DDIM, PNDM, Euler, DPM-Solver, LCM configurations), '
                           'not flow matching or EDM')
    options = {key: scheduler[key] for key in _BETA_KEYS if key in scheduler}
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
    """
    Adds the same noise to every sample of a size, whatever the device.

    `timestep` is the (1,) int64 noise level that the U-Net is told, `ensemble` the number of
    different noises. Raises DiffsegError where several are wanted of none.
    """

    def __init__(self, scheduler: Mapping[str, Any], settings: BackboneSettings,
                 device: torch.device) -> None:
        timestep = settings.timestep
        share = signal_share(scheduler, timestep) if settings.noise else 1.0
        if settings.ensemble > 1 and not settings.noise:
            raise DiffsegError(f'ensemble {settings.ensemble}: without noise all samples are the '
                               'same; set backbone.ensemble to 1 or backbone.noise to true')
        self.device, self.ensemble = device, settings.ensemble
        self.timestep = torch.tensor([timestep], device=device)
        self._signal = share ** 0.5
        self._scale = (1 - share) ** 0.5
        self._seed = settings.seed
        self._noise = functools.lru_cache(maxsize=8 * self.ensemble)(self._draw)

    def add(self, sample: torch.Tensor, number: int = 0) -> torch.Tensor:
        """Return the sample with noise `number` of the ensemble; (1, C, h, w) float32."""
        return torch.add(self._noise(tuple(sample.shape), number), sample, alpha=self._signal)

    def _draw(self, shape: tuple[int, ...], number: int) -> torch.Tensor:
        generator = torch.Generator('cpu').manual_seed(self._seed + number)
        noise = torch.randn(shape, generator=generator, dtype=torch.float32)
        return (noise * self._scale).to(self.device)
