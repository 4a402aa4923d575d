"""Groups of a graph's nodes: checked, found, and as a matrix that sums by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, csc_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    import torch


def check_affinity(affinity: torch.Tensor | npt.NDArray[np.float32]) -> None:
    """Raise DiffsegError unless the affinity is square, finite and not negative."""
    shape = tuple(affinity.shape)
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise DiffsegError(f'affinity: got shape {shape}; a square matrix is needed')
    # NaN fails both comparisons.
    if not bool((affinity.min() >= 0) & (affinity.max() < np.inf)):
        raise DiffsegError('affinity: holds NaN, infinity or negative values; check the features')


def membership(group: npt.NDArray[np.integer], count: int,
               dtype: npt.DTypeLike = np.float32) -> csc_array:
    """Return the (count, n) matrix whose product with (n, C) values is their sum by group."""
    size = len(group)
    return csc_array((np.ones(size, dtype), group, np.arange(size + 1, dtype=np.int32)),
                     (count, size))


def connected_groups(count: int, pairs: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return the (count,) groups, from 0 without gaps, that (p, 2) pairs of nodes connect."""
    links = coo_matrix((np.ones(len(pairs), bool), tuple(pairs.T)), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int32)
