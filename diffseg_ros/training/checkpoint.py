"""The embedded model: its shape, its weights on disk and the state that training resumes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import copy
import json
import math
import os
from pathlib import Path
import tempfile
from typing import Any

from diffseg_ros.backbones import checkpoints, whitening
from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.embedded import load_pixel_backbone
from diffseg_ros.backbones.imagenet_features import CHANNELS
from diffseg_ros.backbones.projector import (
    create_projector,
    load_projector,
    PROJECTOR_FILE,
    save_projector,
)
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file
import torch
from torch import nn

PATCH = 4
"""Side of the pixel blocks that `pixel_unshuffle` folds into channels before the U-Net."""

VARIANT = 'fp16'
FEATURE_BLOCK = 'up_blocks.1.resnets.1'
"""The layer whose output is aligned: of the decoder, at a stride of 8 pixels."""

WEIGHTS_FILE = f'diffusion_pytorch_model.{VARIANT}.safetensors'
STATE_FILE = 'trainer_state.safetensors'
PROGRESS_FILE = 'trainer_progress.json'


class AlignedUnet(nn.Module):
    """
    The embedded model in training: a U-Net, and the projector of its features.

    Attributes
    ----------
    passes
        The whole U-Net, and as far as the features; with the same parameters.

    """

    def __init__(self, unet: UNet2DModel, projector: nn.Module) -> None:
        super().__init__()
        self.unet, self.projector = unet, projector
        self.passes = unet, _trunk(unet)

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the v predicted for (B, C, h, w) noisy images."""
        return self.unet(noisy, timesteps, return_dict=False)[0]

    def features(self, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the (B, 64, h / 2, w / 2) features of (B, C, h, w) noisy images."""
        return self.projector(self.passes[1](noisy, timesteps, return_dict=False)[0])


def create_model() -> AlignedUnet:
    """Return the embedded model, randomly initialised (2.8 M parameters)."""
    down = ('DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D')
    unet = UNet2DModel(
        in_channels=3 * PATCH**2, out_channels=3 * PATCH**2,
        block_out_channels=(32, 64, 128), layers_per_block=1,
        down_block_types=down,
        up_block_types=tuple(name.replace('Down', 'Up') for name in reversed(down)),
        attention_head_dim=64, norm_num_groups=16)
    return AlignedUnet(unet, create_projector(64, CHANNELS))


def _trunk(unet: UNet2DModel) -> UNet2DModel:
    """Return the U-Net as far as the layer of the features, with the same parameters."""
    def sharing(module: Any, **other: nn.Module | None) -> Any:
        copied = copy.copy(module)
        copied._modules = {**module._modules, **other}
        return copied

    first, last = unet.up_blocks[:2]
    return sharing(unet, up_blocks=nn.ModuleList([first, sharing(last, upsamplers=None)]),
                   conv_norm_out=nn.Identity(), conv_act=nn.Identity(), conv_out=nn.Identity())


def create_scheduler() -> DDPMScheduler:
    """Return the noise schedule of training: cosine, 1000 steps, v-prediction."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule='squaredcos_cap_v2',
                         prediction_type='v_prediction')


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """
    Yield a temporary folder whose files replace those in `folder` together, at the end.

    When the block ends with an exception, `folder` stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.saving-', dir=folder) as scratch:
        yield Path(scratch)
        for file in sorted(Path(scratch).iterdir()):
            # Safetensors writes files that only their owner can read.
            file.chmod(0o644)
            os.replace(file, folder / file.name)


def save_weights(model: AlignedUnet, folder: Path) -> None:
    """Write U-Net and projector as fp16 safetensors with configuration and noise schedule."""
    unet = model.unet
    # Without the names with an underscore, one of which is the path it was loaded from.
    half = UNet2DModel.from_config({key: value for key, value in unet.config.items()
                                    if not key.startswith('_')})
    half.load_state_dict(unet.state_dict())
    with replacing(folder) as scratch:
        half.half().save_pretrained(scratch, variant=VARIANT)
        create_scheduler().save_pretrained(scratch)
        save_projector(scratch, FEATURE_BLOCK, model.projector)


def write_whitening(folder: Path, images: Iterable[RgbImage], device: torch.device) -> None:
    """
    Fit the whitening matrix for the weights in `folder` and write it beside them.

    The (H, W, 3) uint8 images show what the model will see; some fifty are enough.
    """
    backbone = load_pixel_backbone(folder.name, folder, folder / 'scheduler_config.json',
                                   BackboneSettings(whiten=False), device, torch.float32)
    matrix = whitening.fit_whitening((backbone.features(image) for image in images), CHANNELS)
    whitening.save_whitening(folder, backbone.block, matrix)


def load_model(folder: Path) -> AlignedUnet:
    """
    Return the model of `folder` in float32, ready to be trained.

    Raises DiffsegError where the weights are missing, damaged or of another kind of model.
    """
    if not (folder / WEIGHTS_FILE).is_file():
        raise DiffsegError(f'weights {folder}: no {WEIGHTS_FILE} there; give a folder written '
                           'by diffseg_train')
    unet = checkpoints.create_empty(UNet2DModel, checkpoints.read_json(folder / 'config.json'),
                                    folder)
    channels = 3 * PATCH**2
    if (unet.config.in_channels, unet.config.out_channels) != (channels, channels):
        raise DiffsegError(f'weights {folder}: a model with {unet.config.in_channels} channels in '
                           f'and {unet.config.out_channels} out; training supports {channels} in '
                           'and out: give a folder written by diffseg_train of this version')
    checkpoints.load_weights(unet, folder, torch.device('cpu'), torch.float32)
    found = load_projector(folder, FEATURE_BLOCK)
    if found is None:
        raise DiffsegError(f'weights {folder}: no {PROJECTOR_FILE} for {FEATURE_BLOCK} there; '
                           'give a folder written by diffseg_train of this version')
    model = AlignedUnet(unet, found[1])
    if not all_finite(model):
        raise DiffsegError(f'weights {folder}: not finite (NaN or infinity); resume from other '
                           'weights')
    return model.requires_grad_(True)


def all_finite(model: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
    """Return whether every parameter, cast to `dtype`, is a finite number."""
    with torch.no_grad():
        return bool(torch.stack([parameter.to(dtype).isfinite().all()
                                 for parameter in model.parameters()]).all())


def save_state(folder: Path, tensors: dict[str, torch.Tensor],
               progress: dict[str, float]) -> None:
    """Write what training resumes from: tensors, and the counts that `load_progress` returns."""
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()},
              folder / STATE_FILE)
    (folder / PROGRESS_FILE).write_text(json.dumps(progress, indent=1) + '\n')


def load_progress(folder: Path) -> dict[str, float]:
    """Return the samples and seconds of all runs so far, 0 where there is no such file."""
    progress = {'samples': 0, 'seconds': 0.0}
    file = folder / PROGRESS_FILE
    if not file.is_file():
        return progress
    read = checkpoints.read_json(file)
    if not all(isinstance(read.get(key), int | float) and math.isfinite(read[key])
               and read[key] >= 0 for key in progress):
        raise DiffsegError(f'{file}: damaged: numbers for {" and ".join(progress)} are needed; '
                           'remove it to count from 0')
    return {key: read[key] for key in progress}
