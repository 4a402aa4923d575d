"""Pixel-space U-Nets without text: the model in this package and those that were trained here."""

from __future__ import annotations

import math
from pathlib import Path

from diffseg_ros.backbones.capture import (
    choose_block,
    drop_unused,
    last_computed,
    self_attention_blocks,
)
from diffseg_ros.backbones.noise import FixedNoise, signal_share
from diffseg_ros.backbones.unet import UnetBackbone
from diffseg_ros.backbones.weights import create_empty, fill, read_json
from diffseg_ros.backbones.whitening import load_whitening
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffusers.models.unets.unet_2d import UNet2DModel
import torch
from torch.nn import functional

DEFAULT_TIMESTEP = 10
FIRST_LEVEL = True
"""Whether block 'auto' is in the shallowest encoder level with attention, or the deepest."""


class PixelFolding:
    """Folds blocks of pixels into channels, as the model was trained."""

    def __init__(self, patch: int) -> None:
        """Fold blocks of `patch` by `patch` pixels."""
        self._patch = patch

    @property
    def stride(self) -> int:
        """Pixels that one cell covers, along each side."""
        return self._patch

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Take (1, 3, H, W); return (1, 3 * patch**2, H / patch, W / patch)."""
        return functional.pixel_unshuffle(image, self._patch)


def load_pixel_backbone(name: str, folder: Path, scheduler: Path, config: BackboneConfig,
                        device: torch.device, dtype: torch.dtype, *,
                        attention: bool = False) -> UnetBackbone:
    """
    Load a UNet2DModel.

    Parameters
    ----------
    name
        What reports call the model.
    folder
        With config.json and diffusion_pytorch_model[.fp16].safetensors.
    scheduler
        Its scheduler_config.json.
    config
        Block, tokens, timestep, seed and whether to whiten.
    device, dtype
        Where the model runs, and in which arithmetic.
    attention
        Whether attention maps are wanted, for which the decoder is needed too.

    Raises
    ------
    DiffsegError
        Something is missing, damaged or of another kind of model.

    """
    settings = read_json(folder / 'config.json')
    unet = create_empty(UNet2DModel, settings, folder)
    patch = math.isqrt(unet.config.in_channels // 3)
    if unet.config.in_channels != 3 * patch**2 or patch == 0:
        raise DiffsegError(f'model {name}: its U-Net takes {unet.config.in_channels} channels; '
                           '3 times a square number is needed (RGB, or folded pixel blocks)')
    if unet.config.class_embed_type is not None or unet.config.num_class_embeds is not None:
        raise DiffsegError(f'model {name}: its U-Net is conditioned on classes; only '
                           'unconditional pixel-space models are supported')
    timestep = config.timestep if config.timestep >= 0 else DEFAULT_TIMESTEP
    share = signal_share(read_json(scheduler), timestep) if config.noise else 1.0
    block = choose_block(unet, config.block, first_level=FIRST_LEVEL)
    channels = int(unet.get_submodule(block).to_out[0].out_features)  # type: ignore[index,union-attr]
    whitening = load_whitening(folder, block, channels) if config.whiten else None
    maps = self_attention_blocks(unet) if attention else []
    drop_unused(unet, last_computed(unet, block, maps))
    fill(unet, folder, device, dtype)
    return UnetBackbone(name, unet, block, PixelFolding(patch),
                        FixedNoise(share, config.seed, device), timestep, device, config,
                        attention_blocks=maps, whitening=whitening)
