"""Pipelines written as single files, with the tensors' names of the original code."""

from __future__ import annotations

import json
from pathlib import Path
import re

from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from tiny_pipelines import BETAS, latent_unet
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Tensors = dict[str, torch.Tensor]

RESNET = {'norm1': 'in_layers.0', 'conv1': 'in_layers.2', 'time_emb_proj': 'emb_layers.1',
          'norm2': 'out_layers.0', 'conv2': 'out_layers.3', 'conv_shortcut': 'skip_connection'}
UNET = {'time_embedding.linear_1': 'time_embed.0', 'time_embedding.linear_2': 'time_embed.2',
        'add_embedding.linear_1': 'label_emb.0.0', 'add_embedding.linear_2': 'label_emb.0.2',
        'conv_in': 'input_blocks.0.0', 'conv_norm_out': 'out.0', 'conv_out': 'out.2',
        'mid_block.resnets.0': 'middle_block.0', 'mid_block.attentions.0': 'middle_block.1',
        'mid_block.resnets.1': 'middle_block.2'}
VAE = {'conv_norm_out': 'norm_out', 'mid_block.attentions.0': 'mid.attn_1',
       'mid_block.resnets.0': 'mid.block_1', 'mid_block.resnets.1': 'mid.block_2',
       'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v', 'to_out.0': 'proj_out',
       'down_blocks': 'down', 'resnets': 'block', 'downsamplers.0': 'downsample',
       'upsamplers.0': 'upsample', 'conv_shortcut': 'nin_shortcut'}
OPEN_CLIP = {'embeddings.token_embedding': 'token_embedding', 'final_layer_norm': 'ln_final',
             'encoder.layers': 'transformer.resblocks', 'layer_norm1': 'ln_1',
             'layer_norm2': 'ln_2', 'mlp.fc1': 'mlp.c_fc', 'mlp.fc2': 'mlp.c_proj',
             'self_attn.out_proj': 'attn.out_proj'}


def renamed(key: str, names: dict[str, str]) -> str:
    """Replace whole dotted parts of a name."""
    for old, new in names.items():
        key = re.sub(rf'(^|(?<=\.)){re.escape(old)}(?=\.)', new, key)
    return key


def ldm_unet(unet: UNet2DConditionModel) -> Tensors:
    """Return the U-Net's tensors as the original code names them."""
    layers = unet.config.layers_per_block

    def name(key: str) -> str:
        match = re.match(r'(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)', key)
        if not match:
            key = renamed(key, UNET)
            return key if key.startswith('middle_block.1') else renamed(key, RESNET)
        way, level, part, layer, rest = match.groups()
        first = int(level) * (layers + 1)
        if part == 'downsamplers':
            return f'input_blocks.{first + layers + 1}.0.{rest.replace("conv", "op")}'
        if part == 'upsamplers':
            after = 2 if f'up_blocks.{level}.attentions.0.norm.weight' in tensors else 1
            return f'output_blocks.{first + layers}.{after}.{rest}'
        index = first + int(layer)
        side = f'input_blocks.{index + 1}' if way == 'down' else f'output_blocks.{index}'
        return (f'{side}.1.{rest}' if part == 'attentions'
                else f'{side}.0.{renamed(rest, RESNET)}')

    tensors = unet.state_dict()
    return {f'model.diffusion_model.{name(key)}': value for key, value in tensors.items()}


def ldm_vae(vae: AutoencoderKL) -> Tensors:
    """Return the VAE's tensors as the original code names them."""
    last = len(vae.config.block_out_channels) - 1
    found = {}
    for key, value in vae.state_dict().items():
        key = re.sub(r'up_blocks\.(\d+)', lambda match: f'up.{last - int(match[1])}', key)
        key = renamed(key, VAE)
        if '.attn_1.' in key and value.ndim == 2:
            value = value[:, :, None, None]
        found[f'first_stage_model.{key}'] = value
    return found


def open_clip(encoder: CLIPTextModel | CLIPTextModelWithProjection) -> Tensors:
    """Return a text encoder's tensors as OpenCLIP names them."""
    tensors = {key.removeprefix('text_model.'): value
               for key, value in encoder.state_dict().items()}
    found = {}
    for key, value in tensors.items():
        if '.q_proj.' in key:
            parts = [tensors[key.replace('q_proj', f'{part}_proj')] for part in 'qkv']
            key = renamed(key, OPEN_CLIP)
            found[re.sub(r'self_attn\.q_proj\.(\w+)', r'attn.in_proj_\1', key)] = torch.cat(parts)
        elif key == 'text_projection.weight':
            found['text_projection'] = value.T.contiguous()
        elif key == 'embeddings.position_embedding.weight':
            found['positional_embedding'] = value
        elif '.k_proj.' not in key and '.v_proj.' not in key:
            found[renamed(key, OPEN_CLIP)] = value
    return found


