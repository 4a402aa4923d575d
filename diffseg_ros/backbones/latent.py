"""
Text-conditional latent U-Nets: Stable Diffusion and its relatives.

The U-Net is given the VAE's latent of the image and the embedding of the empty prompt, which is
computed once; no text encoder stays in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import functools
import gc
from typing import Any

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.checkpoints import (
    create_empty,
    PipelineFolder,
    SUPPORTED,
)
from diffseg_ros.backbones.preprocess import FixedNoise
from diffseg_ros.backbones.transformers_model import load_transformers_model
from diffseg_ros.backbones.unet import choose_block, trim_unet, UnetBackbone
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import LCM, SD1, SD2, SDXL, TURBO, with_model_defaults
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

LCM_GUIDANCE = 8.5
"""Guidance scale that distilled U-Nets with a guidance input are given, their usual one."""
AESTHETIC_SCORE = 6.0
"""Score that SDXL refiners are given in place of a target size, their usual one."""

_TEXT_ENCODERS = {kind.__name__: kind for kind in (CLIPTextModel, CLIPTextModelWithProjection)}
VAES = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}


class LatentEncoder:
    """
    The encoder of an AutoencoderKL or AutoencoderTiny: the posterior's mode, never a sample.

    A cell covers `stride` pixels along each side and has `channels` latent channels.
    """

    def __init__(self, vae: nn.Module) -> None:
        config: Any = vae.config
        levels = (config.block_out_channels if isinstance(vae, AutoencoderKL)
                  else config.num_encoder_blocks)
        self.stride = 2 ** (len(levels) - 1)
        self.channels = int(config.latent_channels)
        self._vae = vae
        parameter = next(vae.parameters())
        self._dtype = parameter.dtype
        mean = torch.tensor(getattr(config, 'latents_mean', None)
                            or getattr(config, 'shift_factor', None) or 0.0, dtype=torch.float32)
        scale = torch.tensor(config.scaling_factor, dtype=torch.float32)
        if getattr(config, 'latents_std', None):
            scale = scale / torch.tensor(config.latents_std, dtype=torch.float32)
        self._mean = mean.reshape(1, -1, 1, 1).to(parameter.device)
        self._scale = scale.reshape(1, -1, 1, 1).to(parameter.device)

    @staticmethod
    def load(folder: PipelineFolder, device: torch.device, dtype: torch.dtype) -> LatentEncoder:
        """Load the pipeline's `vae`; in float32 where its configuration asks for it."""
        config = folder.config('vae')
        kind = VAES.get(config['_class_name'])
        if kind is None:
            raise DiffsegError(f'model {folder.path}: vae is a {config["_class_name"]}; '
                               f'supported are {", ".join(VAES)}')
        vae = create_empty(kind, config, folder.path / 'vae')
        vae.decoder = None
        if kind is AutoencoderKL:
            vae.post_quant_conv = None
        # A missing key means an early VAE, which half precision suits; diffusers' own default
        # would upcast it.
        if dtype == torch.float16 and config.get('force_upcast', False):
            dtype = torch.float32
        folder.load_weights('vae', vae, device, dtype)
        return LatentEncoder(vae)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Take (1, 3, H, W) float32; return (1, C, H / stride, W / stride) float32."""
        encoded = self._vae.encode(image.to(self._dtype), return_dict=False)[0]
        latent = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
        return (latent.float() - self._mean) * self._scale


def unet_conditioning(prompt: torch.Tensor, pooled: torch.Tensor | None, config: Any,
                      device: torch.device,
                      dtype: torch.dtype) -> Callable[[int, int], dict[str, Any]]:
    """
    Return a function from an image's height and width to the U-Net's inputs besides the image.

    These are the (1, N, D) embedding of the prompt, a guidance scale for distilled models and,
    for SDXL, the (1, P) pooled embedding and sizes. `config` is the U-Net's configuration.
    """
    fixed = {'encoder_hidden_states': prompt.to(device, dtype)}
    if config.time_cond_proj_dim is not None:
        guidance = torch.tensor([(LCM_GUIDANCE - 1) * 1000])
        embedding = get_timestep_embedding(guidance, config.time_cond_proj_dim,
                                           downscale_freq_shift=1)
        fixed['timestep_cond'] = embedding.to(device, dtype)
    if pooled is None:
        return lambda height, width: fixed
    embeds = pooled.to(device, dtype)
    rest = config.projection_class_embeddings_input_dim - pooled.shape[1]
    refiner = rest // config.addition_time_embed_dim == 5

    @functools.lru_cache(maxsize=8)
    def sized(height: int, width: int) -> dict[str, Any]:
        target = [AESTHETIC_SCORE] if refiner else [height, width]
        ids = torch.tensor([[height, width, 0, 0, *target]], dtype=dtype, device=device)
        return {**fixed, 'added_cond_kwargs': {'text_embeds': embeds, 'time_ids': ids}}

    return sized


def latent_kind(unet: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str:
    """
    Return the kind, as in `model_defaults`, from the configurations of U-Net and scheduler.

    Distilled models are told by what their samplers need: LCM a guidance input or its own
    scheduler, Turbo and Lightning timesteps that start from the last.
    """
    kind = SD2 if unet.get('use_linear_projection') else SD1
    if unet.get('addition_embed_type') == 'text_time':
        kind = SDXL
    if unet.get('time_cond_proj_dim') or scheduler.get('_class_name') == 'LCMScheduler':
        return f'{kind}-{LCM}'
    trailing = scheduler.get('timestep_spacing') == 'trailing'
    if trailing and not scheduler.get('rescale_betas_zero_snr'):
        return f'{kind}-{TURBO}'
    return kind


def load_latent_backbone(name: str, folder: PipelineFolder, settings: BackboneSettings,
                         device: torch.device, dtype: torch.dtype, *,
                         attention: bool = False) -> UnetBackbone:
    """
    Load the U-Net and the VAE encoder of a pipeline, and embed the empty prompt.

    With `attention` the U-Net's decoder is loaded too and the backbone gives attention maps.
    Raises DiffsegError where a file is missing or damaged, or a component is not supported.
    """
    kind = latent_kind(folder.config('unet'), folder.config('scheduler'))
    settings = with_model_defaults(settings, kind, section='backbone.')
    unet = create_empty(UNet2DConditionModel, folder.config('unet'), folder.path / 'unet')
    config = unet.config
    for key, allowed in (('addition_embed_type', (None, 'text_time')),
                         ('encoder_hid_dim_type', (None,)), ('class_embed_type', (None,)),
                         ('num_class_embeds', (None,))):
        if config[key] not in allowed:
            raise DiffsegError(f'model {name}: its U-Net has {key} {config[key]!r}, which needs '
                               f'more input than an image; {SUPPORTED}')
    noise = FixedNoise(folder.config('scheduler'), settings, device)
    block = choose_block(unet, settings.block)
    maps = trim_unet(unet, block, attention=attention)
    folder.prompt = folder.prompt or embed_empty_prompt(
        folder, sdxl=config.addition_embed_type == 'text_time')
    prompt, pooled = folder.prompt
    if prompt.shape[-1] != config.cross_attention_dim:
        raise DiffsegError(f'model {name}: its text encoders give {prompt.shape[-1]} channels, '
                           f'its U-Net takes {config.cross_attention_dim}; they belong to '
                           'different models: download it again')
    encoder = LatentEncoder.load(folder, device, dtype)
    if config.in_channels != encoder.channels:
        raise DiffsegError(f'model {name}: its U-Net takes {config.in_channels} channels, its '
                           f'VAE gives {encoder.channels} (an inpainting, editing or upscaling '
                           'model?); use the text-to-image model')
    folder.load_weights('unet', unet, device, dtype)
    conditioning = unet_conditioning(prompt, pooled, config, device, dtype)
    return UnetBackbone(name, unet, block, encoder, encoder.stride, noise,
                        settings.tokens, kind=kind, conditioning=conditioning,
                        attention_blocks=maps)


def embed_empty_prompt(folder: PipelineFolder, *,
                       sdxl: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Return (1, N, D) float32 for cross-attention and, with `sdxl`, (1, P) for the whole prompt.

    The text encoders run one after the other, in float32 on the CPU, so that all devices get the
    same embedding. A U-Net of the SDXL kind takes the second to last layers of all encoders side
    by side, and the pooled output of the second.
    """
    names = [name for name in ('text_encoder', 'text_encoder_2') if name in folder.classes]
    if not names:
        folder.config('text_encoder')
    layers: list[torch.Tensor] = []
    pooled = None
    for name in names:
        encoder = load_text_encoder(folder, name)
        tokens = folder.empty_prompt(name)
        masked = getattr(encoder.config, 'use_attention_mask', False)
        with torch.no_grad():
            output = encoder(tokens['input_ids'], output_hidden_states=True,
                             attention_mask=tokens['attention_mask'] if masked else None)
        layers.append((output.hidden_states[-2] if sdxl else output.last_hidden_state).clone())
        pooled = getattr(output, 'text_embeds', pooled)
        del encoder, output
        gc.collect()
    if sdxl and pooled is None:
        raise DiffsegError(f'model {folder.path}: no CLIPTextModelWithProjection among its text '
                           f'encoders, but the U-Net needs its output; {SUPPORTED}')
    return torch.cat(layers, dim=-1), pooled if sdxl else None


def load_text_encoder(folder: PipelineFolder,
                      name: str) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Load one text encoder of a pipeline in float32 on the CPU."""
    folder.config(name)
    kind = folder.classes[name]
    if kind not in _TEXT_ENCODERS:
        raise DiffsegError(f'model {folder.path}: {name} is a {kind}; CLIP text encoders are '
                           f'needed; {SUPPORTED}')
    path = folder.path / name
    source = folder.text_encoder_source(name)
    return load_transformers_model(_TEXT_ENCODERS[kind], path, torch.float32, **source)
