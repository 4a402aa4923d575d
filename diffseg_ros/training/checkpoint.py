"""The embedded model on disk: weights for use, and the state that training resumes from."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import tempfile

from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.model import create_scheduler
from diffusers import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch

VARIANT = 'fp16'
WEIGHTS_FILE = f'diffusion_pytorch_model.{VARIANT}.safetensors'
STATE_FILE = 'trainer_state.safetensors'
PROGRESS_FILE = 'trainer_progress.json'


def save_weights(unet: UNet2DModel, folder: Path) -> None:
    """Write the U-Net as fp16 safetensors with its configuration and noise schedule."""
    # Without the names with an underscore, one of which is the path it was loaded from.
    half = UNet2DModel.from_config({key: value for key, value in unet.config.items()
                                    if not key.startswith('_')})
    half.load_state_dict(unet.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        half.half().save_pretrained(scratch, variant=VARIANT)
        create_scheduler().save_pretrained(scratch)
        for file in Path(scratch).iterdir():
            file.chmod(0o644)
            os.replace(file, folder / file.name)


def load_weights(folder: Path) -> UNet2DModel:
    """
    Return the U-Net of `folder` in float32.

    Raises
    ------
    DiffsegError
        The folder or its weights are missing or damaged.

    """
    if not (folder / WEIGHTS_FILE).is_file():
        raise DiffsegError(f'weights {folder}: no {WEIGHTS_FILE} there; give a folder written '
                           'by diffseg_train')
    try:
        return UNet2DModel.from_pretrained(folder, variant=VARIANT, use_safetensors=True,
                                           local_files_only=True, torch_dtype=torch.float32,
                                           low_cpu_mem_usage=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise DiffsegError(f'weights {folder}: cannot be loaded: {error}') from error


def save_state(folder: Path, unet: UNet2DModel, optimizer: torch.optim.Optimizer,
               progress: dict[str, float]) -> None:
    """Write raw weights, Adam moments and progress, so that `load_state` continues exactly."""
    names = {parameter: name for name, parameter in unet.named_parameters()}
    tensors = {f'model.{name}': value for name, value in unet.state_dict().items()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f'{key}.{names[parameter]}'] = value
    partial = folder / (STATE_FILE + '.partial')
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, partial)
    # Safetensors lets nobody else read it, unlike the weights beside it.
    partial.chmod((folder / WEIGHTS_FILE).stat().st_mode & 0o777)
    os.replace(partial, folder / STATE_FILE)
    (folder / PROGRESS_FILE).write_text(json.dumps(progress, indent=1) + '\n')


def load_state(folder: Path, unet: UNet2DModel,
               optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Restore what `save_state` wrote; without a state file return only the progress."""
    file = folder / PROGRESS_FILE
    progress = json.loads(file.read_text()) if file.is_file() else {'samples': 0, 'seconds': 0.0}
    if (folder / STATE_FILE).is_file():
        tensors = load_file(folder / STATE_FILE)
        unet.load_state_dict({key.removeprefix('model.'): value for key, value in tensors.items()
                              if key.startswith('model.')})
        for name, parameter in unet.named_parameters():
            keys = ('step', 'exp_avg', 'exp_avg_sq')
            optimizer.state[parameter] = {
                key: tensors[f'{key}.{name}'].to(parameter.device if key != 'step' else 'cpu')
                for key in keys}
    return progress


def copy_log(source: Path, target: Path) -> None:
    """Carry the loss log of a resumed run over, so that its curve stays whole."""
    if source.is_file() and source.resolve() != target.resolve():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
