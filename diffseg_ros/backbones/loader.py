"""From the settings to a model that is ready to look at photos."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.backbones.base import Backbone
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.folder import PipelineFolder, SUPPORTED
from diffseg_ros.backbones.hub import is_hub_id, locate
from diffseg_ros.backbones.weights import read_json
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import torch

EMBEDDED = 'embedded'
EMBEDDED_FOLDER = Path(__file__).resolve().parents[1] / 'weights'


def load_backbone(config: BackboneConfig, *, attention: bool = False) -> Backbone:
    """
    Load the model that `config.model` names: 'embedded', a folder or a hub id.

    diffusers is imported here and not before, transformers' models only where a text encoder
    has to run. On a CPU the number of PyTorch's threads is set for the whole process. Only with
    `attention` is the decoder loaded too and does the backbone give attention maps.

    Raises
    ------
    DiffsegError
        The model, device or block does not exist, is damaged or is not supported.

    """
    device = resolve_device(config.device)
    dtype = resolve_dtype(config.precision, device)
    if device.type == 'cpu':
        torch.set_num_threads(config.cpu_threads or max(1, (os.cpu_count() or 1) // 2))
    try:
        return _load(*_find(config), config, device, dtype, attention)
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'model {config.model}: does not fit into the memory of {device}; '
                           'use backbone.precision float16, a smaller model or device cpu'
                           ) from error


def _find(config: BackboneConfig) -> tuple[str, Path]:
    """Return the model's name for reports and its folder."""
    name = config.model
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
        return name, locate(name, allow_download=config.allow_download)
    raise DiffsegError(f'model {name!r}: no such folder; give embedded, the folder of a '
                       'diffusers pipeline, or a hub id as owner/name')


def _load(name: str, path: Path, config: BackboneConfig, device: torch.device,
          dtype: torch.dtype, attention: bool) -> Backbone:
    if not (path / 'model_index.json').is_file():
        return _load_bare(name, path, config, device, dtype, attention)
    folder = PipelineFolder.at(path)
    kind = folder.class_of('unet')
    if kind == 'UNet2DModel' and not {'vae', 'vqvae'} & set(folder.classes):
        from diffseg_ros.backbones.embedded import load_pixel_backbone
        return load_pixel_backbone(name, path / 'unet', path / 'scheduler/scheduler_config.json',
                                   config, device, dtype, attention=attention)
    if kind == 'UNet2DConditionModel':
        from diffseg_ros.backbones.latent import load_latent_backbone
        return load_latent_backbone(name, folder, config, device, dtype, attention=attention)
    raise DiffsegError(f'model {path}: {folder.index.get("_class_name", "pipeline")} with a '
                       f'{kind}; {SUPPORTED}')


def _load_bare(name: str, path: Path, config: BackboneConfig, device: torch.device,
               dtype: torch.dtype, attention: bool) -> Backbone:
    """Load a folder as diffseg_train writes it: one U-Net beside its noise schedule."""
    if not (path / 'config.json').is_file():
        raise DiffsegError(f'model {path}: neither model_index.json nor config.json there; give '
                           'the folder of a diffusers pipeline or one written by diffseg_train')
    kind = read_json(path / 'config.json').get('_class_name', 'model of unknown class')
    if kind != 'UNet2DModel':
        raise DiffsegError(f'model {path}: a bare {kind}; give the whole pipeline folder, the '
                           f'one with model_index.json; {SUPPORTED}')
    from diffseg_ros.backbones.embedded import load_pixel_backbone
    return load_pixel_backbone(name, path, path / 'scheduler_config.json', config, device, dtype,
                               attention=attention)
