"""How far two partitions agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def adjusted_rand_index(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> float:
    """
    Return the adjusted Rand index of two label arrays of one shape: 1 is the same partition.

    Source: Hubert and Arabie, "Comparing partitions", Journal of Classification 1985. Two
    partitions into one part, or into single elements, agree fully.
    """
    rows = np.unique(one, return_inverse=True)[1].ravel()
    columns = np.unique(other, return_inverse=True)[1].ravel()
    width = int(columns.max()) + 1
    both = _pairs(np.bincount(rows * width + columns))
    first, second = _pairs(np.bincount(rows)), _pairs(np.bincount(columns))
    expected = first * second / max(_pairs(np.array([rows.size])), 1.0)
    largest = (first + second) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _pairs(counts: npt.NDArray[np.integer]) -> float:
    sizes = counts.astype(np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
