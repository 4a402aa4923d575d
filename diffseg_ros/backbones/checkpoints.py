"""
Models on disk: diffusers folders, read strictly.

Only safetensors weights are read, since pickled ones can run any code when loaded, and only
floats: quantised weights mean something only together with their scales. What is missing, damaged
or not supported raises DiffsegError, which says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
SUPPORTED = ('supported are U-Nets: Stable Diffusion 1.x, 2.x and XL with their Turbo and LCM '
             'versions, SSD-1B, BK-SDM, and pixel-space UNet2DModel')
COMPONENTS = ('unet', 'vae', 'text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2',
              'scheduler')
PICKLES = ('.bin', '.ckpt', '.pt', '.pth')

_FLOATS = {'F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2'}
_SCALES = re.compile(r'\.weight[._:]|(\.SCB|\.scale_weight|\.qweight|\.qzeros|scaled_fp8)$')
"""What bitsandbytes, torchao, quanto, GPTQ, AWQ and scaled fp8 write beside quantised weights."""
NOT_QUANTISED = ('quantised weights are not supported; use the same model with float32, float16 '
                  'or bfloat16 weights in safetensors')
_LEGACY_ATTENTION = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}
_Module = TypeVar('_Module', bound=nn.Module)


def read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DiffsegError(f'model file {file}: missing; download the whole model again')
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DiffsegError(f'model file {file}: damaged ({error}); download it again') from error
    if not isinstance(content, dict):
        raise DiffsegError(f'model file {file}: got a {type(content).__name__}; a JSON object '
                           'is needed; download it again')
    return content


def find_weights(folder: Path, stem: str, dtype: torch.dtype) -> tuple[list[Path], str | None]:
    """
    Return the safetensors files of a model folder and their variant name.

    Where a folder has both full and half precision files, those nearer to `dtype` are taken.
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
    others = {file.suffix: file.name for file in sorted(folder.glob('*'), reverse=True)}
    pickled = [others[suffix] for suffix in PICKLES if suffix in others]
    if '.safetensors' in others:
        raise DiffsegError(f'model folder {folder}: no {stem}.safetensors, only '
                           f'{others[".safetensors"]}; supported are the plain variant, fp16 and '
                           'bf16; download one of these')
    if '.gguf' in others:
        raise DiffsegError(f'model folder {folder}: only GGUF ({others[".gguf"]}); '
                           f'{NOT_QUANTISED}')
    if pickled:
        raise DiffsegError(
            f'model folder {folder}: only pickled weights ({pickled[0]}), which can run any code '
            'when loaded; convert them if you trust them: python3 -c "import diffusers; diffusers.'
            "DiffusionPipeline.from_pretrained('OLD').save_pretrained('NEW')\" writes safetensors")
    raise DiffsegError(f'model folder {folder}: no {stem}.safetensors or '
                       f'{stem}.fp16.safetensors; download the whole model again')


