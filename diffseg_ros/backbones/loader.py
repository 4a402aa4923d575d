"""From the settings to a model that is ready to look at images."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.backbones.base import Backbone, BackboneSettings
from diffseg_ros.backbones.checkpoints import (
    hub_folder,
    is_hub_id,
    PipelineFolder,
    read_json,
    SUPPORTED,
)
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.unet import UnetBackbone
from diffseg_ros.errors import DiffsegError
from diffseg_ros.registry import backbones
import torch

EMBEDDED = 'embedded'
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / 'weights'


def load_backbone(settings: BackboneSettings, *, attention: bool = False) -> Backbone:
    """
    Load the model that `settings.model` names.

    That is a registered backbone, 'embedded', a folder or a hub id. With `attention` the whole
    U-Net is loaded and the backbone gives attention maps too. On a CPU the number of PyTorch's
    threads is set for the whole process.

    Raises
    ------
    DiffsegError
        The model, device or block does not exist, is damaged or is not supported.

    """
    device = resolve_device(settings.device)
    if device.type == 'cpu':
        torch.set_num_threads(settings.cpu_threads or max(1, (os.cpu_count() or 1) // 2))
    try:
        if settings.model in backbones.names():
            entry = backbones.get(settings.model)
            own = getattr(settings, entry.section) if entry.settings else None
            backbone: Backbone = entry.create(own, settings)
            return backbone
        unet_backbone = _load(*_find(settings), settings, device, attention)
        if settings.compile:
            unet_backbone.compile()
        return unet_backbone
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'model {settings.model}: does not fit into the memory of {device}; '
                           'set backbone.precision to float16, or use a smaller model or device '
                           'cpu') from error


def _find(settings: BackboneSettings) -> tuple[str, Path]:
    """Return the model's name for reports and its folder."""
    name = settings.model
    if name == EMBEDDED:
        if not (EMBEDDED_FOLDER / 'config.json').is_file():
            raise DiffsegError(f'model embedded: its weights are not in {EMBEDDED_FOLDER}; '
                               'install a release of diffseg_ros, or train them: diffseg_train '
                               f'--photos FOLDER --output {EMBEDDED_FOLDER}')
        return EMBEDDED, EMBEDDED_FOLDER
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve().name, path
    if path.is_file():
        raise DiffsegError(f'model {name}: a single file; a folder is needed. Convert it: python3 '
                           '-c "import diffusers; diffusers.StableDiffusionPipeline.'
                           "from_single_file('FILE').save_pretrained('FOLDER')\"")
    if is_hub_id(name):
        return name, hub_folder(name, allow_download=settings.allow_download)
    others = ''.join(f', {known}' for known in backbones.names())
    problems = ''.join(f'; {problem}' for problem in backbones.problems)
    raise DiffsegError(f'model {name!r}: no such folder; give embedded{others}, the folder of a '
                       f'diffusers pipeline, or a hub id as owner/name{problems}')


def _load(name: str, path: Path, settings: BackboneSettings, device: torch.device,
          attention: bool) -> UnetBackbone:
    """Load a pipeline, or a folder as diffseg_train writes it: a U-Net beside its scheduler."""
    dtype = resolve_dtype(settings.precision, device)
    folder = None
    if (path / 'model_index.json').is_file():
        folder = PipelineFolder(path)
        kind = folder.config('unet')['_class_name']
        unet, scheduler = path / 'unet', path / 'scheduler' / 'scheduler_config.json'
    elif (path / 'config.json').is_file():
        kind = read_json(path / 'config.json').get('_class_name', 'model of unknown class')
        unet, scheduler = path, path / 'scheduler_config.json'
    else:
        raise DiffsegError(f'model {path}: neither model_index.json nor config.json there; give '
                           'the folder of a diffusers pipeline or one written by diffseg_train')
    if kind == 'UNet2DModel' and not (folder and {'vae', 'vqvae'} & set(folder.classes)):
        from diffseg_ros.backbones.embedded import load_pixel_backbone
        return load_pixel_backbone(name, unet, scheduler, settings, device, dtype,
                                   attention=attention)
    if folder is None:
        raise DiffsegError(f'model {path}: a bare {kind}; give the whole pipeline folder, the '
                           f'one with model_index.json; {SUPPORTED}')
    if kind == 'UNet2DConditionModel':
        from diffseg_ros.backbones.latent import load_latent_backbone
        return load_latent_backbone(name, folder, settings, device, dtype, attention=attention)
    raise DiffsegError(f'model {path}: {folder.kind} with a {kind}; {SUPPORTED}')
