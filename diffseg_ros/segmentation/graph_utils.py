"""What every cut of an affinity graph begins and ends with, and its groups as a matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

if TYPE_CHECKING:
    import torch


def check_affinity(affinity: torch.Tensor | npt.NDArray[np.float32]) -> None:
    """Raise DiffsegError unless the affinity is square, finite and not negative."""
    import torch

    shape = tuple(affinity.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise DiffsegError(f'affinity: got shape {shape}; a square matrix is needed')
    lowest, highest = torch.stack(torch.as_tensor(affinity).aminmax()).tolist()
    if not (math.isfinite(lowest) and math.isfinite(highest)) or lowest < 0:
        raise DiffsegError('affinity: holds NaN, infinity or negative values; check the features')


def renumber(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the (n,) labels numbered from 0 by first occurrence."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int32)


def membership(group: npt.NDArray[np.integer], count: int,
               dtype: npt.DTypeLike = np.float32) -> csc_array:
    """
    Return the (count, n) matrix with a 1 where a node is in a group.

    Its product with (n, C) values is their sum by group.
    """
    size = len(group)
    return csc_array((np.ones(size, dtype), group, np.arange(size + 1, dtype=np.int32)),
                     (count, size))


def membership_matrix(labels: torch.Tensor, count: int, dtype: torch.dtype) -> torch.Tensor:
    """Return what `membership` does for (n,) int64 labels, dense and on their device."""
    import torch

    return (labels == torch.arange(count, device=labels.device)[:, None]).to(dtype)
