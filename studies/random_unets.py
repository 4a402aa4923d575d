"""Stable Diffusion's U-Nets at full size with random weights, to time them without weights."""

from __future__ import annotations

from typing import Any

from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.latent import latent_kind, LatentEncoder, unet_conditioning
from diffseg_ros.backbones.preprocess import FixedNoise
from diffseg_ros.backbones.unet import choose_block, trim_unet, UnetBackbone
from diffseg_ros.config import BackboneConfig
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
    'addition_embed_type': 'text_time', 'addition_time_embed_dim': 256,
    'projection_class_embeddings_input_dim': 2816}

SHAPES: dict[str, dict[str, Any]] = {
    'sd15': {'attention_head_dim': 8, 'cross_attention_dim': 768},
    'sd21': {'attention_head_dim': (5, 10, 20, 20), 'cross_attention_dim': 1024,
             'use_linear_projection': True, 'upcast_attention': True},
    'ssd1b': {**_XL, 'mid_block_type': 'UNetMidBlock2D',
              'transformer_layers_per_block': [1, [2, 2], [4, 4]],
              'reverse_transformer_layers_per_block': [[4, 4, 10], [2, 1, 1], 1]},
    'tiny': {'attention_head_dim': 4, 'cross_attention_dim': 32, 'norm_num_groups': 8,
             'block_out_channels': (16, 32, 32, 32)},
}
"""Configurations of UNet2DConditionModel; 'tiny' is SD 1.5 with few channels, for a trial run."""

TOKENS_AT_512 = 256
"""Feature vectors that these U-Nets give of 512x512 pixels."""

_VAE_LEVELS = ('DownEncoderBlock2D',) * 4, ('UpDecoderBlock2D',) * 4
_POOLED = 1280
_SCHEDULER = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear'}


def random_backbone(shape: str, config: BackboneConfig, *, tiny_vae: bool = False,
                    attention: bool = False) -> UnetBackbone:
    """
    Return a backbone of one of SHAPES: the real layers and sizes, random weights.

    With `tiny_vae` an AutoencoderTiny encodes the image instead of an AutoencoderKL; with
    `attention` the backbone also gives attention maps.
    """
    kind = latent_kind(SHAPES[shape], _SCHEDULER)
    config = with_model_defaults(config, kind, section='backbone.')
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.precision, device)
    torch.manual_seed(0)
    with device:
        unet = _ready(UNet2DConditionModel(**SHAPES[shape]), dtype)
        vae = _ready(_vae(tiny_vae, narrow=shape == 'tiny'), dtype)
    prompt = torch.randn(1, 77, unet.config.cross_attention_dim)
    pooled = torch.randn(1, _POOLED) if 'addition_embed_type' in SHAPES[shape] else None
    block = choose_block(unet, config.block)
    maps = trim_unet(unet, block, attention=attention)
    encoder = LatentEncoder(vae)
    noise = FixedNoise(_SCHEDULER, config, device)
    return UnetBackbone(
        f'{shape} shape, random weights', unet, block, encoder, encoder.stride, noise,
        config.tokens, kind=kind, attention_blocks=maps,
        conditioning=unet_conditioning(prompt, pooled, unet.config, device, dtype))


def _ready(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    # diffusers' own `to` warns about modules that these models lack.
    return nn.Module.to(model, dtype).requires_grad_(False).eval()


def _vae(tiny: bool, *, narrow: bool) -> nn.Module:
    if tiny:
        return AutoencoderTiny()
    channels = (8, 8, 8, 8) if narrow else (128, 256, 512, 512)
    vae = AutoencoderKL(block_out_channels=channels, down_block_types=_VAE_LEVELS[0],
                        up_block_types=_VAE_LEVELS[1], layers_per_block=2,
                        norm_num_groups=4 if narrow else 32)
    vae.decoder = vae.post_quant_conv = None
    return vae
