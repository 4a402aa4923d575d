"""Pixel-space U-Nets without text: the model in this package and those of diffseg_train."""

from __future__ import annotations

import math
from pathlib import Path

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.checkpoints import create_empty, load_weights, read_json
from diffseg_ros.backbones.preprocess import FixedNoise
from diffseg_ros.backbones.projector import load_projector
from diffseg_ros.backbones.unet import block_channels, choose_block, trim_unet, UnetBackbone
from diffseg_ros.backbones.whitening import load_whitening
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import EMBEDDED, PIXEL, with_model_defaults
from diffusers.models.unets.unet_2d import UNet2DModel
import torch
from torch import nn


def pixel_kind(folder: Path, block: str) -> str:
    """Return the kind, as in `model_defaults`, of the model in a folder, used up to a block."""
    return EMBEDDED if load_projector(folder, block) else PIXEL


def load_pixel_backbone(name: str, folder: Path, scheduler: Path, settings: BackboneSettings,
                        device: torch.device, dtype: torch.dtype, *,
                        attention: bool = False) -> UnetBackbone:
    """
    Load the UNet2DModel in `folder`; `scheduler` is the file scheduler_config.json.

    With `attention` the decoder is loaded too and the backbone gives attention maps. Raises
    DiffsegError where a file is missing or damaged, or the model is of another kind.
    """
    aligned = load_projector(folder, settings.block)
    kind = EMBEDDED if aligned else PIXEL
    settings = with_model_defaults(settings, kind, section='backbone.')
    unet = create_empty(UNet2DModel, read_json(folder / 'config.json'), folder)
    patch = math.isqrt(unet.config.in_channels // 3)
    if unet.config.in_channels != 3 * patch**2 or patch == 0:
        raise DiffsegError(f'model {name}: its U-Net takes {unet.config.in_channels} channels; '
                           '3 times a square number is needed (RGB, or folded pixel blocks)')
    if unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None:
        raise DiffsegError(f'model {name}: its U-Net is conditioned on classes; only '
                           'unconditional pixel-space models are supported')
    noise = FixedNoise(read_json(scheduler), settings, device)
    projector = None
    if aligned is None:
        block = choose_block(unet, settings.block, first_level=True)
        channels = block_channels(unet, block)
    else:
        block, projector = aligned
        if block not in dict(unet.named_modules()):
            raise DiffsegError(f'model {name}: its projector is for block {block!r}, which its '
                               'U-Net lacks; download or train the model again')
        channels = projector[-1].out_channels
        projector.to(device, dtype)
    whitening = load_whitening(folder, block, channels) if settings.whiten else None
    maps = trim_unet(unet, block, attention=attention)
    load_weights(unet, folder, device, dtype)
    return UnetBackbone(name, unet, block, nn.PixelUnshuffle(patch), patch, noise,
                        settings.tokens, kind=kind, attention_blocks=maps, projector=projector,
                        whitening=whitening)
