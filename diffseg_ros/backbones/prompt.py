"""The embedding of the empty prompt, computed once; no text encoder stays in memory."""

from __future__ import annotations

from dataclasses import dataclass
import gc
from pathlib import Path

from diffseg_ros.backbones.folder import PipelineFolder, SUPPORTED
from diffseg_ros.backbones.weights import find_weights, TRANSFORMERS_STEM
from diffseg_ros.errors import DiffsegError
from safetensors import SafetensorError
import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils import logging

ENCODERS = {kind.__name__: kind for kind in (CLIPTextModel, CLIPTextModelWithProjection)}


@dataclass(frozen=True)
class PromptEmbedding:
    """
    What the U-Net gets in place of a text, in float32 on the CPU.

    Attributes
    ----------
    tokens
        (1, N, D), for cross-attention.
    pooled
        (1, P), the whole text in one vector, or None where the model has no use for it.

    """

    tokens: torch.Tensor
    pooled: torch.Tensor | None = None


def embed_empty_prompt(folder: PipelineFolder, *, pooled: bool) -> PromptEmbedding:
    """
    Run the text encoders of a pipeline on the empty prompt, one after the other.

    They run in float32 on the CPU, so that all devices get the same embedding.

    Parameters
    ----------
    folder
        A pipeline with one or two text encoders and their tokenizers.
    pooled
        Whether the U-Net is of the SDXL kind: second to last layers of all encoders side by
        side, and the pooled output of the second.

    Raises
    ------
    DiffsegError
        An encoder or tokenizer is missing, damaged or of an unsupported class.

    """
    names = [name for name in ('text_encoder', 'text_encoder_2') if name in folder.classes]
    if not names:
        folder.config('text_encoder')
    layers: list[torch.Tensor] = []
    summary = None
    for name in names:
        layer, projected = _encode(folder, name, pooled)
        layers.append(layer)
        summary = projected if projected is not None else summary
        gc.collect()
    if pooled and summary is None:
        raise DiffsegError(f'model {folder.path}: no CLIPTextModelWithProjection among its text '
                           f'encoders, but the U-Net needs its output; {SUPPORTED}')
    return PromptEmbedding(torch.cat(layers, dim=-1), summary if pooled else None)


def _encode(folder: PipelineFolder, name: str,
            penultimate: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    encoder = load_encoder(folder, name)
    tokens = _tokens(folder.path / name.replace('text_encoder', 'tokenizer'))
    mask = None
    if getattr(encoder.config, 'use_attention_mask', False):
        mask = tokens['attention_mask']
    with torch.no_grad():
        output = encoder(tokens['input_ids'], attention_mask=mask, output_hidden_states=True)
    layer = output.hidden_states[-2] if penultimate else output.last_hidden_state
    return layer.clone(), getattr(output, 'text_embeds', None)


def load_encoder(folder: PipelineFolder,
                 name: str) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Load one text encoder of a pipeline in float32 on the CPU."""
    kind = folder.classes[name]
    if kind not in ENCODERS:
        raise DiffsegError(f'model {folder.path}: {name} is a {kind}; CLIP text encoders are '
                           f'needed; {SUPPORTED}')
    path = folder.path / name
    folder.config(name)
    _, variant = find_weights(path, TRANSFORMERS_STEM, torch.float32)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        encoder, info = ENCODERS[kind].from_pretrained(
            path, variant=variant, use_safetensors=True, local_files_only=True,
            dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DiffsegError(f'model folder {path}: cannot be loaded '
                           f'({str(error).splitlines()[0]}); fetch it again') from error
    finally:
        if shown:
            logging.enable_progress_bar()
    missing = sorted(key for key in info['missing_keys'] if 'position_ids' not in key)
    if missing:
        raise DiffsegError(f'model folder {path}: weights lack {len(missing)} tensors, first '
                           f'{missing[0]}; fetch it again')
    return encoder.eval()


def _tokens(path: Path) -> dict[str, torch.Tensor]:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(path, local_files_only=True)
        return dict(tokenizer('', padding='max_length', max_length=tokenizer.model_max_length,
                              truncation=True, return_tensors='pt'))
    except Exception as error:  # tokenizer files fail with whatever their parser raises
        reason = str(error).splitlines() or [type(error).__name__]
        raise DiffsegError(f'model folder {path}: the tokenizer cannot be loaded ({reason[0]}); '
                           'fetch it again') from error
