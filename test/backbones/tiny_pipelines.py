"""Small randomly initialised pipelines in the shapes of the supported families, on disk."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDPMScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BETAS = {'beta_start': 0.00085, 'beta_end': 0.012, 'beta_schedule': 'scaled_linear'}
POOLED = 24


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a CLIP tokenizer with a vocabulary of a few letters."""
    folder.mkdir(parents=True)
    words = ['<|startoftext|>', '<|endoftext|>', '!', 'a', 'b', 'a</w>', 'b</w>', 'ab</w>']
    (folder / 'vocab.json').write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\na b</w>\n')
    (folder / 'tokenizer_config.json').write_text(json.dumps({'model_max_length': 77}))
    return CLIPTokenizer.from_pretrained(folder)


def text_config(width: int, **options: Any) -> CLIPTextConfig:
    """Return the configuration of a two-layer CLIP text encoder."""
    return CLIPTextConfig(**{
        'vocab_size': 8, 'hidden_size': width, 'intermediate_size': 2 * width,
        'num_hidden_layers': 2, 'num_attention_heads': 4, 'projection_dim': POOLED,
        'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': 1, **options})


def vae(**options: Any) -> AutoencoderKL:
    """Return a VAE that folds 8x8 pixels, as the real ones do."""
    levels = 4
    return AutoencoderKL(**{
        'block_out_channels': (8,) * levels, 'norm_num_groups': 4, 'layers_per_block': 1,
        'down_block_types': ('DownEncoderBlock2D',) * levels,
        'up_block_types': ('UpDecoderBlock2D',) * levels, 'scaling_factor': 0.18215, **options})


def tiny_vae() -> AutoencoderTiny:
    """Return an AutoencoderTiny that folds 8x8 pixels."""
    return AutoencoderTiny(encoder_block_out_channels=(8,) * 4,
                           decoder_block_out_channels=(8,) * 4)


def latent_unet(down: str, **options: Any) -> UNet2DConditionModel:
    """Return a U-Net whose levels are given by letters: C has cross-attention, D has none."""
    types = [{'C': 'CrossAttnDownBlock2D', 'D': 'DownBlock2D'}[letter] for letter in down]
    up = [{'C': 'CrossAttnUpBlock2D', 'D': 'UpBlock2D'}[letter] for letter in reversed(down)]
    return UNet2DConditionModel(**{
        'block_out_channels': (16, 32, 32, 32)[:len(down)], 'down_block_types': tuple(types),
        'up_block_types': tuple(up), 'layers_per_block': 2, 'norm_num_groups': 8,
        'attention_head_dim': 4, 'cross_attention_dim': 32, **options})


def save_sd(folder: Path, unet: UNet2DConditionModel, *, scheduler: Any = None,
            autoencoder: Any = None, variant: str | None = None, **text: Any) -> None:
    """Write a StableDiffusionPipeline."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder or vae(), text_encoder=CLIPTextModel(text_config(32, **text)),
        tokenizer=tokenizer(folder.parent / (folder.name + '_tokenizer')), unet=unet,
        scheduler=scheduler or PNDMScheduler(**BETAS, skip_prk_steps=True),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    if variant:
        pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, variant=variant)


def save_sdxl(folder: Path, *, autoencoder: Any = None, **options: Any) -> None:
    """Write a StableDiffusionXLPipeline with both text encoders."""
    unet = latent_unet('DCC', **{
        'cross_attention_dim': 64, 'addition_embed_type': 'text_time',
        'addition_time_embed_dim': 8, 'use_linear_projection': True,
        'projection_class_embeddings_input_dim': POOLED + 6 * 8,
        'transformer_layers_per_block': (1, 2, 3), 'attention_head_dim': (2, 4, 4), **options})
    words = tokenizer(folder.parent / (folder.name + '_tokenizer'))
    StableDiffusionXLPipeline(
        vae=autoencoder or vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(text_config(32)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(32, hidden_act='gelu')),
        tokenizer=words, tokenizer_2=words, unet=unet,
        scheduler=EulerDiscreteScheduler(**BETAS)).save_pretrained(folder)


def _deep(attention: str, layer: str) -> str:
    return f'down_blocks.2.attentions.{attention}.transformer_blocks.{layer}.attn1'


_SD2 = {'attention_head_dim': [2, 4, 4, 4], 'use_linear_projection': True}
_SMALL = {'layers_per_block': 1, 'mid_block_type': None}
FAMILIES: dict[str, tuple[Callable[[Path], None], str, int]] = {
    'sd1': (lambda folder: save_sd(folder, latent_unet('CCCD')), _deep('1', '0'), 32),
    'sd1_fp16': (lambda folder: save_sd(folder, latent_unet('CCCD'), variant='fp16'),
                 _deep('1', '0'), 32),
    'sd2': (lambda folder: save_sd(folder, latent_unet('CCCD', **_SD2), hidden_act='gelu',
                                   scheduler=DDPMScheduler(**BETAS,
                                                           prediction_type='v_prediction')),
            _deep('1', '0'), 32),
    'turbo': (lambda folder: save_sd(folder, latent_unet('CCCD', **_SD2), hidden_act='gelu',
                                     scheduler=EulerDiscreteScheduler(
                                         **BETAS, timestep_spacing='trailing')),
              _deep('1', '0'), 32),
    'lcm': (lambda folder: save_sd(folder, latent_unet('CCCD', time_cond_proj_dim=16),
                                   scheduler=LCMScheduler(**BETAS)), _deep('1', '0'), 32),
    'bk_base': (lambda folder: save_sd(folder, latent_unet('CCCD', layers_per_block=1)),
                _deep('0', '0'), 32),
    'bk_small': (lambda folder: save_sd(folder, latent_unet('CCCD', **_SMALL)),
                 _deep('0', '0'), 32),
    'bk_tiny': (lambda folder: save_sd(folder, latent_unet('CCC', **_SMALL),
                                       autoencoder=tiny_vae()), _deep('0', '0'), 32),
    'sdxl': (save_sdxl, _deep('1', '2'), 32),
    'sdxl_taesd': (lambda folder: save_sdxl(folder, autoencoder=tiny_vae()), _deep('1', '2'), 32),
    'ssd': (lambda folder: save_sdxl(
        folder, mid_block_type='UNetMidBlock2D', transformer_layers_per_block=[1, [2, 2], [4, 2]],
        reverse_transformer_layers_per_block=[[2, 2, 4], [2, 1, 1], 1]), _deep('1', '1'), 32),
}
"""How to write each family, the block DiffCut's rule picks, and its stride in pixels."""


def pixel_unet(**options: Any) -> UNet2DModel:
    """Return a U-Net in the embedded model's shape, smaller."""
    return UNet2DModel(**{
        'in_channels': 12, 'out_channels': 12, 'block_out_channels': (16, 32, 32),
        'layers_per_block': 1, 'attention_head_dim': 16, 'norm_num_groups': 8,
        'down_block_types': ('DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'),
        'up_block_types': ('AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'), **options})


def save_pixel(folder: Path, unet: UNet2DModel | None = None) -> None:
    """Write a folder as diffseg_train does."""
    (unet or pixel_unet()).half().save_pretrained(folder, variant='fp16')
    DDPMScheduler(beta_schedule='squaredcos_cap_v2').save_pretrained(folder)
