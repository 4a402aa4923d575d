"""From soft segments on a coarse grid to one segment a pixel, along the photo's edges."""

from __future__ import annotations

import cv2
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.segmentation.band_refinement import sharpened
from diffseg_ros.segmentation.refinement import pamr
from diffseg_ros.segmentation.region_graph import region_graph
from diffseg_ros.segmentation.superpixels import gradient_basins, lab_image
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
import torch
from torch.nn import functional

_ROUNDS = 10
_COLOUR_SPREAD = 0.1

Pixels = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]


def refinement_grid(scores: torch.Tensor, shape: tuple[int, int],
                    config: SegmentationConfig) -> torch.Tensor:
    """Return (K, h, w) scores bilinearly on the grid that refinement works on."""
    height, width = shape
    grid_w = min(config.refinement_width, width)
    size = max(1, round(height * grid_w / width)), grid_w
    return functional.interpolate(scores[None], size, mode='bilinear', align_corners=False)[0]


def to_pixels(rgb: npt.NDArray[np.uint8], probability: torch.Tensor,
              config: SegmentationConfig) -> Pixels:
    """
    Return the best segment of every pixel and its margin to the second.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8.
    probability
        (K, h, w) float32 of the same view, from `refinement_grid`; sums over K are 1.
    config
        `refinement` chooses between PAMR, which spreads the probabilities of pixels along the
        photo's edges, and basins, which spreads those of small regions and then decides the
        pixels near borders anew.

    Returns
    -------
    tuple
        (H, W) int32 labels, 0 to K - 1, and (H, W) float32 margin from 0 to 1.

    """
    if config.refinement == 'basins':
        return _by_basins(rgb, probability.cpu().numpy(), config.refinement_width)
    height, width = probability.shape[1:]
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    image = torch.from_numpy(small).to(probability.device).permute(2, 0, 1).float() / 255
    refined = pamr(image, probability, config.refinement_iterations, config.refinement_dilations)
    return _enlarged(refined.cpu().numpy(), (rgb.shape[0], rgb.shape[1]))


def _by_basins(rgb: npt.NDArray[np.uint8], probability: npt.NDArray[np.float32],
               width: int) -> Pixels:
    """
    Let every basin of the photo choose, after a few rounds of listening to its neighbours.

    Each round mixes a basin's probabilities with its neighbours', by likeness of colour and
    length of the common border.
    """
    lab = lab_image(rgb, width)
    basins = gradient_basins(lab)
    graph = region_graph(lab, basins, probability)
    shares = graph.features / graph.size[:, None]
    means = graph.colour / graph.size[:, None]
    first, second = graph.edges.T
    weight = graph.length * np.exp(
        -np.linalg.norm(means[first] - means[second], axis=1) / _COLOUR_SPREAD)
    count = len(shares)
    ways = coo_matrix((np.tile(weight, 2), (np.r_[first, second], np.r_[second, first])),
                      shape=(count, count)).tocsr()
    around = np.bincount(graph.edges.ravel(), np.repeat(graph.length, 2), count)[:, None]
    step = 0.5 / np.maximum(around, 1)
    staying = 1 - step * np.asarray(ways.sum(axis=1)).reshape(-1, 1)
    for _ in range(_ROUNDS):
        shares = staying * shares + step * (ways @ shares)
    ahead = np.ones(count)
    if shares.shape[1] > 1:
        runner_up, best = np.partition(shares, -2, axis=1)[:, -2:].T
        ahead = best - runner_up
    labels, clear = sharpened(rgb, shares.argmax(axis=1).astype(np.int32)[basins])
    margin = cv2.resize(ahead.astype(np.float32)[basins], labels.shape[::-1],
                        interpolation=cv2.INTER_NEAREST)
    return labels, margin.clip(0, 1) * clear


def _enlarged(probability: npt.NDArray[np.float32], shape: tuple[int, int]) -> Pixels:
    """
    Return the best segment of every pixel, median-filtered, and its margin to the second.

    One map after the other stays in the cache; that is ten times faster on a CPU than
    upsampling all (K, H, W) and sorting.
    """
    best, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint16)
    for segment, small in enumerate(probability):
        current = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.maximum(second, np.minimum(current, best), out=second)
        labels[current > best] = segment
        np.maximum(best, current, out=best)
    return cv2.medianBlur(labels, 3).astype(np.int32), (best - second).clip(0, 1)
