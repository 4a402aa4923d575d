"""Text-conditional latent U-Nets: Stable Diffusion and its relatives."""

from __future__ import annotations

import functools
from typing import Any

from diffseg_ros.backbones.capture import (
    choose_block,
    drop_unused,
    last_computed,
    self_attention_blocks,
)
from diffseg_ros.backbones.folder import PipelineFolder, SUPPORTED
from diffseg_ros.backbones.noise import FixedNoise, signal_share
from diffseg_ros.backbones.prompt import embed_empty_prompt, PromptEmbedding
from diffseg_ros.backbones.unet import UnetBackbone
from diffseg_ros.backbones.weights import create_empty, fill
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
import torch
from torch import nn

DEFAULT_TIMESTEP = 50
LCM_GUIDANCE = 8.5
"""Guidance scale that distilled U-Nets with a guidance input are told, their usual one."""
AESTHETIC_SCORE = 6.0
"""Score that SDXL refiners are told in place of a target size, their usual one."""


class LatentEncoder:
    """The encoder half of a VAE; returns the mode of its posterior, never a sample."""

    def __init__(self, vae: nn.Module) -> None:
        """Take an AutoencoderKL or AutoencoderTiny with its weights; only its encoder is used."""
        self._vae = vae
        if isinstance(vae, AutoencoderKL):
            levels = len(vae.config.block_out_channels)
        else:
            levels = len(vae.config.num_encoder_blocks)
        self._stride = 2 ** (levels - 1)
        parameter = next(vae.parameters())
        self._dtype = parameter.dtype
        self._mean, self._scale = _normalisation(vae.config, parameter.device)

    @staticmethod
    def load(folder: PipelineFolder, device: torch.device, dtype: torch.dtype) -> LatentEncoder:
        """Load it from the pipeline's `vae`; in float32 where its configuration asks for it."""
        settings = folder.config('vae')
        kinds = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
        kind = kinds.get(settings['_class_name'])
        if kind is None:
            raise DiffsegError(f'model {folder.path}: vae is a {settings["_class_name"]}; '
                               f'supported are {", ".join(kinds)}')
        path = folder.path / 'vae'
        vae = create_empty(kind, settings, path)
        vae.decoder = None
        if kind is AutoencoderKL:
            vae.post_quant_conv = None
        # A missing key means an early VAE, which half precision suits; diffusers' own default
        # would upcast it.
        if dtype == torch.float16 and settings.get('force_upcast', False):
            dtype = torch.float32
        fill(vae, path, device, dtype)
        return LatentEncoder(vae)

    @property
    def stride(self) -> int:
        """Pixels that one cell covers, along each side."""
        return self._stride

    @property
    def channels(self) -> int:
        """Number of latent channels."""
        return int(self._vae.config.latent_channels)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Take (1, 3, H, W) float32; return (1, C, H / stride, W / stride) float32."""
        encoded = self._vae.encode(image.to(self._dtype), return_dict=False)[0]
        latent = encoded if isinstance(encoded, torch.Tensor) else encoded.mode()
        return (latent.float() - self._mean) * self._scale


def _normalisation(config: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    mean = getattr(config, 'latents_mean', None) or getattr(config, 'shift_factor', None) or 0.0
    scale = torch.tensor(config.scaling_factor, dtype=torch.float32)
    if getattr(config, 'latents_std', None):
        scale = scale / torch.tensor(config.latents_std, dtype=torch.float32)
    return (torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1).to(device),
            scale.reshape(1, -1, 1, 1).to(device))


class Conditioning:
    """What the U-Net is told besides the image: the empty prompt, and sizes for SDXL."""

    def __init__(self, prompt: PromptEmbedding, config: Any, device: torch.device,
                 dtype: torch.dtype) -> None:
        """Take the prompt's embedding and the U-Net's configuration."""
        self._device, self._dtype = device, dtype
        self._fixed: dict[str, Any] = {'encoder_hidden_states': prompt.tokens.to(device, dtype)}
        if config.time_cond_proj_dim is not None:
            guidance = torch.tensor([(LCM_GUIDANCE - 1) * 1000])
            embedding = get_timestep_embedding(guidance, config.time_cond_proj_dim,
                                               downscale_freq_shift=1)
            self._fixed['timestep_cond'] = embedding.to(device, dtype)
        self._pooled = None
        if prompt.pooled is not None:
            self._pooled = prompt.pooled.to(device, dtype)
            rest = config.projection_class_embeddings_input_dim - prompt.pooled.shape[1]
            self._numbers = rest // config.addition_time_embed_dim
        self._sized = functools.lru_cache(maxsize=8)(self._build)

    def __call__(self, height: int, width: int) -> dict[str, Any]:
        """Return the U-Net's further arguments for an image of this size in pixels."""
        return self._sized(height, width)

    def _build(self, height: int, width: int) -> dict[str, Any]:
        if self._pooled is None:
            return self._fixed
        numbers: list[float] = [height, width, 0, 0, height, width]
        if self._numbers == 5:
            numbers[4:] = [AESTHETIC_SCORE]
        ids = torch.tensor([numbers], dtype=self._dtype, device=self._device)
        return {**self._fixed,
                'added_cond_kwargs': {'text_embeds': self._pooled, 'time_ids': ids}}


def load_latent_backbone(name: str, folder: PipelineFolder, config: BackboneConfig,
                         device: torch.device, dtype: torch.dtype, *,
                         attention: bool = False) -> UnetBackbone:
    """
    Load the U-Net and the VAE encoder of a pipeline, and embed the empty prompt.

    With `attention` the U-Net's decoder is loaded too and the backbone gives attention maps.

    Raises
    ------
    DiffsegError
        Something is missing, damaged or of a kind that is not supported.

    """
    unet = create_empty(UNet2DConditionModel, folder.config('unet'), folder.path / 'unet')
    settings = unet.config
    _check_family(name, settings)
    timestep = config.timestep if config.timestep >= 0 else DEFAULT_TIMESTEP
    share = signal_share(folder.config('scheduler'), timestep) if config.noise else 1.0
    block = choose_block(unet, config.block)
    maps = self_attention_blocks(unet) if attention else []
    drop_unused(unet, last_computed(unet, block, maps))
    prompt = embed_empty_prompt(folder, pooled=settings.addition_embed_type == 'text_time')
    if prompt.tokens.shape[-1] != settings.cross_attention_dim:
        raise DiffsegError(f'model {name}: its text encoders give {prompt.tokens.shape[-1]} '
                           f'channels, its U-Net takes {settings.cross_attention_dim}; they '
                           'belong to different models: fetch it again')
    conditioning = Conditioning(prompt, settings, device, dtype)
    encoder = LatentEncoder.load(folder, device, dtype)
    if settings.in_channels != encoder.channels:
        raise DiffsegError(f'model {name}: its U-Net takes {settings.in_channels} channels, its '
                           f'VAE gives {encoder.channels} (an inpainting, editing or upscaling '
                           'model?); use the text-to-image model')
    fill(unet, folder.path / 'unet', device, dtype)
    return UnetBackbone(name, unet, block, encoder, FixedNoise(share, config.seed, device),
                        timestep, device, config, conditioning, attention_blocks=maps)


def _check_family(name: str, config: Any) -> None:
    for key, allowed in (('addition_embed_type', (None, 'text_time')),
                         ('encoder_hid_dim_type', (None,)), ('class_embed_type', (None,)),
                         ('num_class_embeds', (None,))):
        if config[key] not in allowed:
            raise DiffsegError(f'model {name}: its U-Net has {key} {config[key]!r}, conditioning '
                               f'that an image alone cannot give; {SUPPORTED}')
