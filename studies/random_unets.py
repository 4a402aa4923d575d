"""Stable Diffusion's U-Nets at full size with random weights, to time them without weights."""

from __future__ import annotations

from typing import Any

from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.latent import latent_kind, LatentEncoder, unet_conditioning
from diffseg_ros.backbones.preprocess import FixedNoise
from diffseg_ros.backbones.unet import choose_block, grid_stride, trim_unet, UnetBackbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import with_model_defaults
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
import torch
from torch import nn

_XL: dict[str, Any] = {
    'block_out_channels': (320, 640, 1280), 'attention_head_dim': (5, 10, 20),
    'cross_attention_dim': 2048, 'use_linear_projection': True,
    'down_block_types': ('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    'up_block_types': ('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
    'transformer_layers_per_block': (1, 2, 10),
    'addition_embed_type': 'text_time', 'addition_time_embed_dim': 256,
    'projection_class_embeddings_input_dim': 2816}
_SD15: dict[str, Any] = {'attention_head_dim': 8, 'cross_attention_dim': 768}
_BK_SMALL: dict[str, Any] = {**_SD15, 'layers_per_block': 1, 'mid_block_type': None}

SHAPES: dict[str, dict[str, Any]] = {
    'sd15': _SD15,
    'lcm': {**_SD15, 'time_cond_proj_dim': 256},
    'sd21': {'attention_head_dim': (5, 10, 20, 20), 'cross_attention_dim': 1024,
             'use_linear_projection': True, 'upcast_attention': True},
    'bk_base': {**_SD15, 'layers_per_block': 1},
    'bk_small': _BK_SMALL,
    'bk_tiny': {**_BK_SMALL, 'block_out_channels': (320, 640, 1280),
                'down_block_types': ('CrossAttnDownBlock2D',) * 3,
                'up_block_types': ('CrossAttnUpBlock2D',) * 3},
    'sdxl': _XL,
    'ssd1b': {**_XL, 'mid_block_type': 'UNetMidBlock2D',
              'transformer_layers_per_block': [1, [2, 2], [4, 4]],
              'reverse_transformer_layers_per_block': [[4, 4, 10], [2, 1, 1], 1]},
    'tiny': {'attention_head_dim': 4, 'cross_attention_dim': 32, 'norm_num_groups': 8,
             'block_out_channels': (16, 32, 32, 32)},
}
"""
Configurations of UNet2DConditionModel as published with the models; Turbo versions have those of
their teachers. 'tiny' is SD 1.5 with few channels, for a trial run.
"""

SIDE = 512
"""Side of the square images, in pixels, that the default number of tokens is for."""

_VAE_LEVELS = ('DownEncoderBlock2D',) * 4, ('UpDecoderBlock2D',) * 4
_POOLED = 1280
_SCHEDULER = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear'}


def shape_kind(shape: str) -> str:
    """Return the kind, as in `model_defaults`, of one of SHAPES."""
    return latent_kind(SHAPES[shape], _SCHEDULER)


def random_backbone(shape: str, config: BackboneConfig, *, tiny_vae: bool = False,
                    attention: bool = False) -> UnetBackbone:
    """
    Return a backbone of one of SHAPES: the real layers and sizes, random weights.

    With `tiny_vae` an AutoencoderTiny encodes the image instead of an AutoencoderKL; with
    `attention` the backbone also gives attention maps. Tokens are by default those of 512x512
    pixels. Raises DiffsegError where it does not fit into memory.
    """
    kind, tokens = shape_kind(shape), config.tokens
    config = with_model_defaults(config, kind, section='backbone.')
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.precision, device)
    # As the VAEs of SDXL and its relatives ask for.
    upcast = 'addition_embed_type' in SHAPES[shape] and not tiny_vae and dtype == torch.float16
    torch.manual_seed(0)
    with torch.device('meta'):
        unet = UNet2DConditionModel(**SHAPES[shape])
        vae = _vae(tiny_vae, narrow=shape == 'tiny')
    block = choose_block(unet, config.block)
    maps = trim_unet(unet, block, attention=attention)
    try:
        _fill(unet, device, dtype)
        _fill(vae, device, torch.float32 if upcast else dtype)
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'shape {shape}: does not fit into the memory of {device}; choose a '
                           'smaller one or device cpu') from error
    prompt = torch.randn(1, 77, unet.config.cross_attention_dim)
    pooled = torch.randn(1, _POOLED) if 'addition_embed_type' in SHAPES[shape] else None
    encoder = LatentEncoder(vae)
    noise = FixedNoise(_SCHEDULER, config, device)
    stride = grid_stride(unet, block) * encoder.stride
    backbone = UnetBackbone(
        f'{shape} shape, random weights', unet, block, encoder, encoder.stride, noise,
        tokens or (SIDE // stride)**2, kind=kind, attention_blocks=maps,
        conditioning=unet_conditioning(prompt, pooled, unet.config, device, dtype))
    if config.compile:
        backbone.compile()
    return backbone


def _fill(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Give a model on the meta device random weights, as its layers are initialised."""
    # diffusers' own `to` warns about modules that these models lack.
    nn.Module.to(model, dtype).to_empty(device=device).requires_grad_(False).eval()
    for module in model.modules():
        if hasattr(module, 'reset_parameters'):
            module.reset_parameters()


def _vae(tiny: bool, *, narrow: bool) -> nn.Module:
    if tiny:
        return AutoencoderTiny()
    channels = (8, 8, 8, 8) if narrow else (128, 256, 512, 512)
    vae = AutoencoderKL(block_out_channels=channels, down_block_types=_VAE_LEVELS[0],
                        up_block_types=_VAE_LEVELS[1], layers_per_block=2,
                        norm_num_groups=4 if narrow else 32)
    vae.decoder = vae.post_quant_conv = None
    return vae
