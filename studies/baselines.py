"""
Classical segmentations without a trained model, to compare the pipeline with.

The colour baselines describe a cell of a coarse grid by five numbers of equal weight: its mean
CIE Lab colour over 100 and its position, from -0.5 to 0.5 across the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.miou import grid_labels
from diffseg_ros.segmentation.cues import feature_affinity, token_colours
from diffseg_ros.segmentation.normalized_cut import normalized_cut
from diffseg_ros.threads import one_blas_thread
import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
import torch

Labels = npt.NDArray[np.int32]
Photo = npt.NDArray[np.uint8]

NCUT_GRID = 24, 32
KMEANS_GRID = 48, 64


def grid(rgb: Photo) -> Labels:
    """Return (H, W) labels of 4x5 rectangles, whatever the (H, W, 3) photo shows."""
    return grid_labels(*rgb.shape[:2])


def lab_ncut(rgb: Photo, *, alpha: float = 10.0, tau: float = 0.7) -> Labels:
    """
    Return (H, W) labels of DiffCut's recursive normalised cut of colour and position.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    alpha
        Exponent of the cosine affinity.
    tau
        A segment is split while its best normalised cut costs less.

    """
    tokens = torch.from_numpy(_colour_and_position(rgb, *NCUT_GRID).T)
    affinity = feature_affinity(tokens, alpha).numpy()
    with one_blas_thread():
        return _to_pixels(normalized_cut(affinity, tau), NCUT_GRID, rgb)


def lab_kmeans(rgb: Photo, *, clusters: int = 6, seed: int = 0) -> Labels:
    """
    Return (H, W) labels of k-means (k-means++ start) on colour and position.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    clusters
        Number of segments.
    seed
        Of the start; the same seed gives the same labels.

    """
    points = _colour_and_position(rgb, *KMEANS_GRID).astype(np.float64)
    _, labels = kmeans2(points, clusters, iter=30, minit='++', seed=seed, missing='warn')
    return _to_pixels(labels, KMEANS_GRID, rgb)


def felzenszwalb(rgb: Photo, *, scale: float = 800.0, sigma: float = 0.8) -> Labels:
    """
    Return (H, W) labels of graph-based segmentation (Felzenszwalb and Huttenlocher, 2004).

    Segments are at least a 300th of the image.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    scale
        Higher gives larger segments.
    sigma
        Smoothing in pixels beforehand.

    Raises
    ------
    DiffsegError
        scikit-image is not installed.

    """
    try:
        from skimage import segmentation
    except ImportError as error:
        raise DiffsegError('baseline felzenszwalb: scikit-image is not installed; run: '
                           'pip install scikit-image') from error
    smallest = rgb.shape[0] * rgb.shape[1] // 300
    labels = segmentation.felzenszwalb(rgb, scale=scale, sigma=sigma, min_size=smallest)
    return labels.astype(np.int32)


CLASSICAL: dict[str, Callable[[Photo], Labels]] = {
    'grid': grid, 'lab_ncut': lab_ncut, 'lab_kmeans': lab_kmeans, 'felzenszwalb': felzenszwalb}
"""Baselines that need nothing but the photo, by name."""


def write_random_weights(folder: Path, photos: Sequence[Photo] = (), seed: int = 0) -> None:
    """
    Write the embedded model, randomly initialised, as `backbone.model` takes it.

    With photos its features are whitened like the trained model's, which training has no part in.

    Parameters
    ----------
    folder
        Created where it is absent.
    photos
        (H, W, 3) uint8 each, for fitting the whitening.
    seed
        The same seed gives the same weights.

    """
    from diffseg_ros.training.checkpoint import save_weights
    from diffseg_ros.training.model import create_unet
    from diffseg_ros.training.whitening import write_whitening
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        save_weights(create_unet(), folder)
    if photos:
        write_whitening(folder, photos, torch.device('cpu'))


def _colour_and_position(rgb: Photo, height: int, width: int) -> npt.NDArray[np.float32]:
    """Return (height * width, 5) float32, one row a cell."""
    y, x = (np.mgrid[:height, :width].astype(np.float32) + 0.5)
    position = np.stack([x.ravel() / width, y.ravel() / height], axis=1) - np.float32(0.5)
    return np.concatenate([token_colours(rgb, height, width), position], axis=1)


def _to_pixels(labels: npt.NDArray[np.integer], cells: tuple[int, int], rgb: Photo) -> Labels:
    """Return the cells' labels at the size of the photo."""
    image = labels.reshape(cells).astype(np.int16)
    size = rgb.shape[1], rgb.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
