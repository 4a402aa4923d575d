"""
A diffusers U-Net as a backbone: one pass, as far as its last wanted block.

The feature is what one attention module returns, or the hidden state after a whole block, such as
`up_blocks.1`, which DIFT uses (Tang et al., "Emergent correspondence from image diffusion",
NeurIPS 2023). In a transformer block (`...attn1`) that is the
attention's output projection alone, without the residual, as DiffCut uses it. The attention
modules of pixel-space U-Nets (`...attentions.N`) add their input themselves, so there the residual
is part of the feature.

A fused attention call does not return its weights. For attention maps they are computed once more
from the module's queries and keys, some rows and heads at a time, and added to one buffer for each
resolution: 67 MB for 64x64 tokens instead of 2.7 GB for the heads of all layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
import threading
from typing import Any

from diffseg_ros.backbones.preprocess import check_image, choose_grid, FixedNoise, image_tensor
from diffseg_ros.backbones.whitening import whiten
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import OTHER
from diffseg_ros.types import RgbImage
from diffusers.models.attention_processor import Attention
import torch
from torch import nn

MAX_TOKENS = 4800
"""Attention maps of finer grids are averaged down to the finest grid with at most this many
tokens: DiffSeg's 64x64, and its equivalents in other aspect ratios."""

_CHUNK_BYTES = {'cpu': 2**22, 'cuda': 2**24}
"""Bytes of logits at a time. With those of CUDA, the buffers of all grids (72 MB) and what a
U-Net of Stable Diffusion 1.5's size holds at 512x512 (154 MB) the sum stays below 250 MB."""

_STAGES = ('down_blocks', 'mid_block', 'up_blocks')

Observation = tuple[torch.Tensor, tuple[torch.Tensor, ...]]
"""A block's output or feature grid, and attention maps."""


