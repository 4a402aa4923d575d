"""
Whitening of features: directions that images vary in get equal weight.

A few directions hold nearly all variance of a U-Net's features, so that their cosine says little
more than whether a token is bright or textured. Whitening with the covariance of the tokens of
many images makes the others count.
Source: Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", The American
Statistician 2018 (PCA whitening), cut off after the directions of most variance.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from diffseg_ros.errors import DiffsegError
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

WHITENING_FILE = 'whitening.safetensors'
COMPONENTS = 16
_KEY = 'whitening'
# Directions with less variance than this share of the largest hold rounding errors.
_FLOOR = 1e-6


def fit_whitening(grids: Iterable[torch.Tensor], components: int = COMPONENTS) -> torch.Tensor:
    """
    Return the (K, C) float32 matrix that whitens features like these.

    `grids` are (C, h, w) float32 features of images, each of equal weight. K is `components`, less
    where there are fewer channels or directions. Raises DiffsegError where there is no grid, or
    they do not vary.
    """
    total, count = None, 0
    for grid in grids:
        tokens = _directions(grid).double()
        covariance = tokens @ tokens.T / tokens.shape[1]
        total = covariance if total is None else total + covariance
        count += 1
    if total is None:
        raise DiffsegError('whitening: no features given; at least one image is needed')
    variance, basis = torch.linalg.eigh(total / count)
    used = (variance > variance[-1] * _FLOOR).sum().clamp(max=components)
    if not variance[-1] > 0:
        raise DiffsegError('whitening: the features are the same everywhere; give images with '
                           'more content')
    best = slice(len(variance) - int(used), None)
    scaled = (basis[:, best] / variance[best].sqrt()).T.flip(0)
    return _signed(scaled).float()


def whiten(features: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return (K, h, w) whitened features of one image's (C, h, w) by `fit_whitening`'s matrix."""
    return (matrix @ _directions(features)).unflatten(1, features.shape[1:])


def save_whitening(folder: Path, block: str, matrix: torch.Tensor) -> None:
    """Write the matrix of a self-attention block into the folder of its U-Net."""
    save_file({_KEY: matrix.cpu().contiguous()}, folder / WHITENING_FILE, {'block': block})


def load_whitening(folder: Path, block: str, channels: int) -> torch.Tensor | None:
    """Return the matrix for a block of the U-Net in `folder`, None where there is none for it."""
    file = folder / WHITENING_FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework='pt', device='cpu') as handle:
            if (handle.metadata() or {}).get('block') != block:
                return None
            matrix = handle.get_tensor(_KEY).float()
    except (OSError, SafetensorError) as error:
        raise DiffsegError(f'model file {file}: damaged ({error}); download it again') from error
    if matrix.ndim != 2 or matrix.shape[1] != channels:
        raise DiffsegError(f'model file {file}: for features of {tuple(matrix.shape)[-1]} '
                           f'channels, block {block} has {channels}; download the model again '
                           'or set backbone.whiten to false')
    return matrix


def _directions(features: torch.Tensor) -> torch.Tensor:
    """Return (C, h * w) centred tokens of length 1."""
    tokens = features.flatten(1)
    tokens = tokens - tokens.mean(dim=1, keepdim=True)
    return tokens / tokens.norm(dim=0).clamp_min(1e-12)


def _signed(rows: torch.Tensor) -> torch.Tensor:
    """Give each row's largest entry a positive sign, so that a fit repeats on any machine."""
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    return rows * torch.where(largest < 0, -1.0, 1.0)
