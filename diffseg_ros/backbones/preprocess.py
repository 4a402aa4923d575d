"""From a photo to the tensor a model sees."""

from __future__ import annotations

import math

import cv2
from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import torch

COUNT_WEIGHT = 1.1
"""Weight of a grid's size against its shape: above 1, so that narrow photos stay cheap."""


def choose_grid(height: int, width: int, tokens: int, multiple: int = 1) -> tuple[int, int]:
    """
    Return the feature grid (h, w) for a photo: about `tokens` cells in its aspect ratio.

    Parameters
    ----------
    height, width
        Of the photo, in pixels.
    tokens
        Wanted number of cells. It is kept at the expense of the aspect ratio where a photo is
        so narrow that the grid would be less than `multiple` cells high or wide.
    multiple
        h and w are multiples of this.

    """
    ratio = width / height
    units = tokens / multiple**2
    ideal = min(max(math.sqrt(units / ratio), 1.0), max(units, 1.0))
    best = math.inf, (multiple, multiple)
    for rows in {math.floor(ideal), math.ceil(ideal)}:
        for exact in (units / rows, rows * ratio):
            for columns in {max(1, math.floor(exact)), max(1, math.ceil(exact))}:
                cost = (COUNT_WEIGHT * abs(math.log(rows * columns / units))
                        + abs(math.log(columns / rows / ratio)))
                best = min(best, (cost, (rows * multiple, columns * multiple)))
    return best[1]


def check_photo(rgb: npt.NDArray[np.uint8]) -> None:
    """Refuse arrays that are no (H, W, 3) uint8 photo with a DiffsegError."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise DiffsegError(f'photo: got {rgb.dtype} {rgb.shape}; HxWx3 uint8 RGB is needed')


def photo_tensor(rgb: npt.NDArray[np.uint8], height: int, width: int) -> torch.Tensor:
    """
    Resize a photo without aliasing and scale it.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    height, width
        Wanted size in pixels.

    Returns
    -------
    torch.Tensor
        (1, 3, height, width) float32 in [-1, 1] on the CPU, channels last in memory.

    """
    smaller = min(width, rgb.shape[1]), min(height, rgb.shape[0])
    if smaller != (rgb.shape[1], rgb.shape[0]):
        rgb = cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
    scaled = np.multiply(rgb, np.float32(1 / 127.5), dtype=np.float32)
    scaled -= 1
    return torch.from_numpy(scaled).permute(2, 0, 1)[None]
