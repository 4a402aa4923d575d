"""
Classical segmentations without a trained model, to compare the pipeline with.

The colour baselines describe a cell of a coarse grid by five numbers of equal weight: its mean
CIE Lab colour over 100 and its position, from -0.5 to 0.5 across the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from diffseg_ros.evaluation.masks import grid_labels
from diffseg_ros.segmentation.affinity import feature_affinity, token_colours
from diffseg_ros.segmentation.normalized_cut import normalized_cut
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import LabelImage, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
from skimage import segmentation
import torch

NCUT_GRID = 24, 32
KMEANS_GRID = 48, 64


def grid(rgb: RgbImage) -> LabelImage:
    """Return labels of 4x5 rectangles, whatever the image shows."""
    return grid_labels(*rgb.shape[:2])


def lab_ncut(rgb: RgbImage) -> LabelImage:
    """Return labels of DiffCut's recursive normalised cut of colour and position."""
    tokens = torch.from_numpy(_colour_and_position(rgb, *NCUT_GRID).T)
    affinity = feature_affinity(tokens, alpha=10.0).numpy()
    with one_blas_thread():
        return _to_pixels(normalized_cut(affinity, tau=0.7), NCUT_GRID, rgb)


def lab_kmeans(rgb: RgbImage) -> LabelImage:
    """Return labels of k-means (k-means++ start) on colour and position; repeatable."""
    points = _colour_and_position(rgb, *KMEANS_GRID).astype(np.float64)
    _, labels = kmeans2(points, 6, iter=30, minit='++', seed=0, missing='warn')
    return _to_pixels(labels, KMEANS_GRID, rgb)


def felzenszwalb(rgb: RgbImage) -> LabelImage:
    """Return labels of graph-based segmentation (Felzenszwalb and Huttenlocher, 2004)."""
    smallest = rgb.shape[0] * rgb.shape[1] // 300
    labels = segmentation.felzenszwalb(rgb, scale=800.0, sigma=0.8, min_size=smallest)
    return labels.astype(np.int32)


CLASSICAL: dict[str, Callable[[RgbImage], LabelImage]] = {
    'grid': grid, 'lab_ncut': lab_ncut, 'lab_kmeans': lab_kmeans, 'felzenszwalb': felzenszwalb}
"""Baselines that need no model, by name."""


def write_random_weights(folder: Path, images: Sequence[RgbImage] = (), seed: int = 0) -> None:
    """
    Write the embedded model, randomly initialised, as `backbone.model` takes it.

    With images its features are whitened like the trained model's. The same seed gives the same
    weights.
    """
    from diffseg_ros.training.checkpoint import create_model, save_weights, write_whitening
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        save_weights(create_model(), folder)
    if images:
        write_whitening(folder, images, torch.device('cpu'))


def _colour_and_position(rgb: RgbImage, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return (height * width, 5) float32, one row per cell."""
    y, x = (np.mgrid[:height, :width].astype(np.float32) + 0.5)
    position = np.stack([x.ravel() / width, y.ravel() / height], axis=1) - np.float32(0.5)
    return np.concatenate([token_colours(rgb, height, width), position], axis=1)


def _to_pixels(labels: npt.NDArray[np.integer], cells: tuple[int, int],
               rgb: RgbImage) -> LabelImage:
    """Return the cells' labels at the size of the image."""
    size = rgb.shape[1], rgb.shape[0]
    return cv2.resize(labels.reshape(cells).astype(np.int16), size,
                      interpolation=cv2.INTER_NEAREST).astype(np.int32)