class UnetBackbone:
    """
    A diffusers U-Net as a backbone: encode, add the fixed noise, record one block's output.

    `block` names the module whose output is the feature, averaged over the ensemble of noises;
    `stride` is how many pixels of the resized image one feature vector covers, along each side.
    """

    def __init__(self, name: str, unet: nn.Module, block: str,
                 encoder: Callable[[torch.Tensor], torch.Tensor], encoder_stride: int,
                 noise: FixedNoise, tokens: int, *, kind: str = OTHER,
                 conditioning: Callable[[int, int], dict[str, Any]] | None = None,
                 attention_blocks: Sequence[str] = (),
                 projector: nn.Module | None = None,
                 whitening: torch.Tensor | None = None) -> None:
        """
        Combine the loaded parts of a model.

        `encoder` turns (1, 3, H, W) float32 in [-1, 1] into the U-Net's input, a cell of which
        covers `encoder_stride` pixels along each side. `conditioning` returns further arguments
        of the U-Net for an image of (height, width) pixels, `attention_blocks` are the modules
        whose maps `features_and_attention` returns, `projector` turns the block's output into the
        feature, `whitening` is a matrix from `fit_whitening`.
        """
        self.name, self.device, self.block = name, noise.device, block
        self.kind = kind
        cells = grid_stride(unet, block)
        self.stride = cells * encoder_stride
        self._multiple = max(size_multiple(unet, [block, *attention_blocks]) // cells, 1)
        self._tokens = tokens
        self._encoder, self._noise, self._conditioning = encoder, noise, conditioning
        self._dtype = next(unet.parameters()).dtype
        # Measured: as fast as the default layout at 768 tokens on a CPU, faster above.
        self._layout = (torch.channels_last if self.device.type == 'cpu'
                        else torch.contiguous_format)
        self._unet = unet.to(memory_format=self._layout)
        self._attention_blocks = attention_blocks
        self._projector = projector
        self._whitening = whitening.to(self.device) if whitening is not None else None
        self._compiled: Callable[..., torch.Tensor] | None = None
        self._lock = threading.Lock()

    @property
    def parameter_count(self) -> int:
        """How many weights the U-Net has, as far as it is in memory."""
        return sum(parameter.numel() for parameter in self._unet.parameters())

    def compile(self) -> None:
        """
        Compile the U-Net with `torch.compile`, when an image of a new size comes.

        Raises DiffsegError where the model was loaded with attention maps.
        """
        if self._attention_blocks:
            raise DiffsegError(f'model {self.name}: backbone.compile is for features without '
                               'attention maps; set it to false, or choose another '
                               'segmentation.method')
        self._compiled = compile_to_block(self._unet, self.block)

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """
        Return the feature grid of an image, as `Backbone.features` says.

        May be called from several threads; the passes then run one after the other. Raises
        DiffsegError where the image has another shape or type, the device is out of memory, or the
        arithmetic overflowed.
        """
        return self._observe(rgb, ())[0]

    def features_and_attention(self, rgb: RgbImage) -> Observation:
        """
        Return features and attention maps, as `Backbone` says.

        Raises DiffsegError where the model was loaded without attention, or as in `features`.
        """
        if not self._attention_blocks:
            raise DiffsegError(f'model {self.name}: loaded without attention maps; load it with '
                               'load_backbone(config, attention=True)')
        return self._observe(rgb, self._attention_blocks)

    def _observe(self, rgb: RgbImage, attention_blocks: Sequence[str]) -> Observation:
        check_image(rgb)
        rows, columns = choose_grid(rgb.shape[0], rgb.shape[1], self._tokens, self._multiple)
        try:
            # Without cuDNN's benchmark the same input gives the same bits.
            with self._lock, torch.inference_mode(), torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True):
                grid, maps = self._pass(rgb, rows, columns, attention_blocks)
                finite = all(bool(torch.isfinite(item).all()) for item in (grid, *maps))
        except torch.OutOfMemoryError as error:
            raise DiffsegError(f'model {self.name}: out of memory on {self.device} at '
                               f'{rows * columns} tokens; lower backbone.tokens or set '
                               'backbone.precision to float16') from error
        if not finite:
            precision = str(self._dtype).removeprefix('torch.')
            remedy = 'bfloat16 or float32' if self._dtype == torch.float16 else 'float32'
            raise DiffsegError(f'model {self.name}: NaN or infinite features in {precision}; '
                               + (f'set backbone.precision to {remedy}'
                                  if self._dtype != torch.float32 else
                                  'the weights are damaged: download or train them again'))
        return grid.clone(), maps

    def _pass(self, rgb: RgbImage, rows: int, columns: int,
              attention_blocks: Sequence[str]) -> Observation:
        height, width = rows * self.stride, columns * self.stride
        image = image_tensor(rgb, height, width).to(self.device)
        sample = self._encoder(image)
        extra = self._conditioning(height, width) if self._conditioning else {}

        def look(number: int) -> Observation:
            noisy = self._noise.add(sample, number).to(self._dtype, memory_format=self._layout)
            if self._compiled is not None:
                return self._compiled(noisy, self._noise.timestep, return_dict=False,
                                      **extra).float(), ()
            output, maps = run_to_block(self._unet, self.block, attention_blocks, noisy,
                                        self._noise.timestep, return_dict=False, **extra)
            return output.float(), maps

        output, maps = look(0)
        for number in range(1, self._noise.ensemble):
            other, other_maps = look(number)
            for mean, item in zip((output, *maps), (other, *other_maps), strict=True):
                mean.lerp_(item, 1 / (number + 1))
        if self._projector is not None:
            output = self._projector(output.to(self._dtype))
        grid = feature_grid(output, rows, columns).float()
        if self._whitening is not None:
            grid = whiten(grid, self._whitening)
        return grid.contiguous(), maps


def self_attention_blocks(unet: nn.Module) -> list[str]:
    """Return the names of all self-attention modules in the order they are computed."""
    names = [name for name, module in unet.named_modules()
             if isinstance(module, Attention) and not module.is_cross_attention]
    return sorted(names, key=lambda name: _STAGES.index(name.split('.')[0]))


def whole_blocks(unet: nn.Module) -> list[str]:
    """Return the names of the modules of each level, and the middle, in the order of computing."""
    middle = [] if unet.mid_block is None else ['mid_block']
    return [*(f'down_blocks.{index}' for index in range(len(unet.down_blocks))), *middle,
            *(f'up_blocks.{index}' for index in range(len(unet.up_blocks)))]


def choose_block(unet: nn.Module, wanted: str, *, first_level: bool = False) -> str:
    """
    Return the name of the module whose output is the feature.

    `wanted` is the name of a self-attention module or a whole block, or 'auto': the last
    self-attention of the deepest encoder level that has any (with `first_level` the shallowest),
    else of the middle block. Raises DiffsegError, which lists the blocks there are, where there
    is no such block.
    """
    names, whole = self_attention_blocks(unet), whole_blocks(unet)
    if wanted != 'auto':
        if wanted not in (*names, *whole):
            raise DiffsegError(f'block {wanted!r}: not in this U-Net; it has the blocks '
                               f'{", ".join(whole)} and the self-attention layers '
                               f'{", ".join(names) or "(none)"}; or use auto')
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


