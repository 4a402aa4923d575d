"""Model folders on disk: configurations and safetensors weights, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any, TypeVar

from diffseg_ros.errors import DiffsegError
from safetensors import safe_open, SafetensorError
import torch
from torch import nn

DIFFUSERS_STEM = 'diffusion_pytorch_model'
TRANSFORMERS_STEM = 'model'
PICKLE_SUFFIXES = ('.bin', '.ckpt', '.pt', '.pth')

_LEGACY_ATTENTION = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}
_Module = TypeVar('_Module', bound=nn.Module)


def read_json(file: Path) -> dict[str, Any]:
    """
    Return the JSON object in `file`.

    Raises
    ------
    DiffsegError
        The file is missing or damaged.

    """
    if not file.is_file():
        raise DiffsegError(f'model file {file}: missing; fetch the whole model again')
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DiffsegError(f'model file {file}: damaged ({error}); fetch it again') from error
    if not isinstance(content, dict):
        raise DiffsegError(f'model file {file}: got a {type(content).__name__}; a JSON object '
                           'is needed; fetch it again')
    return content


def find_weights(folder: Path, stem: str, dtype: torch.dtype) -> tuple[list[Path], str | None]:
    """
    Return the safetensors files of a model folder and their variant name.

    Where a folder has both full and half precision files, those nearer to `dtype` are taken.

    Raises
    ------
    DiffsegError
        There are none, only pickled ones, or some are missing.

    """
    variants = [None, 'fp16', 'bf16']
    if dtype != torch.float32:
        variants = ['fp16', None, 'bf16'] if dtype == torch.float16 else ['bf16', None, 'fp16']
    for variant in variants:
        middle = f'.{variant}' if variant else ''
        whole = folder / f'{stem}{middle}.safetensors'
        if whole.is_file():
            return [whole], variant
        index = folder / f'{stem}.safetensors.index{middle}.json'
        if index.is_file():
            return _shards(index), variant
    pickles = sorted(file.name for file in folder.glob('*') if file.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise DiffsegError(
            f'model folder {folder}: only pickled weights ({pickles[0]}), which can run any code '
            'when loaded; convert where you trust them: python3 -c "import diffusers; diffusers.'
            "DiffusionPipeline.from_pretrained('OLD').save_pretrained('NEW')\" writes safetensors")
    raise DiffsegError(f'model folder {folder}: no {stem}.safetensors or '
                       f'{stem}.fp16.safetensors; fetch the whole model again')


def _shards(index: Path) -> list[Path]:
    table = read_json(index).get('weight_map', {})
    files = [index.parent / name for name in sorted(set(table.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise DiffsegError(f'model folder {index.parent}: {index.name} names '
                           f'{", ".join(missing) or "no files"} that is not there; fetch it again')
    return files


def create_empty(kind: type[_Module], config: dict[str, Any], folder: Path) -> _Module:
    """
    Return a diffusers model of this configuration that has shapes but no memory yet.

    Raises
    ------
    DiffsegError
        The class does not take this configuration.

    """
    try:
        with torch.device('meta'):
            model = kind.from_config(config)  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise DiffsegError(f'model folder {folder}: config.json does not describe a '
                           f'{kind.__name__} ({error}); fetch the model again') from error
    return model.requires_grad_(False).eval()


def fill(model: nn.Module, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
    """
    Give an empty model the weights in `folder`, cast to `dtype` on `device`.

    Tensors of the file that the model lacks are never read into memory, so a model cut down
    to its encoder takes no more than its encoder.

    Raises
    ------
    DiffsegError
        The weights are missing, damaged or of another model.

    """
    expected = model.state_dict()
    files, _ = find_weights(folder, DIFFUSERS_STEM, dtype)
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework='pt', device='cpu') as handle:
                for key in handle.keys():
                    name = key if key in expected else _current_name(key)
                    if name in expected:
                        tensors[name] = handle.get_tensor(key).to(device, dtype, copy=True)
        except (OSError, SafetensorError) as error:
            raise DiffsegError(f'weights {file}: damaged ({error}); fetch them again') from error
    for name, value in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else 'nothing'
        if found != tuple(value.shape):
            raise DiffsegError(f'weights {files[0]}: {name} should be {tuple(value.shape)}, got '
                               f'{found}; they belong to another config.json: fetch both again')
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False)


def _current_name(key: str) -> str:
    """Return today's name of an attention weight in a file of an early release."""
    match = re.fullmatch(r'(.*)\.(query|key|value|proj_attn)\.(weight|bias)', key)
    return f'{match[1]}.{_LEGACY_ATTENTION[match[2]]}.{match[3]}' if match else key
