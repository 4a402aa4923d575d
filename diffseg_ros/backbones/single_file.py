"""
Stable Diffusion 1, 2 and XL in one safetensors file, in the layout of the original code.

Such a file holds weights only. What a pipeline folder says besides is read off the shapes, or is
the same for a whole family. diffusers translates the names of the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re
from types import SimpleNamespace
from typing import Any

from diffseg_ros.backbones.checkpoints import (
    assign_weights,
    check_weights,
    NOT_QUANTISED,
    PICKLES,
    PipelineFolder,
)
from diffseg_ros.errors import DiffsegError
from diffusers.loaders import single_file_utils
from safetensors import safe_open
import torch
from torch import nn
from transformers import CLIPTextConfig

SUPPORTED_FILES = ('supported single files are whole checkpoints of Stable Diffusion 1, 2 and XL '
                   '(U-Net, VAE and text encoders); for another model give the folder of its '
                   'diffusers pipeline')
START, END, LENGTH = 49406, 49407, 77
"""The empty prompt in CLIP's vocabulary: start, end, padding. OpenCLIP pads with 0."""

Shape = tuple[int, ...]

_UNET = 'model.diffusion_model.'
_VAES = 'first_stage_model.', 'vae.'
_SD2_TEXT = 'cond_stage_model.model.'
_TEXT = {'cond_stage_model.transformer.': 'text_encoder',
         _SD2_TEXT: 'text_encoder',
         'conditioner.embedders.0.transformer.': 'text_encoder',
         'conditioner.embedders.0.model.': 'text_encoder_2',
         'conditioner.embedders.1.model.': 'text_encoder_2'}
"""Prefixes of the text encoders: '...transformer.' is OpenAI's CLIP, '...model.' OpenCLIP."""
_KINDS = ('v1', 'v2', 'xl_base', 'xl_refiner')
_ALONE = {'lora': 'a LoRA', 'control': 'a ControlNet', 'emb_params': 'a textual inversion',
          'double_blocks.': 'a Flux transformer', 'joint_blocks.': 'an SD 3 transformer',
          'text_model.': 'a text encoder alone', 'encoder.down': 'a VAE alone',
          'blocks.': 'a U-Net or transformer alone'}
"""What a file is that holds no checkpoint, by a part of its tensors' names."""


