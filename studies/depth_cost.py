"""
What depth models cost beside the backbone: weights of the published sizes, counted.

`python -m studies.depth_cost` prints them. The shapes are those of the published configurations;
no weights are read.
"""

from __future__ import annotations

from typing import Any

from diffseg_ros.backbones.unet import choose_block, trim_unet
from diffusers import AutoencoderKL, UNet2DConditionModel
import torch
from torch import nn
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    GLPNConfig,
    GLPNForDepthEstimation,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
)

from studies.random_unets import SHAPES

_VAE: dict[str, Any] = {
    'block_out_channels': (128, 256, 512, 512), 'layers_per_block': 2,
    'down_block_types': ('DownEncoderBlock2D',) * 4, 'up_block_types': ('UpDecoderBlock2D',) * 4}
_LARGE = {'model_type': 'dinov2', 'hidden_size': 1024, 'num_hidden_layers': 24,
          'num_attention_heads': 16, 'image_size': 384, 'patch_size': 16}
_ANYTHING = {'Small': (384, 6, 12, (48, 96, 192, 384), 64),
             'Base': (768, 12, 12, (96, 192, 384, 768), 128),
             'Large': (1024, 16, 24, (256, 512, 1024, 1024), 256)}


def depth_anything(size: str) -> DepthAnythingForDepthEstimation:
    """Return a Depth Anything V2 of a published size."""
    hidden, heads, layers, neck, fusion = _ANYTHING[size]
    last = (5, 12, 18, 24) if layers == 24 else (3, 6, 9, 12)
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=Dinov2Config(
            hidden_size=hidden, num_attention_heads=heads, num_hidden_layers=layers,
            image_size=518, out_indices=list(last), reshape_hidden_states=False),
        reassemble_hidden_size=hidden, neck_hidden_sizes=neck, fusion_hidden_size=fusion))


def models() -> dict[str, list[nn.Module]]:
    """Return what is in memory for each model, without memory."""
    unet = UNet2DConditionModel(**SHAPES['sd21'])
    trim_unet(unet, choose_block(unet, 'auto'), attention=False)
    vae = AutoencoderKL(**_VAE)
    eight = UNet2DConditionModel(**SHAPES['sd21'], in_channels=8)
    pro = DepthProConfig(use_fov_model=True, image_model_config=_LARGE,
                         patch_model_config=_LARGE, fov_model_config=_LARGE)
    return {
        'backbone SD 2.1, block auto: U-Net to the block, VAE encoder': [
            unet, vae.encoder, vae.quant_conv],
        'Marigold: U-Net': [eight],
        'Marigold: VAE': [vae],
        **{f'Depth Anything V2 {size}': [depth_anything(size)] for size in _ANYTHING},
        'Depth Pro': [DepthProForDepthEstimation(pro)],
        'DPT Large': [DPTForDepthEstimation(DPTConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24,
            num_attention_heads=16, backbone_out_indices=[5, 11, 17, 23],
            neck_hidden_sizes=[256, 512, 1024, 1024]))],
        'GLPN': [GLPNForDepthEstimation(GLPNConfig(
            depths=[3, 8, 27, 3], hidden_sizes=[64, 128, 320, 512]))],
        'ZoeDepth': [ZoeDepthForDepthEstimation(ZoeDepthConfig())]}


def main() -> None:
    """Print a table."""
    print('| model | parameters | MB at float16 | MB at float32 |\n| --- | --- | --- | --- |')
    with torch.device('meta'):
        found = models()
    for name, parts in found.items():
        count = sum(parameter.numel() for part in parts for parameter in part.parameters())
        print(f'| {name} | {count / 1e6:.1f} M | {2 * count / 1e6:.0f} | {4 * count / 1e6:.0f} |')


if __name__ == '__main__':
    main()
