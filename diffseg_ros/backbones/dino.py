"""
Self-supervised vision transformers as a backbone: DINOv2 and DINOv3 of transformers.

Sources: Oquab et al., "DINOv2: learning robust visual features without supervision", 2023; Darcet
et al., "Vision transformers need registers", ICLR 2024; Siméoni et al., "DINOv3", 2025.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.checkpoints import (
    check_weights,
    find_weights,
    read_json,
    SUPPORTED,
    TRANSFORMERS_STEM,
)
from diffseg_ros.backbones.preprocess import check_image, choose_grid, image_tensor
from diffseg_ros.backbones.transformers_model import load_transformers_model
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import DINO, with_model_defaults
from diffseg_ros.types import RgbImage
import torch
from torch import nn
import transformers

_CLASSES = {'dinov2': 'Dinov2Model', 'dinov2_with_registers': 'Dinov2WithRegistersModel',
            'dinov3_vit': 'DINOv3ViTModel'}
_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class DinoBackbone:
    """
    A vision transformer as a backbone: the last layer's patch tokens, normalised by the model.

    The tokens of the class and the registers, which look at the image as a whole, are left out.
    """

    kind = DINO
    block = 'last_hidden_state'

    def __init__(self, name: str, model: nn.Module, mean: list[float], std: list[float],
                 tokens: int) -> None:
        """Take a loaded model, and the (3,) mean and deviation of colours that it expects."""
        parameter = next(model.parameters())
        self.name, self.device = name, parameter.device
        self.parameter_count = sum(one.numel() for one in model.parameters())
        self._model, self._dtype, self._tokens = model, parameter.dtype, tokens
        config: Any = model.config
        self._patch = int(config.patch_size)
        self._first_patch = 1 + int(getattr(config, 'num_register_tokens', 0))
        self._mean, self._std = (torch.tensor(values, device=self.device)[:, None, None]
                                 for values in (mean, std))

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return (C, h, w) float32, as `Backbone.features` says; DiffsegError if no image."""
        check_image(rgb)
        rows, columns = choose_grid(rgb.shape[0], rgb.shape[1], self._tokens)
        image = image_tensor(rgb, rows * self._patch, columns * self._patch).to(self.device)
        with torch.inference_mode():
            sample = ((image + 1) / 2 - self._mean) / self._std
            found = self._model(sample.to(self._dtype)).last_hidden_state[0, self._first_patch:]
        return found.float().T.unflatten(1, (rows, columns)).clone(
            memory_format=torch.contiguous_format)


def load_dino_backbone(name: str, folder: Path, settings: BackboneSettings, device: torch.device,
                       dtype: torch.dtype, *, attention: bool = False) -> DinoBackbone:
    """
    Load a folder that transformers wrote; it has no attention maps, whatever `attention` says.

    Raises DiffsegError where a file is missing or damaged, or the model is of another family.
    """
    family = read_json(folder / 'config.json').get('model_type')
    if family not in _CLASSES:
        raise DiffsegError(f'model {name}: of the family {family!r} of transformers; of these, '
                           f'{", ".join(_CLASSES)} are supported; {SUPPORTED}')
    kind = getattr(transformers, _CLASSES[family], None)
    if kind is None:
        raise DiffsegError(f'model {name}: transformers {transformers.__version__} does not know '
                           f'{family}; install a newer one, or choose a DINOv2 model')
    if settings.block != 'auto':
        raise DiffsegError(f'block {settings.block!r}: the feature of {name} is its last layer; '
                           'set backbone.block to auto')
    settings = with_model_defaults(settings, DINO, section='backbone.')
    files, variant = find_weights(folder, TRANSFORMERS_STEM, dtype)
    check_weights(files)
    model = load_transformers_model(kind, folder, dtype, pretrained_model_name_or_path=folder,
                                    variant=variant)
    return DinoBackbone(name, model.requires_grad_(False).to(device), *_colours(folder),
                        settings.tokens)


def _colours(folder: Path) -> tuple[list[float], list[float]]:
    """Return the mean and deviation of colours that a model expects, ImageNet's if not said."""
    file = folder / 'preprocessor_config.json'
    told = read_json(file) if file.is_file() else {}
    mean, std = told.get('image_mean', _IMAGENET_MEAN), told.get('image_std', _IMAGENET_STD)
    for values in (mean, std):
        if not (isinstance(values, list) and len(values) == 3
                and all(isinstance(value, (int, float)) for value in values)):
            raise DiffsegError(f'model file {file}: image_mean {mean!r} and image_std {std!r}; '
                               'three numbers each are needed; download it again')
    return mean, std
