"""
Self-attention maps of a U-Net, summed while it runs and never kept whole.

A fused attention call does not return its weights. They are computed once more from the queries
and keys of the module itself, some rows and heads at a time, and added to one buffer for each
resolution: 67 MB for 64x64 tokens in place of 2.7 GB for the heads of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import threading
from typing import Any

from diffseg_ros.backbones.capture import grid_stride
from diffseg_ros.errors import DiffsegError
import torch
from torch import nn

MAX_TOKENS = 4800
"""Maps of finer grids are averaged down to the finest grid that has no more: DiffSeg's 64x64,
and what other aspect ratios make of it."""

_CHUNK_BYTES = {'cpu': 2**22, 'cuda': 2**24}
"""Bytes of logits at a time. With those of CUDA, the buffers of all grids (72 MB) and what a
U-Net of Stable Diffusion 1.5's size holds at 512x512 (154 MB) the sum stays below 250 MB."""


class AttentionCapture:
    """Runs a U-Net as far as its last wanted block and returns features and attention maps."""

    def __init__(self, unet: nn.Module, block: str, blocks: Sequence[str]) -> None:
        """
        Watch the queries and keys of `blocks`; nothing is attached between runs.

        Parameters
        ----------
        unet
            A diffusers U-Net.
        block
            Self-attention module whose output is the feature.
        blocks
            Self-attention modules whose maps are wanted, in the order they are computed.

        """
        self._unet = unet
        self._block = block
        self._blocks = tuple(blocks)
        self._strides = {name: grid_stride(unet, name) for name in blocks}

    def run(self, sample: torch.Tensor, *args: Any,
            **kwargs: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """
        Call the U-Net with a (1, C, H, W) sample and further arguments.

        Returns
        -------
        tuple
            The output of the feature block, and one (h, w, h, w) float32 tensor a grid, finest
            first: the mean over heads and layers of the probabilities with which the first
            token attends to the second.

        Raises
        ------
        DiffsegError
            The U-Net finished without computing one of the blocks, or does not compute its
            attention from queries and keys alone.

        """
        run = _Run(self._unet, self._block, self._strides, sample.shape[2:], sample.device)
        try:
            self._unet(sample, *args, **kwargs)
        except _Finished:
            pass
        finally:
            run.detach()
        return run.features, run.maps()


class _Finished(Exception):
    pass


class _Run:
    """The hooks and buffers of one pass."""

    def __init__(self, unet: nn.Module, block: str, strides: dict[str, int],
                 size: Sequence[int], device: torch.device) -> None:
        self._thread = threading.get_ident()
        self._output: torch.Tensor | None = None
        self._waiting = {*strides, block}
        self._mapped = set(strides)
        self._half: dict[str, torch.Tensor] = {}
        self._layers: dict[int, int] = {}
        self._finest = min(strides.values())
        while size[0] * size[1] // self._finest**2 > MAX_TOKENS:
            self._finest *= 2
        self._totals = _buffers(set(strides.values()), self._finest, size, device)
        self._handles = [self._watch(unet.get_submodule(block), self._keep_output, block)]
        for name, stride in strides.items():
            self._attach(unet.get_submodule(name), name, stride)

    def _watch(self, module: nn.Module, action: Callable[..., None],
               *names: Any) -> torch.utils.hooks.RemovableHandle:
        def hook(watched: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            if threading.get_ident() == self._thread:
                action(watched, output, *names)
        return module.register_forward_hook(hook)

    def _attach(self, module: nn.Module, name: str, stride: int) -> None:
        self._handles += [self._watch(module.to_q, self._keep_half, 'query'),
                          self._watch(module.to_k, self._keep_half, 'key'),
                          self._watch(module, self._add, name, stride)]

    def _keep_output(self, _module: nn.Module, output: torch.Tensor, name: str) -> None:
        self._output = output
        if name not in self._mapped:
            self._done(name)

    def _keep_half(self, _module: nn.Module, output: torch.Tensor, which: str) -> None:
        self._half[which] = output

    def _add(self, module: nn.Module, _output: torch.Tensor, name: str, stride: int) -> None:
        if set(self._half) != {'query', 'key'}:
            raise DiffsegError(f'block {name}: computes its attention in another way than from '
                               'to_q and to_k; load the model without fused projections')
        query, key = heads(module, self._half.pop('query'), self._half.pop('key'))
        add_attention(self._totals[stride], query, key, max(1, self._finest // stride))
        self._layers[stride] = self._layers.get(stride, 0) + 1
        self._done(name)

    def _done(self, name: str) -> None:
        self._waiting.discard(name)
        if not self._waiting:
            raise _Finished

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def features(self) -> torch.Tensor:
        if self._waiting or self._output is None:
            raise DiffsegError(f'blocks {", ".join(sorted(self._waiting))}: the U-Net does not '
                               'compute them; choose another model')
        return self._output

    def maps(self) -> tuple[torch.Tensor, ...]:
        return tuple(self._totals[stride].div_(self._layers[stride])
                     for stride in sorted(self._totals))


def _buffers(strides: set[int], finest: int, size: Sequence[int],
             device: torch.device) -> dict[int, torch.Tensor]:
    """Return a zeroed (h, w, h, w) tensor for each stride, none finer than `finest`."""
    buffers = {}
    for stride in strides:
        grid = tuple(side // max(stride, finest) for side in size)
        # Ordinary tensors, so that whoever gets them may use them outside inference mode.
        with torch.inference_mode(False):
            buffers[stride] = torch.zeros((*grid, *grid), device=device)
    return buffers


def heads(module: nn.Module, query: torch.Tensor,
          key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Split the outputs of to_q and to_k as the module does; the queries come out scaled.

    Parameters
    ----------
    module
        A diffusers Attention.
    query, key
        (1, n, C).

    Returns
    -------
    tuple
        (heads, n, d) float32 each; the softmax of their products is what the module computes.

    """
    query, key = (item[0].unflatten(1, (module.heads, -1)).transpose(0, 1)
                  for item in (query, key))
    query = query if module.norm_q is None else module.norm_q(query)
    key = key if module.norm_k is None else module.norm_k(key)
    return query.float() * query.shape[-1] ** -0.5, key.float()


def add_attention(total: torch.Tensor, query: torch.Tensor, key: torch.Tensor,
                  factor: int = 1) -> None:
    """
    Add the mean over heads of softmax(query @ key^T) to `total`.

    Parameters
    ----------
    total
        (h, w, h, w) float32.
    query, key
        (heads, n, d) float32 of n = (h * factor) * (w * factor) tokens, the queries scaled.
    factor
        Blocks of factor by factor tokens become one: their queries are averaged, their keys
        summed.

    Notes
    -----
    The logits take the device's budget of bytes, or those of one row of `total` and one head
    where these are more; their sum over the heads at hand comes on top.

    """
    height, width = total.shape[:2]
    count, tokens = query.shape[:2]
    strip = factor * factor * width
    budget = _CHUNK_BYTES.get(query.device.type, _CHUNK_BYTES['cpu'])
    together = min(count, max(1, budget // (strip * tokens * 4)))
    rows = min(height, max(1, budget // (together * strip * tokens * 4)))
    buffer = query.new_empty(together * rows * strip * tokens)
    for row in range(0, height, rows):
        chosen = slice(row * strip, min(row + rows, height) * strip)
        for head in range(0, count, together):
            some = query[head:head + together, chosen]
            logits = buffer[:some.shape[0] * some.shape[1] * tokens].view(*some.shape[:2], tokens)
            torch.bmm(some, key[head:head + together].transpose(1, 2), out=logits)
            mean = torch.softmax(logits, dim=-1, out=logits).sum(dim=0).div_(count)
            if factor > 1:
                mean = mean.view(-1, factor, width, factor, height, factor, width, factor)
                mean = mean.sum(dim=(1, 3, 5, 7)).div_(factor**2)
            total[row:row + rows] += mean.view(-1, width, height, width)
