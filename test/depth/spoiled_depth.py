"""Depth as a relative model would predict it, with known truth."""

from diffseg_ros.depth.base import DepthKind, KnownDepth
import numpy as np


def scene(seed=0, shape=(48, 64)):
    """Return (H, W) float32 metres: a slanted floor before a wall, and two boxes."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
    depth = np.where(rows < 0.45, 4.5 - columns, 1.8 / np.maximum(rows, 0.4))
    rng = np.random.default_rng(seed)
    for _ in range(2):
        left, top = rng.uniform(0, 0.7), rng.uniform(0.2, 0.7)
        box = (columns >= left) & (columns < left + 0.25) & (rows >= top) & (rows < top + 0.3)
        depth = np.where(box, np.minimum(depth, rng.uniform(1, 2.5)), depth)
    return depth.astype(np.float32)


def predict(depth, kind, scale, shift, noise=0.0, seed=0):
    """Return values of which scale * value + shift are the metres, or 1 / metres."""
    error = noise * np.random.default_rng(seed).standard_normal(depth.shape)
    metres = depth * (1 + error)
    target = 1 / metres if kind is DepthKind.INVERSE else metres
    return ((target - shift) / scale).astype(np.float32)


def know(depth, outliers=0.0, count=None, seed=0):
    """Return the depth of all or `count` pixels, a share of it wrong."""
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(np.isfinite(depth))
    if count is not None:
        chosen = rng.choice(len(rows), count, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    metres = depth[rows, columns].copy()
    wrong = rng.permutation(len(metres))[:int(outliers * len(metres))]
    metres[wrong] = rng.uniform(0.3, 8, len(wrong))
    return KnownDepth(rows, columns, metres)