class SingleFile(PipelineFolder):
    """
    A pipeline in one file, with the interface of a pipeline folder.

    Raises DiffsegError unless it is a safetensors file with a supported checkpoint.
    """

    def __init__(self, path: Path) -> None:
        _check_format(path)
        check_weights([path])
        with safe_open(path, framework='pt', device='cpu') as handle:
            # Mapped, not read: only what is copied later takes memory.
            self._tensors = {key: handle.get_tensor(key) for key in handle.keys()}
        self._shapes = {key: tuple(value.shape) for key, value in self._tensors.items()}
        self._vae = next(filter(self._has, _VAES), 'no VAE')
        self._text = {name: prefix for prefix, name in _TEXT.items() if self._has(prefix)}
        self._xl = self._has('conditioner.')
        self.path, self.kind = path, 'single file'
        self.classes = {'unet': 'UNet2DConditionModel', 'vae': 'AutoencoderKL',
                        'scheduler': 'DDIMScheduler',
                        **{name: 'CLIPTextModel' + 'WithProjection' * name.endswith('_2')
                           for name in self._text}}
        self._check_kind()

    def _has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self._tensors)

    def _check_kind(self) -> None:
        try:
            kind = single_file_utils.infer_diffusers_model_type(self._tensors)
        except (LookupError, ValueError, UnboundLocalError):  # a known family of another size
            kind = 'unknown'
        kind = 'edm' if self._has('edm_') else kind
        parts = {'U-Net': self._has(_UNET), 'VAE': self._has(self._vae),
                 'text encoder': bool(self._text)}
        missing = ' and '.join(name for name, there in parts.items() if not there)
        if kind in _KINDS and not missing:
            return
        what = f'without {missing}' if any(parts.values()) else next(
            (what for part, what in _ALONE.items()
             if any(part in key for key in self._tensors)), 'an unknown model')
        if kind not in _KINDS:
            what = f'of the kind {kind}'
        raise DiffsegError(f'model {self.path}: a single file, {what}; {SUPPORTED_FILES}')

    def config(self, component: str) -> dict[str, Any]:
        """Return the configuration of a component, as a pipeline folder has it."""
        try:
            if component == 'unet':
                found = _unet_config(_without(_UNET, self._shapes), xl=self._xl)
            elif component == 'vae':
                found = _vae_config(_without(self._vae, self._shapes), xl=self._xl)
            elif component == 'scheduler':
                found = {'num_train_timesteps': 1000, 'beta_schedule': 'scaled_linear',
                         'beta_start': 0.00085, 'beta_end': 0.012,
                         'rescale_betas_zero_snr': 'ztsnr' in self._tensors}
            else:
                prefix = self._text[component]
                found = _text_config(_without(prefix, self._shapes), prefix)
        except LookupError as error:
            raise DiffsegError(f'model {self.path}: its {component} lacks {error}; the file is '
                               f'damaged or of another model; {SUPPORTED_FILES}') from error
        return {'_class_name': self.classes[component], **found}

    def load_weights(self, component: str, model: nn.Module, device: torch.device,
                     dtype: torch.dtype) -> None:
        """Load the weights of 'unet' or 'vae' into an empty model."""
        config = self.config(component)
        if component == 'unet':
            tensors = single_file_utils.convert_ldm_unet_checkpoint(self._tensors, config,
                                                                    extract_ema=True)
        else:
            tensors = single_file_utils.convert_ldm_vae_checkpoint(
                _without(self._vae, self._tensors), config)
        kept = {name: tensors[name].to(device, dtype, copy=True) for name in model.state_dict()
                if tensors.get(name) is not None}
        assign_weights(model, kept, f'model {self.path}: its {component}',
                       f'the file is damaged or of another model; {SUPPORTED_FILES}')

    def text_encoder_source(self, name: str) -> dict[str, Any]:
        """Return the arguments of `from_pretrained` for 'text_encoder' or 'text_encoder_2'."""
        prefix, config = self._text[name], CLIPTextConfig(**self.config(name))
        if _is_open_clip(prefix):
            tensors = single_file_utils.convert_open_clip_checkpoint(
                SimpleNamespace(config=config), self._tensors, prefix)
        else:
            tensors = _without(prefix, self._tensors)
        if name == 'text_encoder':
            tensors = {key.removeprefix('text_model.'): value for key, value in tensors.items()}
        return {'pretrained_model_name_or_path': None, 'config': config, 'state_dict': tensors}

    def empty_prompt(self, name: str) -> dict[str, torch.Tensor]:
        """Return the (1, 77) tokens of the empty prompt, and which of them are no padding."""
        padding = 0 if _is_open_clip(self._text[name]) else END
        return {'input_ids': torch.tensor([[START, END, *[padding] * (LENGTH - 2)]]),
                'attention_mask': torch.tensor([[1, 1, *[0] * (LENGTH - 2)]])}


def _check_format(path: Path) -> None:
    if path.suffix in PICKLES:
        raise DiffsegError(
            f'model {path}: a pickle, never opened, since it can run any code when loaded; '
            'convert it: python3 -c "import torch, safetensors.torch as s; '
            f"d = torch.load('{path}', 'cpu', weights_only=True); d = d.get('state_dict', d); "
            's.save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, '
            f"'{path.with_suffix('.safetensors')}')\"")
    if path.suffix == '.gguf':
        raise DiffsegError(f'model {path}: a GGUF file; {NOT_QUANTISED}')
    if path.suffix != '.safetensors':
        raise DiffsegError(f'model {path}: a file, but none in safetensors; {SUPPORTED_FILES}')


def _without(prefix: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in items.items()
            if key.startswith(prefix)}


def _is_open_clip(prefix: str) -> bool:
    return prefix.endswith('.model.')


def _count(keys: Mapping[str, Any], pattern: str) -> int:
    """Return how many numbers occur in the keys that match."""
    return len({match[1] for key in keys if (match := re.match(pattern, key))})


