"""Voxel down-sampling of labelled clouds on Open3D's hash set."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.labelled_cloud import LabelledCloud
import numpy as np
import numpy.typing as npt

_LARGEST_INDEX = 2**30
_TABLE = 2**22


def voxel_keys(points: npt.NDArray[np.floating], voxel_size: float) -> npt.NDArray[np.int32]:
    """
    Return the (N, 3) int32 index of the voxel that each of (N, 3) finite points lies in.

    Raises
    ------
    DiffsegError
        A point lies too far from the origin for voxels of this size.

    """
    cells = np.floor(points.astype(np.float64) / voxel_size)
    if cells.size and max(-cells.min(), cells.max()) > _LARGEST_INDEX:
        raise DiffsegError(f'voxels of {voxel_size:g} m: a point lies {np.abs(points).max():g} m '
                           'from the origin; use larger voxels or an origin near the scene')
    return cells.astype(np.int32)


def voxel_numbers(keys: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.intp], int]:
    """
    Give the distinct voxels numbers in the order in which they first appear.

    Parameters
    ----------
    keys
        (N, 3) int32.

    Returns
    -------
    tuple
        (N,) number of each point's voxel, and how many voxels there are.

    """
    import open3d
    if not len(keys):
        return np.zeros(0, np.intp), 0
    core = open3d.core
    voxels = core.HashSet(len(keys), core.int32, core.SizeVector([3]))
    tensor = core.Tensor.from_numpy(np.ascontiguousarray(keys))
    voxels.insert(tensor)
    slots = voxels.find(tensor)[0].numpy()
    # Open3D inserts in parallel: slots differ from run to run, first appearances do not.
    first = np.full(int(slots.max()) + 1, len(keys), np.intp)
    first[slots[::-1]] = np.arange(len(keys))[::-1]
    order = np.argsort(first)[:int((first < len(keys)).sum())]
    number = np.empty(len(first), np.intp)
    number[order] = np.arange(len(order))
    return number[slots], len(order)


def majority(groups: npt.NDArray[np.intp], count: int,
             labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """
    Return the most frequent label of each group, the lowest where several are.

    Parameters
    ----------
    groups, labels
        (N,) group of each member, 0 to `count` - 1, and its label. No group is empty.
    count
        Number of groups; 0 where there are no members.

    """
    if not count:
        return np.zeros(0, np.int32)
    distinct, kinds = _distinct(labels)
    if count * len(distinct) <= max(_TABLE, labels.size):
        table = np.bincount(groups * len(distinct) + kinds, minlength=count * len(distinct))
        return distinct[table.reshape(count, -1).argmax(axis=1)]
    pairs, votes = np.unique(groups * len(distinct) + kinds, return_counts=True)
    owner = pairs // len(distinct)
    # Within a group pairs rise with the label: a stable sort by votes leaves the lowest first.
    order = np.lexsort((-votes, owner))
    winner = order[np.searchsorted(owner[order], np.arange(count))]
    return distinct[pairs[winner] % len(distinct)]


def _distinct(labels: npt.NDArray[np.int32]
              ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.intp]]:
    """Return the sorted distinct labels, and the place of each label among them."""
    low, high = int(labels.min()), int(labels.max())
    if high - low > labels.size:
        return np.unique(labels, return_inverse=True)
    offsets = np.subtract(labels, low, dtype=np.intp)
    present = np.zeros(high - low + 1, bool)
    present[offsets] = True
    distinct = (np.flatnonzero(present) + low).astype(np.int32)
    return distinct, (np.cumsum(present) - 1).take(offsets)


def voxel_downsample(cloud: LabelledCloud, voxel_size: float) -> LabelledCloud:
    """
    Return one point for each voxel that holds valid points.

    It has their mean place and colour and their most frequent label (the lowest where several
    are); voxels come in the order of their first point.

    Raises
    ------
    DiffsegError
        A point lies too far from the origin for voxels of this size.

    """
    listed = cloud.compact()
    numbers, count = voxel_numbers(voxel_keys(listed.points, voxel_size))
    if not count:
        return listed
    members = np.bincount(numbers, minlength=count)

    def mean(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        sums = [np.bincount(numbers, column, count) for column in values.T]
        return np.stack(sums, axis=1) / members[:, None]

    return LabelledCloud(mean(listed.points).astype(np.float32),
                         np.rint(mean(listed.rgb)).astype(np.uint8),
                         majority(numbers, count, listed.labels))