def trim_unet(unet: nn.Module, block: str, *, attention: bool) -> list[str]:
    """
    Remove the layers that are never computed, before weights are loaded.

    Those up to `block` stay; with `attention`, also those up to the last self-attention. Returns
    the names of the modules whose attention maps are wanted: all, or none.
    """
    maps = self_attention_blocks(unet) if attention else []
    stage, index = max((_level(name) for name in (block, *maps)),
                       key=lambda level: (_STAGES.index(level[0]), level[1]))
    if stage == 'up_blocks':
        unet.up_blocks = unet.up_blocks[:int(index) + 1]
    else:
        unet.up_blocks = nn.ModuleList()
    if stage == 'down_blocks':
        unet.mid_block = None
        unet.down_blocks = unet.down_blocks[:int(index) + 1]
        if block != f'down_blocks.{index}':
            unet.down_blocks[-1].downsamplers = None
    unet.conv_norm_out = None
    unet.conv_out = None
    return maps


def grid_stride(unet: nn.Module, block: str) -> int:
    """
    Return how many cells of the U-Net's input one cell of the block's output covers.

    The output of a whole block is what its downsampler or upsampler makes, if it has one.
    """
    stage, index = _level(block)
    whole = block == f'{stage}.{index}'
    down = [getattr(level, 'downsamplers', None) is not None for level in unet.down_blocks]
    if stage == 'down_blocks':
        return 2 ** sum(down[:int(index) + whole])
    if stage == 'mid_block':
        return 2 ** sum(down)
    up = [getattr(level, 'upsamplers', None) is not None for level in unet.up_blocks]
    return 2 ** (sum(down) - sum(up[:int(index) + whole]))


def block_channels(unet: nn.Module, block: str) -> int:
    """Return the channels of the block's output."""
    module: Any = unet.get_submodule(block)
    return int(module.to_out[0].out_features if isinstance(module, Attention)
               else module.resnets[-1].out_channels)


def _level(name: str) -> tuple[str, str]:
    """Return a module's stage and its number there; parts of the middle have names instead."""
    stage, _, rest = name.partition('.')
    return stage, rest.partition('.')[0]


def size_multiple(unet: nn.Module, blocks: Sequence[str]) -> int:
    """
    Return what the size of the U-Net's input must be a multiple of to compute `blocks`.

    For blocks of the encoder that is their largest stride. Beyond it the deepest level counts,
    where skip connections must meet tensors of their size.
    """
    if all(name.startswith('down_blocks.') for name in blocks):
        return max(grid_stride(unet, name) for name in blocks)
    return grid_stride(unet, 'mid_block.attentions')