def _first(shapes: Mapping[str, Shape], *ends: str) -> Shape:
    for key, shape in shapes.items():
        if key.endswith(ends):
            return shape
    raise KeyError(' or '.join(ends))


def _unet_config(shapes: Mapping[str, Shape], *, xl: bool) -> dict[str, Any]:
    def depth(block: str) -> int:
        return _count(shapes, rf'{block}\.1\.transformer_blocks\.(\d+)\.')

    channels: list[int] = []
    down: list[list[int]] = []
    for index in range(1, _count(shapes, r'input_blocks\.(\d+)\.')):
        if f'input_blocks.{index}.0.op.weight' in shapes:
            continue
        if index == 1 or f'input_blocks.{index - 1}.0.op.weight' in shapes:
            channels.append(shapes[f'input_blocks.{index}.0.in_layers.2.weight'][0])
            down.append([])
        down[-1].append(depth(f'input_blocks.{index}'))
    layers, middle = len(down[0]), depth('middle_block')
    up = [[depth(f'output_blocks.{level * (layers + 1) + layer}') for layer in range(layers + 1)]
          for level in range(len(down))]
    linear = len(_first(shapes, '.proj_in.weight')) == 2
    found = {
        'in_channels': shapes['input_blocks.0.0.weight'][1],
        'out_channels': shapes['out.2.weight'][0],
        'block_out_channels': channels,
        'layers_per_block': layers,
        'down_block_types': ['CrossAttnDownBlock2D' if any(level) else 'DownBlock2D'
                             for level in down],
        'up_block_types': ['CrossAttnUpBlock2D' if any(level) else 'UpBlock2D' for level in up],
        'mid_block_type': 'UNetMidBlock2DCrossAttn' if middle else 'UNetMidBlock2D',
        'transformer_layers_per_block': [level if any(level) else [middle or 1]
                                         for level in down],
        'reverse_transformer_layers_per_block': up,
        'cross_attention_dim': _first(shapes, 'attn2.to_k.weight')[1],
        'use_linear_projection': linear,
        # diffusers' name for the number of heads: 8 in SD 1, of 64 channels each since SD 2.
        'attention_head_dim': [width // 64 for width in channels] if linear else 8,
    }
    if 'label_emb.0.0.weight' in shapes:
        found['projection_class_embeddings_input_dim'] = shapes['label_emb.0.0.weight'][1]
        found |= ({'addition_embed_type': 'text_time', 'addition_time_embed_dim': 256} if xl
                  else {'class_embed_type': 'projection'})
    return found


def _vae_config(shapes: Mapping[str, Shape], *, xl: bool) -> dict[str, Any]:
    levels = _count(shapes, r'encoder\.down\.(\d+)\.')
    return {
        'block_out_channels': [shapes[f'encoder.down.{level}.block.0.conv1.weight'][0]
                               for level in range(levels)],
        'layers_per_block': _count(shapes, r'encoder\.down\.0\.block\.(\d+)\.'),
        'latent_channels': shapes['quant_conv.weight'][0] // 2,
        'down_block_types': ['DownEncoderBlock2D'] * levels,
        'up_block_types': ['UpDecoderBlock2D'] * levels,
        'scaling_factor': 0.13025 if xl else 0.18215,
        'force_upcast': xl,
    }


def _text_config(shapes: Mapping[str, Shape], prefix: str) -> dict[str, Any]:
    vocabulary, width = _first(shapes, 'token_embedding.weight')
    layers = _count(shapes, r'.*\.(?:layers|resblocks)\.(\d+)\.')
    return {
        'vocab_size': vocabulary,
        'hidden_size': width,
        'intermediate_size': _first(shapes, 'mlp.fc1.bias', 'mlp.c_fc.bias')[0],
        # SD 2 takes the second to last layer; in diffusers its encoder ends there.
        'num_hidden_layers': layers - 1 if prefix == _SD2_TEXT else layers,
        'num_attention_heads': width // 64,
        'projection_dim': shapes.get('text_projection', (width, width))[1],
        'hidden_act': 'gelu' if _is_open_clip(prefix) else 'quick_gelu',
        # A code in transformers: the pooled output is that of the largest token, the end.
        'eos_token_id': 2,
    }
