"""Patches of labels that are too small to be a thing: they go to what surrounds them."""

from __future__ import annotations

from diffseg_ros.segmentation.region_merging import absorb_small, joined
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Pairs = npt.NDArray[np.integer]


def without_specks(labels: Labels, least: float) -> Labels:
    """
    Return a label image without connected patches of fewer than `least` pixels.

    Parameters
    ----------
    labels
        (H, W) int32. Pixels side by side or one above the other are connected.
    least
        Pixels.

    Returns
    -------
    numpy.ndarray
        (H, W) int32, see `rename_specks`.

    """
    if least <= 1:
        return labels
    patches, count = connected_patches(labels)
    names = np.empty(count, np.int32)
    names[patches] = labels
    size = np.bincount(patches.ravel(), minlength=count).astype(np.float64)
    edges, length = _borders(patches)
    return rename_specks(names, size, edges, length, least).take(patches)


def rename_specks(names: Labels, size: FloatArray, edges: Pairs, length: npt.NDArray[np.number],
                  least: float) -> Labels:
    """
    Return the names of regions such that no connected patch of one name is too small.

    A patch that is joins the neighbour with which it has the longest border; those that then are
    still too small join again. The larger one's name stays. The last patch is never too small.

    Parameters
    ----------
    names, size
        (n,) name and size of each region.
    edges, length
        (e, 2) regions that touch, and (e,) how long their common border is; the parts of a
        border may be listed one by one.
    least
        Size from which on a patch stays.

    Returns
    -------
    numpy.ndarray
        (n,) int32; a name all of whose patches were too small does not occur any more.

    """
    ends = names.take(edges.T)
    same = ends[0] == ends[1]
    patch = joined(len(names), edges[same])
    total = np.bincount(patch, size).astype(np.float64)
    if total.min() >= least:
        return names
    pairs = patch.take(edges[~same]), length[~same]
    group = absorb_small(patch, total, _longest_first(*pairs, len(total)), least)
    # The largest patch of each group is written last.
    region = np.empty(len(total), np.intp)
    region[patch] = np.arange(len(names))
    by_size = region.take(total.argsort(kind='stable'))
    winner = np.empty(int(group.max()) + 1, np.int32)
    winner[group.take(by_size)] = names.take(by_size)
    return winner.take(group)


def connected_patches(labels: Labels) -> tuple[Labels, int]:
    """Return the (H, W) int32 patches of (H, W) labels, numbered from 0, and how many."""
    starts = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    runs = starts.ravel().cumsum(dtype=np.int32).reshape(labels.shape) - 1
    # Runs of pixels in rows are the nodes; where either of two begins, they first touch.
    touching = np.flatnonzero((starts[1:] | starts[:-1]) & (labels[1:] == labels[:-1]))
    ends = runs[:-1].ravel().take(touching), runs[1:].ravel().take(touching)
    patch = joined(int(runs[-1, -1]) + 1, np.stack(ends, axis=1))
    return patch.take(runs), int(patch.max()) + 1


def _borders(patches: Labels) -> tuple[Labels, npt.NDArray[np.float64]]:
    """Return (p, 2) patches at the sides of pixels between two patches, and 1 for each."""
    sides = [(patches[:, :-1], patches[:, 1:]), (patches[:-1], patches[1:])]
    edges = [np.stack([one[one != other], other[one != other]], axis=1) for one, other in sides]
    pairs = np.concatenate(edges)
    return pairs, np.ones(len(pairs))


def _longest_first(pairs: Labels, length: npt.NDArray[np.number], count: int) -> Labels:
    """Return the (q, 2) pairs that occur, in the order of their lengths' sums."""
    ends = np.minimum(*pairs.T), np.maximum(*pairs.T)
    sums = coo_array((length, ends), (count, count)).tocsr().tocoo()
    order = np.argsort(-sums.data, kind='stable')
    return np.stack([sums.row, sums.col], axis=1).astype(np.int32)[order]
