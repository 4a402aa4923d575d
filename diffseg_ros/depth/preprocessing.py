"""From an image to what a depth model of transformers sees, and back to the image's pixels."""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any

from diffseg_ros.backbones.checkpoints import read_json
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

_IMAGENET: dict[str, Any] = {'image_mean': [0.485, 0.456, 0.406],
                             'image_std': [0.229, 0.224, 0.225]}
_EVEN: dict[str, Any] = {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3}
_BICUBIC = 3
_MODES = {2: 'bilinear', _BICUBIC: 'bicubic'}
"""Pillow's numbers of the filters that the published models use."""
_ALWAYS = {'do_resize': True, 'do_rescale': True, 'rescale_factor': 1 / 255, 'do_normalize': True,
           'do_pad': False, 'keep_aspect_ratio': False, 'ensure_multiple_of': 1, 'resample': 2}
_DEFAULTS: dict[str, dict[str, Any]] = {
    'depth_anything': {**_IMAGENET, 'size': 518, 'keep_aspect_ratio': True,
                       'ensure_multiple_of': 14, 'resample': _BICUBIC},
    'depth_pro': {**_EVEN, 'size': 1536},
    'dpt': {**_EVEN, 'size': 384, 'resample': _BICUBIC},
    'glpn': {**_IMAGENET, 'do_normalize': False, 'size_divisor': 32},
    'zoedepth': {**_EVEN, 'size': {'height': 384, 'width': 512}, 'keep_aspect_ratio': True,
                 'ensure_multiple_of': 32, 'do_pad': True}}
"""What the published models of each family want, where a folder does not say."""
_MOST = 4
"""Most pixels that a model sees, in those of its usual size: that of images of up to 4:1."""


class Preprocessing:
    """
    What the `preprocessor_config.json` of a depth model says, as its own family reads it.

    The image processors of transformers do the same; some of them need torchvision, and some
    refuse images that are much wider than high.
    """

    def __init__(self, folder: Path, family: str) -> None:
        """Read what a model's folder says; DiffsegError where that cannot be used."""
        file = folder / 'preprocessor_config.json'
        told = read_json(file) if file.is_file() else {}
        values = {**_ALWAYS, **_DEFAULTS[family],
                  **{key: value for key, value in told.items() if value is not None}}
        self._family, self._values = family, values
        try:
            self._size = _size(values['size']) if 'size' in _DEFAULTS[family] else None
            self._multiple = max(1, round(values['ensure_multiple_of']))
            self._divisor = max(1, int(values.get('size_divisor') or 1))
            self._mode = _MODES.get(values['resample'], 'bilinear')
            self._mean, self._std = _colours(values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DiffsegError(f'model file {file}: its values cannot be used ({error}); download '
                               'it again') from error

    def tensor(self, rgb: RgbImage) -> torch.Tensor:
        """Return (1, 3, h, w) float32 on the CPU of an (H, W, 3) uint8 image."""
        # A copy: the image may be read-only, which PyTorch warns of.
        pixels = torch.from_numpy(self._mirrored(rgb).astype(np.float32)).permute(2, 0, 1)[None]
        rows, columns = self._seen(*pixels.shape[2:])
        if (rows, columns) != pixels.shape[2:]:
            zoe = self._family == 'zoedepth'
            pixels = functional.interpolate(
                pixels, (rows, columns), mode=self._mode, align_corners=True if zoe else False,
                antialias=not zoe and self._family != 'depth_pro').clamp(0, 255)
        top, left, height, width = self._zeros(rows, columns)
        return functional.pad((pixels - self._mean) / self._std,
                              (left, width - columns - left, top, height - rows - top))

    def restore(self, values: torch.Tensor, height: int, width: int) -> npt.NDArray[np.float32]:
        """
        Return (height, width) float32: a model's (h, w) values at the pixels of the image.

        Between values is linear, which does not overshoot beside an edge.
        """
        above, beside = self._mirror_sizes(height, width)
        rows, columns = self._seen(height + 2 * above, width + 2 * beside)
        top, left, all_rows, all_columns = self._zeros(rows, columns)
        if (rows, columns) != (all_rows, all_columns):
            values = _resized(values, all_rows, all_columns)[top:top + rows, left:left + columns]
        values = _resized(values, height + 2 * above, width + 2 * beside)
        inner = values[above:above + height, beside:beside + width]
        return np.ascontiguousarray(inner.float().cpu().numpy())

    def _seen(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that an image is resized to."""
        if not self._values['do_resize']:
            return height, width
        if self._size is None:
            return (max(1, height // self._divisor) * self._divisor,
                    max(1, width // self._divisor) * self._divisor)
        scales = self._size[0] / height, self._size[1] / width
        if self._values['keep_aspect_ratio']:
            # The one that changes the image less.
            nearest = min(scales[::-1], key=lambda scale: abs(1 - scale))
            most = _MOST * math.prod(self._size) / (height * width)
            scales = (min(nearest, math.sqrt(most)),) * 2
        rows, columns = (max(1, round(scale * side / self._multiple)) * self._multiple
                         for scale, side in zip(scales, (height, width), strict=True))
        return rows, columns

    def _mirror_sizes(self, height: int, width: int) -> tuple[int, int]:
        """Return how many mirrored pixels ZoeDepth sees above and beside an image."""
        if self._family != 'zoedepth' or not self._values['do_pad']:
            return 0, 0
        return int(math.sqrt(height / 2) * 3), int(math.sqrt(width / 2) * 3)

    def _mirrored(self, rgb: RgbImage) -> RgbImage:
        above, beside = self._mirror_sizes(*rgb.shape[:2])
        return np.pad(rgb, ((above, above), (beside, beside), (0, 0)), mode='reflect')

    def _zeros(self, rows: int, columns: int) -> tuple[int, int, int, int]:
        """Return where an image begins, row and column, in its frame of zeros, and its size."""
        if self._family != 'dpt' or not self._values['do_pad']:
            return 0, 0, rows, columns
        height, width = (math.ceil(side / self._divisor) * self._divisor
                         for side in (rows, columns))
        return (height - rows) // 2, (width - columns) // 2, height, width


def _size(told: Any) -> tuple[int, int]:
    """Return height and width."""
    height, width = (told, told) if isinstance(told, int) else (told['height'], told['width'])
    if min(int(height), int(width)) < 1:
        raise ValueError(f'size {told!r}')
    return int(height), int(width)


def _colours(values: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the (3, 1, 1) mean and deviation of 8-bit colours."""
    factor = values['rescale_factor'] if values['do_rescale'] else 1.0
    mean, std = (torch.tensor(values[key] if values['do_normalize'] else plain,
                              dtype=torch.float32).reshape(3, 1, 1)
                 for key, plain in (('image_mean', [0.0] * 3), ('image_std', [1.0] * 3)))
    if not bool((std > 0).all()):
        raise ValueError(f'image_std {values["image_std"]!r}')
    return mean / factor, std / factor


def _resized(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return (height, width) of (h, w) values."""
    if tuple(values.shape) == (height, width):
        return values
    return functional.interpolate(values[None, None], (height, width), mode='bilinear')[0, 0]
