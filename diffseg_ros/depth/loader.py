"""From the settings to a model that predicts depth."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.checkpoints import read_json
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.hub import hub_folder, is_hub_id, snapshot_folder
from diffseg_ros.depth.base import DepthModel, DepthSettings
from diffseg_ros.errors import DiffsegError
import torch

_SUPPORTED = ('supported are pipelines of the class MarigoldDepthPipeline, and of transformers '
              'the families depth_anything, depth_pro, dpt, glpn and zoedepth')


def load_depth_model(name: str, settings: DepthSettings, backbone: BackboneSettings) -> DepthModel:
    """
    Load the model that `depth.model` names, on the device and in the precision of the backbone.

    `name` is a folder or a hub id, which is downloaded only where `backbone.allow_download` says
    so. The family is told by the files.

    Raises
    ------
    DiffsegError
        It is not there, damaged or of another kind, or does not fit into memory.

    """
    device = resolve_device(backbone.device)
    dtype = resolve_dtype(backbone.precision, device)
    short, folder = _find(name, allow_download=backbone.allow_download)
    try:
        if (folder / 'model_index.json').is_file():
            kind = read_json(folder / 'model_index.json').get('_class_name')
            if kind != 'MarigoldDepthPipeline':
                raise DiffsegError(f'depth model {name}: a pipeline of the class {kind}; '
                                   f'{_SUPPORTED}')
            from diffseg_ros.depth.marigold import MarigoldDepth
            return MarigoldDepth(short, folder, device, dtype, settings.steps)
        if not (folder / 'config.json').is_file():
            raise DiffsegError(f'depth model {name}: neither model_index.json nor config.json in '
                               f'{folder}; download the whole model again')
        from diffseg_ros.depth.feed_forward import FAMILIES, FeedForwardDepth
        family = read_json(folder / 'config.json').get('model_type')
        if family not in FAMILIES:
            raise DiffsegError(f'depth model {name}: of the family {family!r}; {_SUPPORTED}')
        return FeedForwardDepth(short, folder, device, dtype)
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'depth model {name}: does not fit into the memory of {device} beside '
                           'the backbone; set backbone.precision to float16, or use a smaller '
                           'model or device cpu') from error


def _find(name: str, *, allow_download: bool) -> tuple[str, Path]:
    """Return the model's name for reports and its folder."""
    path = Path(name).expanduser()
    if (path / 'snapshots').is_dir():
        return path.name.removeprefix('models--').replace('--', '/', 1), snapshot_folder(path)
    if path.is_dir():
        return path.resolve().name, path
    if is_hub_id(name):
        return name, hub_folder(name, allow_download=allow_download)
    raise DiffsegError(f'depth model {name!r}: no such folder; give the folder or the hub id, as '
                       'owner/name, of a Marigold pipeline of diffusers, or of a depth model of '
                       'transformers such as Depth Anything V2')
