"""
DiffSeg's attention merging as published: every anchor broadcast against every map.

Source: Tian et al., "Diffuse, Attend, and Segment", CVPR 2024. Slow, in NumPy and OpenCV alone,
to check and to time `merge_attention` against. The published code's peculiarities:

- After the first iteration rows merge in the order of their index, so that the result depends on
  the direction in which the image is read, and a row that one proposal has absorbed counts again
  in the means of later ones.
- A row that holds a zero has the distance NaN to everything, itself included, and is dropped
  without notice. Here probabilities count as at least 1e-12. The published code computes
  distances in float16, where small probabilities become zeros; that is not imitated.
- Anchors beyond the largest square number are left out, which is no matter on a square grid, and
  images are squeezed to a square. Neither is imitated.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_CHUNK = 16
_ITERATIONS = 3
_FLOOR = 1e-12


def reference_aggregation(maps: Sequence[FloatArray]) -> FloatArray:
    """Return the (h, w, h, w) weighted mean of maps at the finest resolution, map by map."""
    height, width = max(item.shape[:2] for item in maps)
    weights = [np.sqrt(item.shape[0] * item.shape[1]) for item in maps]
    merged = np.zeros((height, width, height, width), maps[0].dtype)
    for item, weight in zip(maps, weights, strict=True):
        repeat = height // item.shape[0]
        for y in range(height):
            for x in range(width):
                keys = cv2.resize(item[y // repeat, x // repeat], (width, height),
                                  interpolation=cv2.INTER_LINEAR)
                merged[y, x] += keys / keys.sum() * weight / sum(weights)
    return merged


def reference_divergence(rows: FloatArray, maps: FloatArray) -> FloatArray:
    """
    Return the (a, b) symmetric divergences of (a, n) and (b, n) distributions.

    In blocks of 16 rows, as published; the arithmetic is that of the arrays' type.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        row_logs = np.log(np.maximum(rows, rows.dtype.type(_FLOOR)))
        map_logs = np.log(np.maximum(maps, maps.dtype.type(_FLOOR)))
        blocks = []
        for start in range(0, len(rows), _CHUNK):
            block = slice(start, start + _CHUNK)
            ratio = row_logs[block, None] - map_logs
            forward = (rows[block, None] * ratio).sum(axis=2)
            backward = -(maps * ratio).sum(axis=2)
            blocks.append((forward + backward) / 2)
    return np.concatenate(blocks)


def reference_merging(maps: FloatArray, anchors: npt.NDArray[np.intp],
                      threshold: float = 1.0) -> FloatArray:
    """
    Merge (n, n) attention maps, one distribution a row, into (K, n), one for each segment.

    The first iteration starts from the rows `anchors`; maps nearer than the threshold (symmetric
    divergence in nats) are merged. The arithmetic is that of the maps' type: float64 for
    equality, float32 for timing.
    """
    near = reference_divergence(maps[anchors], maps) < threshold
    near = near[near.any(axis=1)]
    proposals = near.astype(maps.dtype) @ maps / near.sum(axis=1, keepdims=True)
    for _ in range(_ITERATIONS - 1):
        proposals = _merged(proposals, threshold)
    return proposals.astype(maps.dtype)


def _merged(rows: FloatArray, threshold: float) -> FloatArray:
    taken: set[int] = set()
    merged = []
    for i in range(len(rows)):
        if i in taken:
            continue
        near = np.flatnonzero(reference_divergence(rows[i:i + 1], rows)[0] < threshold)
        merged.append(rows[near].mean(axis=0))
        taken.update(near.tolist())
    return np.array(merged)


def reference_labels(proposals: FloatArray, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the (height, width) winner among (K, h, w) proposals, upsampled one by one."""
    upsampled = [cv2.resize(item, (width, height), interpolation=cv2.INTER_LINEAR)
                 for item in proposals]
    return np.argmax(upsampled, axis=0)
