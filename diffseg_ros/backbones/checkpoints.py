"""
Models on disk: diffusers folders and hub ids, read strictly.

Only safetensors weights are read, since pickled ones can run any code when loaded. What is
missing, damaged or not supported raises DiffsegError, which says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
import json
from pathlib import Path, PurePosixPath
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

_TOP_FILES = ('model_index.json', 'config.json', 'scheduler_config.json')
_LEGACY_ATTENTION = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}
_WEIGHTS = re.compile(r'(?:diffusion_pytorch_model|model)(\.fp16)?(?:-\d+-of-\d+)?\.safetensors')
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
    pickles = sorted(file.name for file in folder.glob('*')
                     if file.suffix in ('.bin', '.ckpt', '.pt', '.pth'))
    if pickles:
        raise DiffsegError(
            f'model folder {folder}: only pickled weights ({pickles[0]}), which can run any code '
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
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework='pt', device='cpu') as handle:
                for key in handle.keys():
                    name = key if key in expected else _current_name(key)
                    if name in expected:
                        tensors[name] = handle.get_tensor(key).to(device, dtype, copy=True)
        except (OSError, SafetensorError) as error:
            raise DiffsegError(f'weights {file}: damaged ({error}); download them '
                               'again') from error
    for name, value in expected.items():
        found = tuple(tensors[name].shape) if name in tensors else 'nothing'
        if found != tuple(value.shape):
            raise DiffsegError(f'weights {files[0]}: {name} should be {tuple(value.shape)}, got '
                               f'{found}; they belong to another config.json: download both again')
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
        return {'_class_name': self.classes[component],
                **read_json(self.path / component / name)}

    def check_complete(self) -> None:
        """Raise DiffsegError unless all needed files are there."""
        stems = {'unet': DIFFUSERS_STEM, 'vae': DIFFUSERS_STEM,
                 'text_encoder': TRANSFORMERS_STEM, 'text_encoder_2': TRANSFORMERS_STEM}
        for component in COMPONENTS:
            if component not in self.classes:
                continue
            if component in stems:
                find_weights(self.path / component, stems[component], torch.float32)
            elif not any((self.path / component).glob('*.json')):
                raise DiffsegError(f'model {self.path}: {component} is missing; download the '
                                   'whole model again')
        self.config('scheduler')


def is_hub_id(name: str) -> bool:
    """Return whether `name` has the form owner/name."""
    return re.fullmatch(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*', name) is not None


def hub_folder(model_id: str, *, allow_download: bool) -> Path:
    """Return a hub model's folder, cached or downloaded; DiffsegError tells how to download it."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    cache = str(constants.HF_HUB_CACHE)
    try:
        folder = Path(snapshot_download(model_id, cache_dir=cache, local_files_only=True))
        if (folder / 'model_index.json').is_file():
            PipelineFolder(folder).check_complete()
            return folder
        if (folder / 'config.json').is_file():
            return folder
        reason = f'{folder} has no model_index.json'
    except DiffsegError as error:
        reason = str(error)
    except (LocalEntryNotFoundError, OSError, ValueError):
        reason = 'not on this machine'
    if allow_download:
        return _download(model_id, cache)
    raise DiffsegError(
        f'model {model_id}: {reason}. Set backbone.allow_download to download it, or run: '
        f'hf download {model_id} --include "*.json" --include "*.txt" --include '
        f'"*/*.safetensors" --exclude "safety_checker/*" (into {cache}), or give the path of a '
        'folder with the pipeline')


def _download(model_id: str, cache: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    try:
        files = files_to_download(HfApi().list_repo_files(model_id))
        return Path(snapshot_download(model_id, cache_dir=cache, allow_patterns=files))
    except DiffsegError as error:
        raise DiffsegError(f'model {model_id}: {error}') from error
    except Exception as error:  # the hub client raises its own, its transport's and OS errors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DiffsegError(f'model {model_id}: download failed ({reason[0]}); check the id, the '
                           'network and, for gated models, `hf auth login`') from error


def files_to_download(names: Iterable[str]) -> list[str]:
    """Return which files of a repository are needed: half precision where there is a choice."""
    paths = [PurePosixPath(name) for name in names]
    wanted = [path for path in paths if str(path) in _TOP_FILES
              or str(path.parent) in COMPONENTS and path.suffix in ('.json', '.txt')]
    bare = '.' if PurePosixPath('config.json') in wanted else None
    for folder in (*COMPONENTS, bare):
        files = [path for path in paths if str(path.parent) == folder]
        weights = {path: match for path in files if (match := _WEIGHTS.fullmatch(path.name))}
        if not weights and any(path.suffix == '.bin' for path in files):
            raise DiffsegError(f'folder {folder} has only pickled weights, which can run any '
                               'code when loaded; choose a model with safetensors')
        wanted += [path for path, match in weights.items() if match[1]] or list(weights)
    return sorted(map(str, wanted))