def feature_grid(output: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return a block's (1, height * width, C) or (1, C, height, width) as (C, height, width)."""
    if output.ndim == 3 and output.shape[1] == height * width:
        return output[0].T.unflatten(1, (height, width))
    if output.ndim == 4 and output.shape[2:] == (height, width):
        return output[0]
    raise DiffsegError(f'block output: got shape {tuple(output.shape)}; a grid of '
                       f'{height}x{width} was expected; choose another block')


def run_to_block(unet: nn.Module, block: str, attention_blocks: Iterable[str],
                 sample: torch.Tensor, *args: Any, **kwargs: Any) -> Observation:
    """
    Return the output of `block`, and attention maps as `Backbone` describes them.

    The U-Net runs on a (1, C, H, W) sample until all wanted blocks are computed; the rest is
    skipped. No hook stays on it, and threads that share it do not disturb each other. Raises
    DiffsegError where a block is never computed, or its attention is not from queries and keys
    alone.
    """
    strides = {name: grid_stride(unet, name) for name in attention_blocks}
    recorder = _Recorder(unet, block, strides, sample)
    try:
        unet(sample, *args, **kwargs)
    except _AllRecorded:
        pass
    finally:
        recorder.detach()
    return recorder.result()


def compile_to_block(unet: nn.Module, block: str) -> Callable[..., torch.Tensor]:
    """
    Return a function like `run_to_block` for features alone, compiled at its first call.

    It takes the sample and the U-Net's further arguments. From now on the U-Net ends at `block`.
    The function raises DiffsegError where it cannot be compiled.
    """
    from torch._dynamo.exc import TorchDynamoException

    def end(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _AllRecorded(_hidden_state(output))

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            unet(*args, **kwargs)
        except _AllRecorded as reached:
            return reached.args[0]

    unet.get_submodule(block).register_forward_hook(end)
    # Sizes beyond PyTorch's limit (8) run as they are.
    compiled = torch.compile(run, dynamic=False, isolate_recompiles=True)

    def checked(*args: Any, **kwargs: Any) -> torch.Tensor:
        try:
            output: torch.Tensor = compiled(*args, **kwargs)
        except TorchDynamoException as error:
            reason = describe_error(getattr(error, 'inner_exception', error))[:200]
            raise DiffsegError(f'backbone.compile: torch.compile failed ({reason}); it needs a '
                               'C++ compiler such as g++: install one, or set it to '
                               'false') from error
        return output

    return checked


def _hidden_state(output: Any) -> torch.Tensor:
    """Return the block's output itself; down blocks give the skip connections beside it."""
    return output[0] if isinstance(output, tuple) else output


class _AllRecorded(Exception):
    pass


class _Recorder:
    """The hooks and buffers of one pass in one thread."""

    def __init__(self, unet: nn.Module, block: str, strides: Mapping[str, int],
                 sample: torch.Tensor) -> None:
        self._block, self._strides = block, strides
        self._thread = threading.get_ident()
        self._missing = {block, *strides}
        self._output: torch.Tensor | None = None
        self._projections: dict[str, torch.Tensor] = {}
        self._layers: Counter[int] = Counter()
        height, width = sample.shape[2:]
        self._finest = min(strides.values(), default=1)
        while height * width // self._finest**2 > MAX_TOKENS:
            self._finest *= 2
        self._sums: dict[int, torch.Tensor] = {}
        for stride in set(strides.values()):
            grid = (height // max(stride, self._finest), width // max(stride, self._finest))
            # Ordinary tensors, which callers can use outside inference mode.
            with torch.inference_mode(False):
                self._sums[stride] = torch.zeros((*grid, *grid), device=sample.device)
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        for name in self._missing:
            self._watch(unet.get_submodule(name), partial(self._record, name))
        for name in strides:
            for part in ('to_q', 'to_k'):
                self._watch(unet.get_submodule(f'{name}.{part}'), partial(self._project, part))

    def _watch(self, module: nn.Module,
               action: Callable[[nn.Module, Any], None]) -> None:
        def hook(watched: nn.Module, _inputs: Any, output: Any) -> None:
            if threading.get_ident() == self._thread:
                action(watched, output)
        self._handles.append(module.register_forward_hook(hook))

    def _project(self, part: str, _module: nn.Module, output: torch.Tensor) -> None:
        self._projections[part] = output

    def _record(self, name: str, module: nn.Module, output: Any) -> None:
        if name == self._block:
            self._output = _hidden_state(output)
        if name in self._strides:
            self._add_map(name, module)
        self._missing.discard(name)
        if not self._missing:
            raise _AllRecorded

    def _add_map(self, name: str, module: nn.Module) -> None:
        if set(self._projections) != {'to_q', 'to_k'}:
            raise DiffsegError(f'block {name}: does not compute its attention from to_q and '
                               'to_k; load the model without fused projections')
        stride = self._strides[name]
        query, key = heads(module, self._projections.pop('to_q'), self._projections.pop('to_k'))
        add_attention(self._sums[stride], query, key, max(1, self._finest // stride))
        self._layers[stride] += 1

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()

    def result(self) -> Observation:
        if self._missing or self._output is None:
            raise DiffsegError(f'block {", ".join(sorted(self._missing))}: not computed by this '
                               'U-Net; choose another block or model')
        return self._output, tuple(self._sums[stride].div_(self._layers[stride])
                                   for stride in sorted(self._sums))


def heads(module: nn.Module, query: torch.Tensor,
          key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Split the (1, n, C) outputs of to_q and to_k as a diffusers Attention does.

    Returns (heads, n, d) float32 each, the queries scaled: the softmax of their products are
    the module's attention weights.
    """
    query, key = (item[0].unflatten(1, (module.heads, -1)).transpose(0, 1)
                  for item in (query, key))
    query = query if module.norm_q is None else module.norm_q(query)
    key = key if module.norm_k is None else module.norm_k(key)
    return query.float() * query.shape[-1] ** -0.5, key.float()


def add_attention(total: torch.Tensor, query: torch.Tensor, key: torch.Tensor,
                  factor: int = 1) -> None:
    """
    Add the mean over heads of softmax(query @ key^T) to `total`, (h, w, h, w) float32.

    Queries, scaled, and keys are (heads, n, d) float32 of n = h * w * factor^2 tokens. Blocks of
    factor by factor tokens become one: their queries are averaged, their keys summed. The logits
    take the device's budget of bytes, or those of one row of `total` and one head where these are
    more; their sum over the heads at hand comes on top.
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