def _shards(index: Path) -> list[Path]:
    table = read_json(index).get('weight_map', {})
    files = [index.parent / name for name in sorted(set(table.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise DiffsegError(f'model folder {index.parent}: {index.name} names '
                           f'{", ".join(missing) or "no files"}, missing here; download it again')
    return files


def create_empty(kind: type[_Module], config: dict[str, Any], folder: Path) -> _Module:
    """Return a diffusers model of this configuration that has shapes but no memory yet."""
    try:
        with torch.device('meta'):
            model = kind.from_config(config)  # type: ignore[attr-defined]
    except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise DiffsegError(f'model folder {folder}: config.json does not describe a '
                           f'{kind.__name__} ({error}); download the model again') from error
    return model.requires_grad_(False).eval()


def load_weights(model: nn.Module, folder: Path, device: torch.device,
                 dtype: torch.dtype) -> None:
    """
    Load the weights in `folder` into an empty model, as `dtype` on `device`.

    Tensors that the model lacks are never read into memory: a model trimmed to its encoder takes
    no more than its encoder.
    """
    expected = model.state_dict()
    files, _ = find_weights(folder, DIFFUSERS_STEM, dtype)
    check_weights(files)
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        with safe_open(file, framework='pt', device='cpu') as handle:
            for key in handle.keys():
                name = key if key in expected else _current_name(key)
                if name in expected:
                    tensors[name] = handle.get_tensor(key).to(device, dtype, copy=True)
    assign_weights(model, tensors, f'weights {files[0]}',
                   'they belong to another config.json: download both again')


def check_weights(files: Iterable[Path]) -> None:
    """Raise DiffsegError where a safetensors file is damaged or holds quantised weights."""
    for file in files:
        try:
            with safe_open(file, framework='pt', device='cpu') as handle:
                kinds = {key: handle.get_slice(key).get_dtype() for key in handle.keys()}
        except (OSError, SafetensorError) as error:
            raise DiffsegError(f'weights {file}: damaged ({error}); download them '
                               'again') from error
        for key, kind in kinds.items():
            weight = key.endswith(('.weight', '.bias'))
            if _SCALES.search(key) or weight and kind not in _FLOATS:
                raise DiffsegError(f'weights {file}: quantised ({key} is {kind}); '
                                   f'{NOT_QUANTISED}')


def assign_weights(model: nn.Module, tensors: Mapping[str, torch.Tensor], source: str,
                   remedy: str) -> None:
    """
    Give an empty model its weights.

    Raises DiffsegError, about `source` and with `remedy`, unless names and shapes are the model's.
    """
    for name, value in model.state_dict().items():
        found = tuple(tensors[name].shape) if name in tensors else 'nothing'
        if found != tuple(value.shape):
            raise DiffsegError(f'{source}: {name} should be {tuple(value.shape)}, got {found}; '
                               f'{remedy}')
    model.load_state_dict(tensors, assign=True)
    model.requires_grad_(False)


def _current_name(key: str) -> str:
    """Return the current name of an attention weight in a file of an early release."""
    match = re.fullmatch(r'(.*)\.(query|key|value|proj_attn)\.(weight|bias)', key)
    return f'{match[1]}.{_LEGACY_ATTENTION[match[2]]}.{match[3]}' if match else key


class PipelineFolder:
    """
    A diffusers pipeline with a U-Net: `model_index.json` and one subfolder per component.

    `kind` is the class name of the pipeline, `classes` that of each component it has, as 'unet' ->
    'UNet2DConditionModel'.
    """

    def __init__(self, path: Path) -> None:
        index = read_json(path / 'model_index.json')
        self.path, self.kind = path, index.get('_class_name', 'pipeline')
        self.classes: dict[str, str] = {
            name: value[1] for name, value in index.items()
            if isinstance(value, list) and len(value) == 2 and isinstance(value[1], str)}
        if 'unet' not in self.classes:
            other = self.classes.get('transformer')
            raise DiffsegError(f'model {path}: {self.kind} has '
                               f'{f"a {other}" if other else "no U-Net"}; {SUPPORTED}')

    def config(self, component: str) -> dict[str, Any]:
        """
        Return the configuration of a component, its class as '_class_name'.

        A class that the component's own file names takes precedence over `model_index.json`,
        so that a folder copied into the pipeline (a tiny VAE in place of the full one) works.
        """
        if component not in self.classes:
            raise DiffsegError(f'model {self.path}: the pipeline has no {component} but needs '
                               f'one; {SUPPORTED}')
        name = 'scheduler_config.json' if component == 'scheduler' else 'config.json'
        content = read_json(self.path / component / name)
        if content.get('quantization_config'):
            method = content['quantization_config'].get('quant_method', 'an unnamed method')
            raise DiffsegError(f'model {self.path}: its {component} is quantised with {method} '
                               f'(quantization_config in {name}); {NOT_QUANTISED}')
        return {'_class_name': self.classes[component], **content}

    def load_weights(self, component: str, model: nn.Module, device: torch.device,
                     dtype: torch.dtype) -> None:
        """Load the weights of 'unet' or 'vae' into an empty model, as `load_weights` does."""
        load_weights(model, self.path / component, device, dtype)

    def text_encoder_source(self, name: str) -> dict[str, Any]:
        """Return the arguments of `from_pretrained` for 'text_encoder' or 'text_encoder_2'."""
        files, variant = find_weights(self.path / name, TRANSFORMERS_STEM, torch.float32)
        check_weights(files)
        return {'pretrained_model_name_or_path': self.path / name, 'variant': variant,
                'use_safetensors': True, 'local_files_only': True}

    def empty_prompt(self, name: str) -> dict[str, torch.Tensor]:
        """Return the (1, N) tokens of the empty prompt, and which of them are no padding."""
        from transformers import CLIPTokenizer
        component = name.replace('text_encoder', 'tokenizer')
        self.check_tokenizer(component)
        try:
            tokenizer = CLIPTokenizer.from_pretrained(self.path / component,
                                                      local_files_only=True)
            return dict(tokenizer('', padding='max_length', truncation=True, return_tensors='pt',
                                  max_length=tokenizer.model_max_length))
        except Exception as error:  # tokenizer files fail with whatever their parser raises
            reason = str(error).splitlines() or [type(error).__name__]
            raise DiffsegError(f'model {self.path}: its {component} cannot be loaded '
                               f'({reason[0]}); download it again') from error

    def check_complete(self) -> None:
        """Raise DiffsegError unless all needed files are there."""
        stems = {'unet': DIFFUSERS_STEM, 'vae': DIFFUSERS_STEM,
                 'text_encoder': TRANSFORMERS_STEM, 'text_encoder_2': TRANSFORMERS_STEM}
        for component in COMPONENTS:
            if component not in self.classes:
                continue
            if component in stems:
                find_weights(self.path / component, stems[component], torch.float32)
            elif component.startswith('tokenizer'):
                self.check_tokenizer(component)
        self.config('scheduler')

    def check_tokenizer(self, component: str) -> None:
        """Raise DiffsegError unless the files of 'tokenizer' or 'tokenizer_2' are there."""
        folder = self.path / component
        missing = [name for name in ('vocab.json', 'merges.txt') if not (folder / name).is_file()]
        if missing and not (folder / 'tokenizer.json').is_file():
            raise DiffsegError(f'model {self.path}: no {component}/{missing[0]}; a tokenizer is '
                               'vocab.json and merges.txt, or tokenizer.json: download the folder '
                               f'{component} again (a few MB)')
