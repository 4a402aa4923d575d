"""Operations on label images that every stage needs: resize, borders, ids and numbering."""

from __future__ import annotations

from typing import TypeVar

from diffseg_ros.types import Mask
import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
_Scalar = TypeVar('_Scalar', bound=np.generic)


def resize_labels(image: npt.NDArray[_Scalar], height: int, width: int) -> npt.NDArray[_Scalar]:
    """
    Resize an (h, w) or (h, w, C) array of any type by nearest neighbour; no copy if unchanged.

    Each pixel takes the value of the pixel that covers its centre, which `cv2.resize` misses at
    some sizes.
    """
    if image.shape[:2] == (height, width):
        return image
    # floor((i + 0.5) * size / wanted) in whole numbers, so nothing is rounded.
    rows, columns = ((2 * np.arange(wanted) + 1) * size // (2 * wanted)
                     for size, wanted in zip(image.shape, (height, width)))
    return image.take(rows, axis=0).take(columns, axis=1)


def label_middles(labels: npt.NDArray[np.integer], size: npt.NDArray[np.float64],
                  ) -> list[npt.NDArray[np.float64]]:
    """Return the mean row and column, (n,) each, of (H, W) labels from 0 of (n,) `size` pixels."""
    height, width = labels.shape
    return [np.bincount(labels.ravel(), place, len(size)) / size
            for place in (np.arange(float(height)).repeat(width),
                          np.tile(np.arange(float(width)), height))]


def label_borders(labels: npt.NDArray[np.integer], *, both_sides: bool = False) -> Mask:
    """
    Return the (H, W) mask of the pixels whose label differs from that of a neighbour.

    The neighbours are the pixels to the left and above, so that a border is one pixel wide;
    with `both_sides` also those to the right and below (two pixels wide).
    """
    borders = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    borders[:, 1:] |= across
    borders[1:] |= down
    if both_sides:
        borders[:, :-1] |= across
        borders[:-1] |= down
    return borders


def distinct_labels(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return the sorted distinct values; `np.unique` without sorting where ids lie close."""
    table = _presence(labels)
    if table is None:
        return np.unique(labels).astype(np.int32)
    present, low = table
    return (np.flatnonzero(present) + low).astype(np.int32)


def compact(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return the labels numbered from 0 without gaps, in the order of their values."""
    table = _presence(labels)
    if table is None:
        return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)
    present, low = table
    numbers = np.cumsum(present, dtype=np.int32) - 1
    return numbers.take(labels - low if low else labels)


def renumber(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    """Return the labels numbered from 0 without gaps, in the order of first appearance."""
    numbers = compact(labels)
    first = first_members(numbers)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank.take(numbers)


def first_members(groups: npt.NDArray[np.integer]) -> Indices:
    """Return the flat index at which each group first appears; groups are 0, 1, 2, ..."""
    flat = groups.ravel()
    first = np.empty(int(flat.max(initial=-1)) + 1, np.intp)
    # Of several values for one place NumPy keeps the last, which is the first from the front.
    first[flat[::-1]] = np.arange(flat.size)[::-1]
    return first


def _presence(labels: npt.NDArray[np.integer]) -> tuple[Mask, int] | None:
    """Return which values from the lowest on occur, or None where the table would be large."""
    if not labels.size:
        return np.zeros(0, bool), 0
    low, high = int(labels.min()), int(labels.max())
    if high - low > labels.size:
        return None
    if 0 < low < labels.size:
        low = 0  # a few unused places cost less than a subtraction from every pixel
    present = np.zeros(high - low + 1, bool)
    # Each value begins a run of equal pixels, and segments have few of them.
    flat = labels.ravel()
    present[flat[0] - low] = True
    present[flat[np.flatnonzero(flat[1:] != flat[:-1]) + 1] - low] = True
    return present, low
