"""
Which self-attention blocks a U-Net has, and the output of one of them.

What is captured is what the attention module returns. In a transformer block (`...attn1`) that
is the attention's output projection alone, without the residual, as DiffCut uses it. The
attention modules of pixel-space U-Nets (`...attentions.N`) add their input themselves, so there
the residual is part of the feature.
"""

from __future__ import annotations

from collections.abc import Sequence
import threading
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffusers.models.attention_processor import Attention
import torch
from torch import nn

_STAGES = ('down_blocks', 'mid_block', 'up_blocks')


def self_attention_blocks(unet: nn.Module) -> list[str]:
    """Return the names of all self-attention modules in the order they are computed."""
    names = [name for name, module in unet.named_modules()
             if isinstance(module, Attention) and not module.is_cross_attention]
    return sorted(names, key=lambda name: _STAGES.index(name.split('.')[0]))


def choose_block(unet: nn.Module, wanted: str, *, first_level: bool = False) -> str:
    """
    Return the name of the block to capture.

    Parameters
    ----------
    unet
        A diffusers U-Net.
    wanted
        A module name, or 'auto': the last self-attention of the deepest encoder level that has
        any, else of the middle block.
    first_level
        Whether 'auto' takes the shallowest encoder level instead.

    Raises
    ------
    DiffsegError
        There is no such block; the message lists those there are.

    """
    names = self_attention_blocks(unet)
    if wanted != 'auto':
        if wanted not in names:
            raise DiffsegError(f'block {wanted!r}: no self-attention of this U-Net; there are '
                               f'{", ".join(names) or "none"}; or use auto')
        return wanted
    encoder = [name for name in names if name.startswith('down_blocks.')]
    if encoder:
        level = encoder[0 if first_level else -1].split('.')[1]
        return [name for name in encoder if name.split('.')[1] == level][-1]
    middle = [name for name in names if name.startswith('mid_block')]
    if not middle:
        raise DiffsegError('model: its U-Net has no self-attention in encoder or middle block; '
                           'use a model with attention')
    return middle[-1]


def grid_stride(unet: nn.Module, block: str) -> int:
    """Return how many cells of the U-Net's input one cell of the block's output covers."""
    stage, index = block.split('.')[:2]
    down = [getattr(level, 'downsamplers', None) is not None for level in unet.down_blocks]
    if stage == 'down_blocks':
        return 2 ** sum(down[:int(index)])
    if stage == 'mid_block':
        return 2 ** sum(down)
    up = [getattr(level, 'upsamplers', None) is not None for level in unet.up_blocks]
    return 2 ** (sum(down) - sum(up[:int(index)]))


def size_multiple(unet: nn.Module, block: str) -> int:
    """
    Return what the U-Net's input size must be a multiple of, as far as `block` is computed.

    Up to a block of the encoder that is the block's own stride. Beyond it the deepest level
    counts, where skip connections must meet tensors of their size.
    """
    if block.startswith('down_blocks.'):
        return grid_stride(unet, block)
    return grid_stride(unet, 'mid_block.attentions')


def last_computed(unet: nn.Module, block: str, others: Sequence[str]) -> str:
    """Return whichever of `block` and `others` the U-Net computes last."""
    wanted = {block, *others}
    return [name for name in self_attention_blocks(unet) if name in wanted][-1]


def drop_unused(unet: nn.Module, block: str) -> None:
    """Remove the parts of the U-Net that come after `block`; they are never computed."""
    stage, index = block.split('.')[:2]
    if stage == 'up_blocks':
        unet.up_blocks = unet.up_blocks[:int(index) + 1]
    else:
        unet.up_blocks = nn.ModuleList()
    if stage == 'down_blocks':
        unet.mid_block = None
        unet.down_blocks = unet.down_blocks[:int(index) + 1]
        unet.down_blocks[-1].downsamplers = None
    unet.conv_norm_out = None
    unet.conv_out = None


class _Captured(Exception):
    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output


class BlockCapture:
    """Runs a U-Net as far as one block and returns what the block puts out."""

    def __init__(self, unet: nn.Module, block: str) -> None:
        """Watch the module `block` of `unet`; nothing is attached between runs."""
        self._unet = unet
        self._block = block
        self._module = unet.get_submodule(block)

    def run(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """
        Call the U-Net with these arguments; return the block's output and skip the rest.

        Raises
        ------
        DiffsegError
            The U-Net finished without computing the block.

        """
        thread = threading.get_ident()

        def stop(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            if threading.get_ident() == thread:
                raise _Captured(output)

        handle = self._module.register_forward_hook(stop)
        try:
            self._unet(*args, **kwargs)
        except _Captured as captured:
            return captured.output
        finally:
            handle.remove()
        raise DiffsegError(f'block {self._block}: the U-Net does not compute it; choose another')


def feature_grid(output: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """
    Bring a block's output to a (C, height, width) grid.

    Parameters
    ----------
    output
        (1, height * width, C) tokens in row order, or (1, C, height, width).
    height, width
        Size of the grid.

    Raises
    ------
    DiffsegError
        The output is of another shape.

    """
    if output.ndim == 3 and output.shape[1] == height * width:
        return output[0].T.unflatten(1, (height, width))
    if output.ndim == 4 and output.shape[2:] == (height, width):
        return output[0]
    raise DiffsegError(f'block output: got shape {tuple(output.shape)}; a grid of '
                       f'{height}x{width} was expected; choose another block')
