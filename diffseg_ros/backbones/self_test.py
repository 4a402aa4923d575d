"""A loaded model looks at one fixed image before it is used: wrong weights are seen at once."""

from __future__ import annotations

from collections.abc import Callable
import copy
from pathlib import Path
import re
from typing import Protocol

from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
import numpy as np
import torch

TOKENS = 12
MIN_SPREAD = 1e-6
"""Least part of the features' norm that differs between tokens."""
MIN_COSINE = {torch.float16: 0.99, torch.bfloat16: 0.95}
"""Least cosine of the features to those in float32."""


class Testable(Protocol):
    """What is tried: features of `_tokens` tokens, from the output of the module `block`."""

    name: str
    device: torch.device
    block: str
    _tokens: int

    @property
    def parameter_count(self) -> int:
        """How many weights it has in memory."""

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return the features of an image, as `Backbone.features` says."""


def check_features(backbone: Testable, dtype: torch.dtype,
                   load_full: Callable[[], Testable]) -> None:
    """
    Look at a fixed image with few tokens.

    In half precision the features are compared with those of the same model in float32, which
    `load_full` loads and which is freed again; not where free memory is too small for it.

    Raises
    ------
    DiffsegError
        The features are not finite, the same everywhere, or far from those in float32.

    """
    features = _look(backbone)
    if dtype == torch.float32 or not _fits_in_float32(backbone):
        return
    try:
        full = _look(load_full())
    except torch.OutOfMemoryError:
        return
    finally:
        if backbone.device.type == 'cuda':
            torch.cuda.empty_cache()
    cosine = float(torch.cosine_similarity(features.flatten(), full.flatten(), dim=0))
    if cosine < MIN_COSINE[dtype]:
        remedy = 'bfloat16 or float32' if dtype == torch.float16 else 'float32'
        raise DiffsegError(
            f'model {backbone.name}: its features in {str(dtype).removeprefix("torch.")} have '
            f'only cosine {cosine:.3f} to those in float32, at least {MIN_COSINE[dtype]} is '
            f'needed; set backbone.precision to {remedy}')


def _look(backbone: Testable) -> torch.Tensor:
    """Return the features of the fixed image, on the CPU."""
    small = copy.copy(backbone)
    small._tokens = TOKENS
    blocks = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    features = small.features(blocks.repeat(16, axis=0).repeat(16, axis=1)).cpu()
    deviations = features - features.mean(dim=(1, 2), keepdim=True)
    if not deviations.norm() > MIN_SPREAD * features.norm():
        raise DiffsegError(f'model {backbone.name}: block {backbone.block} gives the same feature '
                           'everywhere; its weights are damaged or empty: download them again, '
                           'or choose another backbone.block or backbone.precision')
    return features


def _fits_in_float32(backbone: Testable) -> bool:
    """Return whether the model in float32, and as much again, fits into the free memory."""
    needed = 8 * backbone.parameter_count
    if backbone.device.type == 'cuda':
        return torch.cuda.mem_get_info(backbone.device)[0] > needed
    memory = Path('/proc/meminfo')
    found = re.search(r'MemAvailable:\s*(\d+) kB', memory.read_text() if memory.exists() else '')
    return found is not None and int(found[1]) * 1024 > needed
