"""The projection that turns a block's output into features aligned with a teacher's."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
from torch import nn

PROJECTOR_FILE = 'projector.safetensors'
_GROUPS = 8


def create_projector(channels: int, projected: int) -> nn.Sequential:
    """
    Return a module from (B, channels, h, w) to (B, projected, h, w).

    A convolution, because it keeps the spatial structure of the teacher's features better than
    the token-wise projection of REPA does. Source: Singh et al., "What matters for representation
    alignment: global information or spatial structure?" (iREPA), 2025.
    """
    return nn.Sequential(nn.GroupNorm(_GROUPS, channels), nn.SiLU(),
                         nn.Conv2d(channels, projected, 3, padding=1))


def save_projector(folder: Path, block: str, projector: nn.Module) -> None:
    """Write the projector of a block, as float16, into the folder of its U-Net."""
    save_file({key: value.half().cpu().contiguous()
               for key, value in projector.state_dict().items()},
              folder / PROJECTOR_FILE, {'block': block})


def load_projector(folder: Path, wanted: str = 'auto') -> tuple[str, nn.Sequential] | None:
    """
    Return the block and its float32 projector of the U-Net in `folder`.

    `wanted` is a block or 'auto'; None is returned where there is no projector for it. Raises
    DiffsegError where the file is damaged.
    """
    file = folder / PROJECTOR_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework='pt', device='cpu') as handle:
            block = handle.metadata()['block']
            if wanted not in ('auto', block):
                return None
            tensors = {key: handle.get_tensor(key).float() for key in handle.keys()}
        projected, channels = tensors['2.weight'].shape[:2]
        projector = create_projector(channels, projected)
        projector.load_state_dict(tensors)
    except (KeyError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise DiffsegError(f'model file {file}: damaged ({describe_error(error)[:200]}); '
                           'download or train the model again') from error
    return block, projector
