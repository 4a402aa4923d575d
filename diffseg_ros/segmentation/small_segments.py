"""Patches of labels that are too small to be a thing: they go to what surrounds them."""

from __future__ import annotations

from diffseg_ros.segmentation.graph_utils import connected_groups
from diffseg_ros.segmentation.region_merging import absorb_small, size_of
from diffseg_ros.types import LabelImage
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from skimage.measure import label

Labels = npt.NDArray[np.int32]


def remove_small_segments(labels: LabelImage, min_size: float) -> LabelImage:
    """Return labels without 4-connected patches below `min_size` pixels; see `rename_small`."""
    if min_size <= 1:
        return labels
    patches = label(labels, background=-1, connectivity=1) - 1
    names: Labels = np.empty(int(patches.max()) + 1, np.int32)
    names[patches] = labels
    edges = np.concatenate([
        np.stack([one[one != other], other[one != other]], axis=1)
        for one, other in ((patches[:, :-1], patches[:, 1:]), (patches[:-1], patches[1:]))])
    names = rename_small(names, np.bincount(patches.ravel()), edges, np.ones(len(edges)),
                         min_size)
    return names.take(patches)


def rename_small(names: Labels, size: npt.NDArray[np.number], edges: npt.NDArray[np.integer],
                 length: npt.NDArray[np.number], min_size: float) -> Labels:
    """
    Return the names of regions such that no connected patch of one name is below `min_size`.

    Such a patch joins the neighbour with the longest border, again and again; the larger one's
    name stays. `names` and `size` are (n,); `edges` the (e, 2) regions that touch and `length` how
    long their common border is, whose parts may be listed one by one.
    """
    same = names[edges[:, 0]] == names[edges[:, 1]]
    patch = connected_groups(len(names), edges[same])
    total = size_of(patch, size)
    if total.min() >= min_size:
        return names
    pairs = np.sort(patch.take(edges[~same]), axis=1)
    borders = coo_array((length[~same], tuple(pairs.T)), (len(total),) * 2).tocsr().tocoo()
    order = np.argsort(-borders.data, kind='stable')
    longest_first = np.stack([borders.row, borders.col], axis=1)[order]
    group = absorb_small(patch, total, longest_first, min_size)
    # The largest patch of each group is written last.
    region = np.empty(len(total), np.intp)
    region[patch] = np.arange(len(names))
    by_size = region.take(total.argsort(kind='stable'))
    winner = np.empty(int(group.max()) + 1, np.int32)
    winner[group.take(by_size)] = names.take(by_size)
    return winner.take(group)
