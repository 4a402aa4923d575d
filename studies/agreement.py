"""How far two partitions agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.metrics import contingency_table


def adjusted_rand_index(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> float:
    """
    Return the adjusted Rand index of two label arrays of one shape: 1 is the same partition.

    Labels are 0 or above. Two partitions into one part, or into single elements, agree fully.
    Source: Hubert and Arabie, "Comparing partitions", Journal of Classification 1985.
    """
    table = contingency_table(one.astype(np.int64), other.astype(np.int64))
    both = _pairs(table.data)
    first, second = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    expected = first * second / max(_pairs(np.array(one.size)), 1.0)
    largest = (first + second) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


def _pairs(counts: npt.ArrayLike) -> float:
    sizes = np.asarray(counts, np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
