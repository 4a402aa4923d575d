"""
DiffSeg's attention merging as published: every anchor broadcast against every map.

Source: Tian et al., "Diffuse, Attend, and Segment", CVPR 2024. Slow, in NumPy and OpenCV alone,
to check and to time `attention_merging` against. The published code's peculiarities, each
switched by `MergeRule`:

- After the first iteration rows merge in the order of their index (`order`), and a row that one
  proposal has absorbed counts again in the means of later ones (`reuse`).
- A row that holds a zero has the distance NaN to everything, itself included, and is dropped
  without notice (`floor` 0). The published code computes distances in float16, where small
  probabilities become zeros; that is not imitated.
- Anchors beyond the largest square number are left out, which is no matter on a square grid, and
  images are squeezed to a square. Neither is imitated.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
from diffseg_ros.segmentation.attention_merging import MergeRule
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_CHUNK = 16


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


def reference_divergence(rows: FloatArray, maps: FloatArray, floor: float) -> FloatArray:
    """
    Return the (a, b) symmetric divergences of (a, n) and (b, n) distributions.

    In blocks of 16 rows, as published; the arithmetic is that of the arrays' type.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        row_logs = np.log(np.maximum(rows, rows.dtype.type(floor)))
        map_logs = np.log(np.maximum(maps, maps.dtype.type(floor)))
        blocks = []
        for start in range(0, len(rows), _CHUNK):
            block = slice(start, start + _CHUNK)
            ratio = row_logs[block, None] - map_logs
            forward = (rows[block, None] * ratio).sum(axis=2)
            backward = -(maps * ratio).sum(axis=2)
            blocks.append((forward + backward) / 2)
    return np.concatenate(blocks)


def reference_merging(maps: FloatArray, anchors: npt.NDArray[np.intp],
                      rule: MergeRule | None = None) -> FloatArray:
    """
    Merge attention maps into one map a segment.

    Parameters
    ----------
    maps
        (n, n) distributions, one a row; float64 for equality, float32 for timing.
    anchors
        Rows that the first iteration starts from.
    rule
        Threshold and order of the merging.

    Returns
    -------
    numpy.ndarray
        (K, n) proposals, in the type of `maps`.

    """
    rule = rule or MergeRule()
    near = reference_divergence(maps[anchors], maps, rule.floor) < rule.threshold
    near = near[near.any(axis=1)]
    proposals = near.astype(maps.dtype) @ maps / near.sum(axis=1, keepdims=True)
    for _ in range(rule.iterations - 1):
        proposals = _merged(proposals, rule)
    return proposals.astype(maps.dtype)


def _merged(rows: FloatArray, rule: MergeRule) -> FloatArray:
    count = len(rows)
    waiting = list(range(count))
    if rule.order == 'density':
        crowd = [int((reference_divergence(rows[i:i + 1], rows, rule.floor) < rule.threshold)
                     .sum()) for i in range(count)]
        waiting.sort(key=lambda i: -crowd[i])
    taken: set[int] = set()
    merged = []
    for i in waiting:
        if i in taken:
            continue
        distance = reference_divergence(rows[i:i + 1], rows, rule.floor)[0]
        near = [j for j in range(count) if distance[j] < rule.threshold]
        if i not in near:
            continue
        group = near if rule.reuse else [j for j in near if j not in taken]
        merged.append(np.mean([rows[j] for j in group], axis=0))
        taken.update(near)
    return np.array(merged).reshape(-1, rows.shape[1])


def reference_labels(proposals: FloatArray, height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the (height, width) winner among (K, h, w) proposals, upsampled one by one."""
    upsampled = [cv2.resize(item, (width, height), interpolation=cv2.INTER_LINEAR)
                 for item in proposals]
    return np.argmax(upsampled, axis=0)
