"""The held-out loss: the same crops, noise and timesteps each time, on every device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.model import PATCH
from diffseg_ros.training.photos import PhotoBank
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_SEED = 20260
_PART = 32


class Heldout:
    """Crops that no step trains on."""

    def __init__(self, bank: PhotoBank, count: int, device: torch.device) -> None:
        """
        Draw `count` crops with their noise, and hold them on `device`.

        They are drawn on the CPU, where `bank` is: a generator of CUDA gives other numbers.

        Raises
        ------
        DiffsegError
            No photo is large enough.

        """
        generator = torch.Generator().manual_seed(_SEED)
        size = (96, 128) if len(bank.eligible(96, 128)) else (64, 64)
        eligible = bank.eligible(*size)
        if not len(eligible):
            raise DiffsegError('photos: none of those held out is at least 64x64 pixels; '
                               'give more photos')
        spread = torch.arange(count)
        index = eligible[spread * len(eligible) // count]
        images = functional.pixel_unshuffle(
            bank.crops(index, *size, generator) * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=generator)
        timesteps = (spread * 389) % count * 1000 // count
        self._parts = tuple(part.to(device) for part in (images, noise, timesteps))

    def loss(self, loss: Callable[..., torch.Tensor]) -> float:
        """Return the mean of `loss(images, noise, timesteps)` over all crops."""
        total = 0.0
        with torch.no_grad():
            for part in zip(*(tensor.split(_PART) for tensor in self._parts), strict=True):
                total += float(loss(*part)) * len(part[0])
        return total / len(self._parts[0])

    def photos(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the crops as (H, W, 3) RGB uint8."""
        photos = functional.pixel_shuffle(self._parts[0], PATCH).permute(0, 2, 3, 1)
        yield from ((photos + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
