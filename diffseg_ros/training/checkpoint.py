"""The embedded model on disk: weights for use, and the state that training resumes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import contextlib
import json
import math
import os
from pathlib import Path
import tempfile

from diffseg_ros.backbones import checkpoints, whitening
from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.embedded import load_pixel_backbone
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.model import create_scheduler, PATCH
from diffseg_ros.types import RgbImage
from diffusers import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch

VARIANT = 'fp16'
WEIGHTS_FILE = f'diffusion_pytorch_model.{VARIANT}.safetensors'
STATE_FILE = 'trainer_state.safetensors'
PROGRESS_FILE = 'trainer_progress.json'


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """
    Yield a temporary folder whose files replace those in `folder` together, at the end.

    When the block ends with an exception, `folder` stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.saving-', dir=folder) as scratch:
        yield Path(scratch)
        for file in sorted(Path(scratch).iterdir()):
            # Safetensors writes files that only their owner can read.
            file.chmod(0o644)
            os.replace(file, folder / file.name)


def save_weights(unet: UNet2DModel, folder: Path) -> None:
    """Write the U-Net as fp16 safetensors with its configuration and noise schedule."""
    # Without the names with an underscore, one of which is the path it was loaded from.
    half = UNet2DModel.from_config({key: value for key, value in unet.config.items()
                                    if not key.startswith('_')})
    half.load_state_dict(unet.state_dict())
    with replacing(folder) as scratch:
        half.half().save_pretrained(scratch, variant=VARIANT)
        create_scheduler().save_pretrained(scratch)


def write_whitening(folder: Path, images: Iterable[RgbImage], device: torch.device) -> None:
    """
    Fit the whitening matrix for the weights in `folder` and write it beside them.

    The (H, W, 3) uint8 images show what the model will see; some fifty are enough.

    Raises
    ------
    DiffsegError
        The weights are damaged, or the images give no features to fit.

    """
    backbone = load_pixel_backbone(folder.name, folder, folder / 'scheduler_config.json',
                                   BackboneSettings(whiten=False), device, torch.float32)
    matrix = whitening.fit_whitening(backbone.features(image) for image in images)
    whitening.save_whitening(folder, backbone.block, matrix)


def load_weights(folder: Path) -> UNet2DModel:
    """
    Return the U-Net of `folder` in float32, ready to be trained.

    Raises
    ------
    DiffsegError
        The folder or its weights are missing, damaged or of another kind of model.

    """
    if not (folder / WEIGHTS_FILE).is_file():
        raise DiffsegError(f'weights {folder}: no {WEIGHTS_FILE} there; give a folder written '
                           'by diffseg_train')
    unet = checkpoints.create_empty(UNet2DModel, checkpoints.read_json(folder / 'config.json'),
                                    folder)
    channels = 3 * PATCH**2
    if (unet.config.in_channels, unet.config.out_channels) != (channels, channels):
        raise DiffsegError(f'weights {folder}: a model with {unet.config.in_channels} channels in '
                           f'and {unet.config.out_channels} out; training supports {channels} in '
                           'and out: give a folder written by diffseg_train')
    checkpoints.load_weights(unet, folder, torch.device('cpu'), torch.float32)
    if not all_finite(unet):
        raise DiffsegError(f'weights {folder}: not finite (NaN or infinity); resume from other '
                           'weights')
    return unet.requires_grad_(True)


def all_finite(unet: UNet2DModel, dtype: torch.dtype = torch.float32) -> bool:
    """Return whether every parameter, cast to `dtype`, is a finite number."""
    with torch.no_grad():
        return bool(torch.stack([parameter.to(dtype).isfinite().all()
                                 for parameter in unet.parameters()]).all())


def save_state(folder: Path, tensors: dict[str, torch.Tensor],
               progress: dict[str, float]) -> None:
    """Write what `load_state` returns."""
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()},
              folder / STATE_FILE)
    (folder / PROGRESS_FILE).write_text(json.dumps(progress, indent=1) + '\n')


def load_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """
    Return the saved tensors, {} where there is no state, and the progress.

    Raises
    ------
    DiffsegError
        A file is damaged.

    """
    progress = {'samples': 0, 'seconds': 0.0}
    file = folder / PROGRESS_FILE
    if file.is_file():
        read = checkpoints.read_json(file)
        if not all(isinstance(read.get(key), int | float) and math.isfinite(read[key])
                   and read[key] >= 0 for key in progress):
            raise DiffsegError(f'{file}: damaged: numbers for {" and ".join(progress)} are '
                               'needed; remove it to count from 0')
        progress = {key: read[key] for key in progress}
    if not (folder / STATE_FILE).is_file():
        return {}, progress
    try:
        return load_file(folder / STATE_FILE), progress
    except (OSError, SafetensorError) as error:
        raise damaged_state(folder, error) from error


def damaged_state(folder: Path, error: Exception) -> DiffsegError:
    """Return the error for a state that cannot be read or belongs to other weights."""
    reason = ' '.join(str(error).split())
    return DiffsegError(f'{folder / STATE_FILE}: damaged, or of other weights '
                        f'({type(error).__name__}: {reason[:200]}); remove it to resume from the '
                        'weights alone')