def checkpoint(pipeline: DiffusionPipeline, family: str) -> Tensors:
    """Return all tensors of a pipeline as the original code of 'sd1', 'sd2' or 'xl' names them."""
    texts = {}
    if family == 'sd2':
        encoder = open_clip(pipeline.text_encoder)
        last = max(int(match[1]) for key in encoder if (match := re.search(r'blocks\.(\d+)', key)))
        # The file has one more layer than the pipeline uses.
        encoder |= {key.replace(f'blocks.{last}.', f'blocks.{last + 1}.'): torch.ones_like(value)
                    for key, value in encoder.items() if f'blocks.{last}.' in key}
        texts['cond_stage_model.model.'] = encoder | {
            'logit_scale': torch.tensor(1.0),
            'text_projection': torch.eye(pipeline.text_encoder.config.hidden_size)}
    if family in ('sd1', 'xl'):
        prefix = {'sd1': 'cond_stage_model', 'xl': 'conditioner.embedders.0'}[family]
        texts[f'{prefix}.transformer.text_model.'] = {
            **pipeline.text_encoder.state_dict(),
            'embeddings.position_ids': torch.arange(77)[None]}
    if family == 'xl':
        texts['conditioner.embedders.1.model.'] = open_clip(pipeline.text_encoder_2)
    return {**ldm_unet(pipeline.unet), **ldm_vae(pipeline.vae),
            'alphas_cumprod': torch.ones(1000),
            **{prefix + key: value for prefix, encoder in texts.items()
               for key, value in encoder.items()}}


def write(pipeline: DiffusionPipeline, family: str, file: Path) -> None:
    """Write a pipeline as a single file."""
    save_file({key: value.contiguous().clone()
               for key, value in checkpoint(pipeline, family).items()}, file)


def tokenizer(folder: Path, padding: str) -> CLIPTokenizer:
    """Return a CLIP tokenizer with few words, the special ones where the real one has them."""
    folder.mkdir(parents=True)
    words = {'!': 0, 'a</w>': 320, '<|startoftext|>': 49406, '<|endoftext|>': 49407}
    (folder / 'vocab.json').write_text(json.dumps(words))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    (folder / 'tokenizer_config.json').write_text(json.dumps(
        {'model_max_length': 77, 'pad_token': padding}))
    return CLIPTokenizer.from_pretrained(folder)


def text_config(act: str, **options: int) -> CLIPTextConfig:
    """Return the configuration of a narrow CLIP text encoder with the real vocabulary."""
    return CLIPTextConfig(**{
        'vocab_size': 49408, 'hidden_size': 64, 'intermediate_size': 128, 'num_hidden_layers': 2,
        'num_attention_heads': 1, 'projection_dim': 24, 'hidden_act': act, 'eos_token_id': 2,
        **options})


def narrow_vae(**options: object) -> AutoencoderKL:
    """Return a VAE with the groups of the real ones and few channels."""
    return AutoencoderKL(**{
        'block_out_channels': (32,) * 4, 'layers_per_block': 1,
        'down_block_types': ('DownEncoderBlock2D',) * 4,
        'up_block_types': ('UpDecoderBlock2D',) * 4, 'scaling_factor': 0.18215, **options})


def narrow_pipeline(family: str, folder: Path) -> DiffusionPipeline:
    """Return a pipeline of 'sd1', 'sd2', 'xl' or 'ssd' with real names and few channels."""
    unet = {'norm_num_groups': 32, 'cross_attention_dim': 64}
    rest = {'safety_checker': None, 'feature_extractor': None, 'requires_safety_checker': False,
            'scheduler': PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)}
    ends, shriek = tokenizer(folder / 'ends', '<|endoftext|>'), tokenizer(folder / 'shriek', '!')
    if family == 'sd1':
        return StableDiffusionPipeline(
            vae=narrow_vae(), text_encoder=CLIPTextModel(text_config('quick_gelu')),
            tokenizer=ends, **rest,
            unet=latent_unet('CCCD', block_out_channels=(32, 32, 64, 64), attention_head_dim=8,
                             **unet))
    linear = {**unet, 'use_linear_projection': True}
    if family == 'sd2':
        return StableDiffusionPipeline(
            vae=narrow_vae(), text_encoder=CLIPTextModel(text_config('gelu')),
            tokenizer=shriek, **rest,
            unet=latent_unet('CCCD', block_out_channels=(64, 64, 128, 128),
                             attention_head_dim=(1, 1, 2, 2), **linear))
    depth = {'transformer_layers_per_block': (1, 2, 3)}
    if family == 'ssd':
        depth = {'mid_block_type': 'UNetMidBlock2D',
                 'transformer_layers_per_block': [1, [2, 2], [4, 3]],
                 'reverse_transformer_layers_per_block': [[2, 2, 4], [2, 1, 1], 1]}
    return StableDiffusionXLPipeline(
        vae=narrow_vae(scaling_factor=0.13025, force_upcast=True),
        text_encoder=CLIPTextModel(text_config('quick_gelu')), tokenizer=ends,
        text_encoder_2=CLIPTextModelWithProjection(text_config('gelu', num_hidden_layers=3)),
        tokenizer_2=shriek, scheduler=EulerDiscreteScheduler(**BETAS),
        unet=latent_unet('DCC', **{
            **linear, **depth, 'cross_attention_dim': 128, 'attention_head_dim': (1, 1, 2),
            'block_out_channels': (64, 64, 128), 'addition_embed_type': 'text_time',
            'addition_time_embed_dim': 256,
            'projection_class_embeddings_input_dim': 24 + 6 * 256}))
