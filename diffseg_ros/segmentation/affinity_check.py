"""What every cut of an affinity graph begins and ends with, and its groups as a matrix."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array


def check_affinity(affinity: npt.NDArray[np.float32]) -> None:
    """Raise DiffsegError unless the affinity is square, finite and not negative."""
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or not len(affinity):
        raise DiffsegError(f'affinity: got shape {affinity.shape}; a square matrix is needed')
    lowest, highest = affinity.min(), affinity.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise DiffsegError('affinity: holds NaN, infinity or negative values; check the features')


def renumber(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the (n,) labels numbered from 0 by first occurrence."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int32)


def membership(group: npt.NDArray[np.integer], count: int) -> csc_array:
    """Return the (count, n) float32 matrix with a 1 where a token is in a group."""
    size = len(group)
    return csc_array((np.ones(size, np.float32), group, np.arange(size + 1)), shape=(count, size))
