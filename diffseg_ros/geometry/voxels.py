"""Voxels: which voxel a point lies in, their numbering, and the votes of their points."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import compact, distinct_labels, Indices, renumber
import numpy as np
import numpy.typing as npt

_AXIS_BITS = 21
_LARGEST_INDEX = 2**30
_LARGEST_TABLE = 2**22


def voxel_keys(points: npt.NDArray[np.floating], voxel_size: float) -> npt.NDArray[np.int32]:
    """
    Return the (N, 3) int32 index of the voxel that each of (N, 3) finite points lies in.

    Raises DiffsegError when a point lies too far from the origin for voxels of this size.
    """
    cells = np.floor(points.astype(np.float64) / voxel_size)
    if cells.size and max(-cells.min(), cells.max()) > _LARGEST_INDEX:
        raise DiffsegError(f'voxels of {voxel_size:g} m: a point lies {np.abs(points).max():g} m '
                           'from the origin; use larger voxels or an origin near the scene')
    return cells.astype(np.int32)


def voxel_codes(keys: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return (N,) codes of (N, 3) keys; along an axis they repeat after two million voxels."""
    x, y, z = (keys.astype(np.int64) & ((1 << _AXIS_BITS) - 1)).T
    return x << 2 * _AXIS_BITS | y << _AXIS_BITS | z


def voxel_indices(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the (N, 3) keys of (N,) codes, each within a million voxels of the origin."""
    half = 1 << _AXIS_BITS - 1
    axes = np.stack([codes >> 2 * _AXIS_BITS, codes >> _AXIS_BITS, codes], axis=1)
    return ((axes + half) & (2 * half - 1)) - half


def voxel_numbers(keys: npt.NDArray[np.int32]) -> tuple[Indices, int]:
    """Return (N,) numbers of voxels in the order of first appearance, and their count."""
    if not len(keys):
        return np.zeros(0, np.intp), 0
    keys = keys - keys.min(axis=0).astype(np.int64)
    if keys.max() < 1 << _AXIS_BITS:
        codes = voxel_codes(keys)
    else:
        codes = np.unique(keys, axis=0, return_inverse=True)[1]
    numbers = renumber(codes).astype(np.intp)
    return numbers, int(numbers.max()) + 1


def group_means(groups: Indices, count: int,
                values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Return the (count, C) means of the (N, C) values of each group; no group is empty."""
    sums = [np.bincount(groups, column, count) for column in values.T]
    return np.stack(sums, axis=1) / np.bincount(groups, minlength=count)[:, None]


def majority(groups: Indices, count: int,
             labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """
    Return the most frequent label of each group, the lowest of several as frequent.

    `groups` holds the group of each label, 0 to `count` - 1; no group is empty.
    """
    if not count:
        return np.zeros(0, np.int32)
    distinct = distinct_labels(labels)
    pairs = groups * len(distinct) + compact(labels)
    if count * len(distinct) <= max(_LARGEST_TABLE, labels.size):
        votes = np.bincount(pairs, minlength=count * len(distinct))
        return distinct[votes.reshape(count, -1).argmax(axis=1)]
    pairs, votes = np.unique(pairs, return_counts=True)
    owner = pairs // len(distinct)
    # Within a group pairs rise with the label: a stable sort by votes leaves the lowest first.
    order = np.lexsort((-votes, owner))
    winner = order[np.searchsorted(owner[order], np.arange(count))]
    return distinct[pairs[winner] % len(distinct)]
