"""Random crops of images: what the model is trained on, and what its loss is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
from diffseg_ros.backbones.imagenet_features import STRIDE
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.checkpoint import PATCH
from diffseg_ros.training.images import SMALLEST_SIDE
from diffseg_ros.training.teacher import Teacher
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

MAGNIFICATION = (0.6, 1.5)
"""Smallest and largest side of what a crop shows, over the side of the crop."""

_HELDOUT_SEED = 20260
_HELDOUT_BATCH = 32


def _pyramid(image: RgbImage) -> Iterator[RgbImage]:
    """Yield the image and its halves, so that a crop never shrinks by more than 1.5."""
    while min(image.shape[:2]) >= SMALLEST_SIDE:
        yield image
        image = cv2.resize(image, None, fx=0.5, fy=0.5,  # type: ignore[assignment]
                           interpolation=cv2.INTER_AREA)


class _Rasters:
    """Rasters of several sizes, (H, W, C) each, as rows of one buffer on a device."""

    def __init__(self, rasters: Sequence[npt.NDArray[np.generic]], device: torch.device) -> None:
        self.sizes = torch.tensor([raster.shape[:2] for raster in rasters], device=device)
        areas = self.sizes.prod(dim=1)
        self._offsets = areas.cumsum(0) - areas
        flat = np.concatenate([raster.reshape(-1, raster.shape[2]) for raster in rasters])
        self._rows = torch.from_numpy(flat).to(device)

    def sample(self, index: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """
        Return (B, C, h, w) float32 bilinear samples of the rasters of `index` (B,).

        The rows y (B, h) and columns x (B, w) are shares of the raster's height and width.
        """
        heights, widths = self.sizes[index].T

        def axis(share: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, ...]:
            last = (size - 1)[:, None]
            position = (share * size[:, None] - 0.5).clamp(min=0).minimum(last.float())
            low = position.long()
            return low, torch.minimum(low + 1, last), position - low

        (y0, y1, fy), (x0, x1, fx) = axis(y, heights), axis(x, widths)
        base = self._offsets[index][:, None, None]

        def fetch(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
            rows = row[:, :, None] * widths[:, None, None]
            return self._rows[base + rows + column[:, None, :]].float()

        fy, fx = fy[:, :, None, None], fx[:, None, :, None]
        upper = torch.lerp(fetch(y0, x0), fetch(y0, x1), fx)
        lower = torch.lerp(fetch(y1, x0), fetch(y1, x1), fx)
        return torch.lerp(upper, lower, fy).permute(0, 3, 1, 2)


class CropSampler:
    """Cuts random crops from images that it holds in memory on one device."""

    def __init__(self, images: Sequence[RgbImage], device: torch.device,
                 teacher: Teacher) -> None:
        """
        Copy the images and the teacher's features of them to the device.

        Raises DiffsegError where all images are below 48x48 pixels.
        """
        levels = [(number, level) for number, image in enumerate(images)
                  for level in _pyramid(image)]
        if not levels:
            raise DiffsegError('--photos: no image has at least 48x48 pixels; give larger ones')
        self._pixels = _Rasters([level for _, level in levels], device)
        self._targets = _Rasters(teacher.maps(images), device)
        self._image = torch.tensor([number for number, _ in levels], device=device)

    def eligible(self, height: int, width: int) -> torch.Tensor:
        """Return the indices of images large enough for crops of height x width."""
        heights, widths = self._pixels.sizes.T
        fit = torch.minimum(heights / height, widths / width)
        return torch.nonzero(fit >= MAGNIFICATION[0])[:, 0]

    def crops(self, index: torch.Tensor, height: int, width: int,
              generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Cut one randomly resized, randomly flipped crop from each image of `index`.

        Returns (B, 3, height, width) float32 in [0, 1] and the teacher's features there, (B, 64,
        height / 8, width / 8) float32.
        """
        device = self._image.device

        def uniform() -> torch.Tensor:
            return torch.rand(len(index), generator=generator, device=device)

        source_h, source_w = self._pixels.sizes[index].T.float()
        largest = torch.minimum(source_h / height, source_w / width).clamp(max=MAGNIFICATION[1])
        low = torch.full_like(largest, MAGNIFICATION[0])
        scale = low * (largest / low) ** uniform()
        stretch = torch.exp((uniform() - 0.5) * 0.3)
        crop_h = torch.minimum(scale * height * stretch, source_h) / source_h
        crop_w = torch.minimum(scale * width / stretch, source_w) / source_w
        top, left = (1 - crop_h) * uniform(), (1 - crop_w) * uniform()
        steps_y = (torch.arange(height, device=device) + 0.5) / height
        steps_x = (torch.arange(width, device=device) + 0.5) / width
        flip = uniform() < 0.5
        steps_x = torch.where(flip[:, None], 1 - steps_x, steps_x)
        y = top[:, None] + crop_h[:, None] * steps_y
        x = left[:, None] + crop_w[:, None] * steps_x
        cells = [places.unflatten(1, (-1, STRIDE)).mean(dim=2) for places in (y, x)]
        return (self._pixels.sample(index, y, x) / 255.0,
                self._targets.sample(self._image[index], *cells))


def colour_jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary brightness, contrast, saturation and white balance of (B, 3, H, W) in [0, 1]."""
    def factor(channels: int, spread: float) -> torch.Tensor:
        shape = (len(images), channels, 1, 1)
        draw = torch.rand(shape, generator=generator, device=images.device)
        return torch.exp((draw * 2 - 1) * spread)

    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * factor(1, 0.2)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor(1, 0.15)
    return (images * factor(1, 0.2) * factor(3, 0.05)).clamp(0, 1)


class HeldoutCrops:
    """Crops that no step trains on: with the same noise and timesteps on every device."""

    def __init__(self, sampler: CropSampler, count: int, device: torch.device) -> None:
        """
        Draw `count` crops from a sampler on the CPU and hold them on `device`.

        They are drawn on the CPU because a generator of CUDA gives other numbers.
        """
        generator = torch.Generator().manual_seed(_HELDOUT_SEED)
        size = (96, 128) if len(sampler.eligible(96, 128)) else (64, 64)
        eligible = sampler.eligible(*size)
        spread = torch.arange(count)
        index = eligible[spread * len(eligible) // count]
        crops, targets = sampler.crops(index, *size, generator)
        images = functional.pixel_unshuffle(crops * 2 - 1, PATCH)
        noise = torch.randn(images.shape, generator=generator)
        timesteps = (spread * 389) % count * 1000 // count
        self._parts = tuple(part.to(device) for part in (images, targets, noise, timesteps))

    def mean_losses(self, losses: Callable[..., torch.Tensor]) -> list[float]:
        """Return the means of `losses(images, targets, noise, timesteps)` over all crops."""
        total: torch.Tensor = torch.zeros(())
        with torch.no_grad():
            for part in zip(*(tensor.split(_HELDOUT_BATCH) for tensor in self._parts),
                            strict=True):
                total = total + losses(*part).cpu() * len(part[0])
        return (total / len(self._parts[0])).tolist()

    def images(self, most: int) -> Iterator[RgbImage]:
        """Yield at most so many of the crops, evenly spread, as (H, W, 3) RGB uint8."""
        folded = self._parts[0][::-(-len(self._parts[0]) // most)]
        images = functional.pixel_shuffle(folded, PATCH).permute(0, 2, 3, 1)
        yield from ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
