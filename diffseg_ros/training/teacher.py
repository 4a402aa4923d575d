"""The image classifier whose features the embedded model learns to give, in training only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffseg_ros.backbones.efficientnet import CHANNELS as SIZES
from diffseg_ros.backbones.efficientnet import EfficientNetLite0
from diffseg_ros.backbones.imagenet_features import (
    CHANNELS,
    COMPONENTS_FILE,
    load_components,
    stacked_maps,
)
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file
import torch
from torch.nn import functional

TEACHER_FILE = COMPONENTS_FILE

_LONG_SIDE = 448
_LARGEST_SCALE = 2.0
_FITTED_IMAGES = 256
_FLOOR = 1e-6


class Teacher:
    """
    EfficientNet-Lite0, trained on ImageNet-1k's labels, as a source of features.

    The feature maps of strides 8, 16 and 32, each scaled to unit variance, are whitened together
    to 64 channels by principal components that `fit` finds.
    """

    def __init__(self, device: torch.device) -> None:
        """Load the weights; raise DiffsegError where they are not those that we know."""
        self._device = device
        self._model = EfficientNetLite0(device)
        self._mean = self._matrix = torch.empty(0)

    def fit(self, images: Sequence[RgbImage]) -> None:
        """Find the principal components of the features of at most 256 of the images."""
        every = -(-len(images) // _FITTED_IMAGES)
        tokens = torch.cat([functional.interpolate(self._features(image), scale_factor=0.5)
                            .flatten(2)[0].T.double() for image in images[::every]])
        self._mean = tokens.mean(dim=0)
        centred = tokens - self._mean
        variance = centred.square().mean(dim=0)
        scale = torch.cat([part.sum().clamp(min=_FLOOR).rsqrt().expand(len(part))
                           for part in variance.split(SIZES)])
        centred *= scale
        values, basis = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, basis = values[-CHANNELS:], basis[:, -CHANNELS:]
        # Few small images do not span all channels: those without variance stay 0.
        factors = values.rsqrt().where(values > values[-1] * _FLOOR, 0.0)
        self._matrix = (scale[:, None] * basis * factors).T.float()
        self._mean = self._mean.float()

    def maps(self, images: Sequence[RgbImage]) -> list[npt.NDArray[np.float16]]:
        """Return the (h, w, 64) features of each image, a cell for 8 pixels of what it sees."""
        return [((self._features(image)[0].permute(1, 2, 0) - self._mean) @ self._matrix.T)
                .half().cpu().numpy() for image in images]

    def save(self, folder: Path) -> None:
        """Write the principal components, which later runs need, into the folder."""
        save_file({'mean': self._mean, 'matrix': self._matrix.contiguous()}, folder / TEACHER_FILE)

    def load(self, folder: Path) -> None:
        """Take the principal components from the folder; raise DiffsegError where it has none."""
        self._mean, self._matrix = (item.to(self._device) for item in load_components(folder))

    def _features(self, image: RgbImage) -> torch.Tensor:
        """Return the (1, 472, h, w) features of an (H, W, 3) uint8 image, enlarged."""
        scale = min(_LONG_SIDE / max(image.shape[:2]), _LARGEST_SCALE)
        return stacked_maps(self._model, image, scale)
