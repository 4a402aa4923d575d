"""Photos held in memory on the training device, and random crops of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import torch

LONGEST_SHORT_SIDE = 320
MAGNIFICATION = (0.75, 1.5)


def decode_photo(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Return the photo as HxWx3 RGB uint8, or None where the bytes are no image."""
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        # Nothing in it, or a size beyond all bounds.
        return None
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def shrunk(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the photo, or a smaller one where its short side is above the bank's limit."""
    scale = LONGEST_SHORT_SIDE / min(photo.shape[:2])
    if scale >= 1:
        return photo
    return cv2.resize(photo, None, fx=scale, fy=scale,  # type: ignore[return-value]
                      interpolation=cv2.INTER_AREA)


def _pyramid(photo: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the photo and its halves, so that a crop never shrinks by more than 1.5."""
    photo = shrunk(photo)
    while min(photo.shape[:2]) >= 48:
        yield photo
        photo = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class PhotoBank:
    """
    Every photo and its halves in one flat pixel buffer.

    Attributes
    ----------
    pixels
        (P, 3) uint8, the rows of all images one after the other.
    offsets, heights, widths
        (N,) int64, where each image begins in `pixels` and its size.

    """

    pixels: torch.Tensor
    offsets: torch.Tensor
    heights: torch.Tensor
    widths: torch.Tensor

    @staticmethod
    def load(photos: Sequence[bytes | npt.NDArray[np.uint8]],
             device: torch.device) -> tuple[PhotoBank, int]:
        """
        Put photos into a bank on `device`; also return how many were unreadable or too small.

        Parameters
        ----------
        photos
            Encoded images, or HxWx3 RGB uint8.
        device
            Where crops are to be cut.

        Raises
        ------
        DiffsegError
            None is an image of at least 48x48 pixels.

        """
        images: list[npt.NDArray[np.uint8]] = []
        unreadable = 0
        for data in photos:
            photo = decode_photo(data) if isinstance(data, bytes) else data
            if photo is None or min(photo.shape[:2]) < 48:
                unreadable += 1
                continue
            images.extend(_pyramid(photo))
        if not images:
            raise DiffsegError(f'photos: none of {len(photos)} files is a readable image of '
                               'at least 48x48 pixels')
        sizes = torch.tensor([image.shape[:2] for image in images], device=device)
        areas = sizes[:, 0] * sizes[:, 1]
        flat = np.concatenate([image.reshape(-1, 3) for image in images])
        bank = PhotoBank(torch.from_numpy(flat).to(device), areas.cumsum(0) - areas,
                         sizes[:, 0], sizes[:, 1])
        return bank, unreadable

    def eligible(self, height: int, width: int) -> torch.Tensor:
        """Return the indices of images large enough for crops of height x width."""
        fit = torch.minimum(self.heights / height, self.widths / width)
        return torch.nonzero(fit >= MAGNIFICATION[0])[:, 0]

    def crops(self, index: torch.Tensor, height: int, width: int,
              generator: torch.Generator) -> torch.Tensor:
        """
        Cut one random-resized, randomly flipped crop from each image of `index`.

        Returns
        -------
        torch.Tensor
            (B, 3, height, width) float32 in [0, 1].

        """
        device = self.pixels.device
        count = len(index)

        def uniform() -> torch.Tensor:
            return torch.rand(count, generator=generator, device=device)

        source_h, source_w = self.heights[index].float(), self.widths[index].float()
        largest = torch.minimum(source_h / height, source_w / width).clamp(max=MAGNIFICATION[1])
        low = torch.full_like(largest, MAGNIFICATION[0])
        scale = low * (largest / low) ** uniform()
        stretch = torch.exp((uniform() - 0.5) * 0.3)
        crop_h = torch.minimum(scale * height * stretch, source_h)
        crop_w = torch.minimum(scale * width / stretch, source_w)
        top, left = (source_h - crop_h) * uniform(), (source_w - crop_w) * uniform()
        steps_y = (torch.arange(height, device=device) + 0.5) / height
        steps_x = (torch.arange(width, device=device) + 0.5) / width
        flip = uniform() < 0.5
        steps_x = torch.where(flip[:, None], 1 - steps_x, steps_x)
        y = top[:, None] + crop_h[:, None] * steps_y - 0.5
        x = left[:, None] + crop_w[:, None] * steps_x - 0.5
        return self._bilinear(index, y, x)

    def _bilinear(self, index: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Sample the images at rows y (B, h) and columns x (B, w), clamped to their edges."""
        def axis(position: torch.Tensor, size: torch.Tensor) -> tuple[torch.Tensor, ...]:
            last = (size - 1)[:, None]
            position = torch.minimum(position.clamp(min=0), last.float())
            low = position.long()
            return low, torch.minimum(low + 1, last), position - low

        width = self.widths[index]
        y0, y1, fy = axis(y, self.heights[index])
        x0, x1, fx = axis(x, width)
        base = self.offsets[index][:, None, None]

        def fetch(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
            rows = row[:, :, None] * width[:, None, None]
            return self.pixels[base + rows + column[:, None, :]].float()

        fy, fx = fy[:, :, None, None], fx[:, None, :, None]
        upper = torch.lerp(fetch(y0, x0), fetch(y0, x1), fx)
        lower = torch.lerp(fetch(y1, x0), fetch(y1, x1), fx)
        return torch.lerp(upper, lower, fy).permute(0, 3, 1, 2) / 255.0


def colour_jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary brightness, contrast, saturation and white balance of (B, 3, H, W) in [0, 1]."""
    def factor(channels: int, spread: float) -> torch.Tensor:
        shape = (len(images), channels, 1, 1)
        draw = torch.rand(shape, generator=generator, device=images.device)
        return torch.exp((draw * 2 - 1) * spread)

    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * factor(1, 0.4)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor(1, 0.3)
    return (images * factor(1, 0.3) * factor(3, 0.1)).clamp(0, 1)
