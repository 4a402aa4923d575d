"""From the settings to a model that is ready to look at images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import os
from pathlib import Path
from typing import Any, NamedTuple

from diffseg_ros.backbones.base import Backbone, BackboneSettings
from diffseg_ros.backbones.checkpoints import PipelineFolder, read_json, SUPPORTED
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.fused import FusedBackbone
from diffseg_ros.backbones.hub import hub_folder, is_hub_id, snapshot_folder
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import DINO, EMBEDDED, OTHER, with_model_defaults
from diffseg_ros.registry import backbones
import torch

_OF_ONE_MODEL = 'block', 'tokens', 'timestep', 'noise'
"""Settings that are for the first of two models; the second has what suits its kind."""

EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / 'weights'


class PixelModel(NamedTuple):
    """A folder with a UNet2DModel, and the file of its scheduler's configuration."""

    folder: Path
    scheduler: Path


class TransformersModel(NamedTuple):
    """A folder that transformers wrote."""

    folder: Path


def model_kind(settings: BackboneSettings) -> str:
    """
    Return the kind, as in `model_defaults`, of the model that `settings.model` names.

    Weights are not read; a hub id is downloaded where that is allowed. Raises DiffsegError as
    `load_backbone` does.
    """
    if settings.model in backbones.names():
        entry = backbones.get(settings.model)
        return str(entry.facts.get('kind') or getattr(entry.create, 'kind', OTHER))
    model = _open(_find(settings)[1])
    if isinstance(model, PixelModel):
        from diffseg_ros.backbones.embedded import pixel_kind
        return pixel_kind(model.folder, settings.block)
    if isinstance(model, TransformersModel):
        return DINO
    from diffseg_ros.backbones.latent import latent_kind
    return latent_kind(model.config('unet'), model.config('scheduler'))


def load_backbone(settings: BackboneSettings, *, attention: bool = False) -> Backbone:
    """
    Load the model that `settings.model` names, with that of `settings.fuse` beside it.

    Each is a registered backbone, 'embedded', a folder, a single file or a hub id. What the
    settings leave open is what suits the kind of model. With `attention` the whole U-Net is loaded
    and the backbone gives attention maps too. A model is tried on a fixed image. On a CPU the
    number of PyTorch's threads is set for the whole process.

    Raises
    ------
    DiffsegError
        The model, device or block does not exist, is damaged or is not supported.

    """
    first = _load(settings, attention=attention)
    if not settings.fuse:
        return first
    own = {name: type(settings).model_fields[name].default for name in _OF_ONE_MODEL}
    try:
        second = _load(settings.replace(**own, model=settings.fuse, fuse=''), attention=False)
    except DiffsegError as error:
        raise DiffsegError(f'backbone.fuse: {error}') from error
    return FusedBackbone(first, second, settings.fuse_weight)


def _load(settings: BackboneSettings, *, attention: bool) -> Backbone:
    """Load the model that `settings.model` names."""
    from diffseg_ros.backbones.self_test import check_features

    device = resolve_device(settings.device)
    if device.type == 'cpu':
        torch.set_num_threads(settings.cpu_threads or max(1, (os.cpu_count() or 1) // 2))
    try:
        if settings.model in backbones.names():
            settings = with_model_defaults(settings, model_kind(settings), section='backbone.')
            entry = backbones.get(settings.model)
            own = getattr(settings, entry.section) if entry.settings else None
            backbone: Backbone = entry.create(own, settings)
            return backbone
        load = _loading(settings, device)
        dtype = resolve_dtype(settings.precision, device)
        loaded = load(dtype, attention=attention)
        check_features(loaded, dtype, partial(load, torch.float32))
        if settings.compile and hasattr(loaded, 'compile'):
            loaded.compile()
        return loaded
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'model {settings.model}: does not fit into the memory of {device}; '
                           'set backbone.precision to float16, or use a smaller model or device '
                           'cpu') from error


def _loading(settings: BackboneSettings, device: torch.device) -> Callable[..., Any]:
    """Return a function of a dtype, and `attention`, that loads what is on disk."""
    name, path = _find(settings)
    model = _open(path)
    if isinstance(model, PixelModel):
        from diffseg_ros.backbones.embedded import load_pixel_backbone
        return partial(load_pixel_backbone, name, *model, settings, device)
    if isinstance(model, TransformersModel):
        from diffseg_ros.backbones.dino import load_dino_backbone
        return partial(load_dino_backbone, name, model.folder, settings, device)
    from diffseg_ros.backbones.latent import load_latent_backbone
    return partial(load_latent_backbone, name, model, settings, device)


def _find(settings: BackboneSettings) -> tuple[str, Path]:
    """Return the model's name for reports and its folder or file."""
    name = settings.model
    if name == EMBEDDED:
        if not (EMBEDDED_FOLDER / 'config.json').is_file():
            raise DiffsegError(f'model embedded: its weights are not in {EMBEDDED_FOLDER}; '
                               'install a release of diffseg_ros, or train them: diffseg_train '
                               f'--photos FOLDER --output {EMBEDDED_FOLDER}')
        return EMBEDDED, EMBEDDED_FOLDER
    path = Path(name).expanduser()
    if (path / 'snapshots').is_dir():
        return path.name.removeprefix('models--').replace('--', '/', 1), snapshot_folder(path)
    if path.is_dir():
        return path.resolve().name, path
    if path.is_file():
        return path.stem, path
    if is_hub_id(name):
        return name, hub_folder(name, allow_download=settings.allow_download)
    others = ''.join(f', {known}' for known in backbones.names())
    problems = ''.join(f'; {problem}' for problem in backbones.problems)
    raise DiffsegError(f'model {name!r}: no such folder; give embedded{others}, the folder of a '
                       'diffusers pipeline, a single safetensors file, or a hub id as owner/name'
                       f'{problems}')


def _open(path: Path) -> PixelModel | TransformersModel | PipelineFolder:
    """Return a pipeline, a U-Net beside its scheduler, or what transformers wrote."""
    folder: PipelineFolder | None = None
    if path.is_file():
        from diffseg_ros.backbones.single_file import SingleFile
        folder = SingleFile(path)
    elif (path / 'model_index.json').is_file():
        folder = PipelineFolder(path)
    elif not (path / 'config.json').is_file():
        files = ', '.join(sorted(file.name for file in path.glob('*.safetensors')))
        raise DiffsegError(f'model {path}: neither model_index.json nor config.json there; give '
                           'the folder of a diffusers pipeline or one written by diffseg_train'
                           + (f', or the path of one file: {files}' if files else ''))
    if folder:
        kind = folder.config('unet')['_class_name']
        pixels = PixelModel(path / 'unet', path / 'scheduler' / 'scheduler_config.json')
    else:
        config = read_json(path / 'config.json')
        if 'model_type' in config:
            return TransformersModel(path)
        kind = config.get('_class_name', 'model of unknown class')
        pixels = PixelModel(path, path / 'scheduler_config.json')
    if kind == 'UNet2DModel' and not (folder and {'vae', 'vqvae'} & set(folder.classes)):
        return pixels
    if folder is None:
        raise DiffsegError(f'model {path}: a bare {kind}; give the whole pipeline folder, the '
                           f'one with model_index.json; {SUPPORTED}')
    if kind == 'UNet2DConditionModel':
        return folder
    raise DiffsegError(f'model {path}: {folder.kind} with a {kind}; {SUPPORTED}')
