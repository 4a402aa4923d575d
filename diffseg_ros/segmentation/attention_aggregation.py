"""Self-attention maps of several resolutions brought to one, or to another grid."""

from __future__ import annotations

from collections.abc import Sequence

from diffseg_ros.errors import DiffsegError
import numpy as np
import torch
from torch.nn import functional


def aggregate_attention(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """
    Bring maps of several resolutions to the finest and average them.

    Keys are upsampled bilinearly and made to sum to 1 again, queries are repeated, and each map
    weighs in proportion to its resolution, the square root of its number of tokens.

    Parameters
    ----------
    maps
        (h, w, h, w) float32 each, query axes first, sums over the keys 1; the sides of the
        finest are multiples of the others'.

    Returns
    -------
    torch.Tensor
        (h, w, h, w) float32 of the finest map's size, a new tensor.

    Raises
    ------
    DiffsegError
        There is no map, or the sizes do not divide each other.

    """
    if not maps:
        raise DiffsegError('attention: no maps; choose a model with self-attention')
    finest = max(maps, key=lambda item: item.shape[0] * item.shape[1])
    height, width = finest.shape[:2]
    total = sum(_resolution(item) for item in maps)
    merged = finest.new_zeros(finest.shape)
    for item in maps:
        rows, columns = item.shape[:2]
        if height % rows or width % columns or height // rows != width // columns:
            raise DiffsegError(f'attention: maps of {rows}x{columns} and {height}x{width} '
                               'tokens; the finer must be a multiple of the coarser')
        weight, repeat = _resolution(item) / total, height // rows
        spread = _spread_keys(item, height, width) if repeat > 1 else item
        blocks = merged.view(rows, repeat, columns, repeat, height, width)
        blocks.add_(spread[:, None, :, None], alpha=weight)
    return merged


def _resolution(item: torch.Tensor) -> float:
    return float(np.sqrt(item.shape[0] * item.shape[1]))


def _spread_keys(item: torch.Tensor, height: int, width: int) -> torch.Tensor:
    larger = functional.interpolate(item.flatten(0, 1)[:, None], (height, width),
                                    mode='bilinear', align_corners=False)[:, 0]
    larger /= larger.sum(dim=(1, 2), keepdim=True)
    return larger.unflatten(0, item.shape[:2])


def pool_attention(attention: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """
    Return (h, w, h, w) attention on another grid: queries averaged, keys summed.

    Where the sides do not divide, tokens of the new grid share border tokens of the old one.
    """
    if tuple(attention.shape[:2]) == (height, width):
        return attention
    queries = attention.flatten(2).permute(2, 0, 1)[None]
    queries = functional.adaptive_avg_pool2d(queries, (height, width))[0]
    keys = queries.unflatten(0, attention.shape[2:]).permute(2, 3, 0, 1).flatten(0, 1)[None]
    pooled = functional.adaptive_avg_pool2d(keys, (height, width))[0]
    pooled = pooled / pooled.sum(dim=(1, 2), keepdim=True)
    return pooled.unflatten(0, (height, width))
