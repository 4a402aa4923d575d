"""
DiffCut and DiffSeg step by step as published, and how many pixels `config/*.yaml` label alike.

`python -m studies.as_published MASK_SET...` prints the published number of segments and the share
of pixels labelled alike, on two photos of each set, with features and attention in place of a
model's: all that follows the model is checked. DiffSeg takes a minute or two a photo.

Two quirks of the published code are not imitated. DiffCut drops every token with an affinity of
exactly zero from all cuts below the first (1 to 4 of 1024: the least affinity is stretched to
zero), so that they join the part that is assembled last. DiffSeg casts its first distances to
float16, in which long-tailed maps become NaN and are dropped. Besides, DiffCut takes every eighth
pixel of the image for PAMR, which is the mean of 8x8 here and in the package; and its last step,
the median of 3x3 label numbers, depends on how segments are numbered: here by their first token.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
from diffseg_ros.geometry.label_images import renumber
from diffseg_ros.parameter_file import pipeline_config_from_file
from diffseg_ros.pipeline import create_method
from diffseg_ros.segmentation.affinity import feature_affinity
from diffseg_ros.segmentation.attention import anchor_tokens
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
import torch

from studies.reference_cut import reference_cut
from studies.reference_merging import (
    reference_aggregation,
    reference_labels,
    reference_merging,
)
from studies.stand_in_features import stand_in_attention, stand_in_features, STRENGTHS, ten_photos

CONFIG = Path(__file__).resolve().parents[1] / 'config'
DIFFCUT_TOKENS, DIFFCUT_PIXELS = 32, 128
DIFFSEG_TOKENS, DIFFSEG_PIXELS = 64, 512

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]


def diffcut_labels(features: Array, rgb: RgbImage) -> Labels:
    """
    Return DiffCut's (128, 128) labels of (C, 32, 32) features and a (128, 128, 3) image.

    Source: Couairon et al., NeurIPS 2024, with the values of its evaluation with refinement.
    """
    unit = features / np.linalg.norm(features, axis=0)
    affinity = feature_affinity(torch.from_numpy(features).flatten(1), 10.0).numpy()
    tokens = renumber(reference_cut(affinity, 0.5)).reshape(unit.shape[1:])
    means = [unit[:, tokens == label].mean(axis=1) for label in range(tokens.max() + 1)]
    large = np.stack([cv2.resize(channel, (rgb.shape[1], rgb.shape[0]),
                                 interpolation=cv2.INTER_LINEAR) for channel in unit])
    labels = np.argmax([np.einsum('c,chw->hw', mean, large) for mean in means], axis=0)
    masks = np.stack([labels == label for label in np.unique(labels)]).astype(np.float64)
    refined = pamr_by_loops(rgb / 255, masks, 10, (1, 2, 4, 8))
    return median_filter(refined.argmax(axis=0), 3)


def pamr_by_loops(image: Array, masks: Array, iterations: int,
                  dilations: Sequence[int]) -> Array:
    """
    Return (K, H, W) masks refined along an (H, W, 3) image's edges, neighbour by neighbour.

    Source: Araslanov and Roth, CVPR 2020.
    """
    offsets = [(y * step, x * step) for step in dilations
               for y in (-1, 0, 1) for x in (-1, 0, 1)]
    around = [(y, x) for y, x in offsets if y or x]
    channels = image.transpose(2, 0, 1)
    spread = np.std([_moved(channels, *offset) for offset in offsets], axis=0, ddof=1)
    distances = [(abs(_moved(channels, *offset) - channels) / (1e-8 + 0.1 * spread)).mean(axis=0)
                 for offset in around]
    weights = softmax(-np.array(distances), axis=0)
    for _ in range(iterations):
        masks = sum(weight * _moved(masks, *offset)
                    for weight, offset in zip(weights, around, strict=True))
    return masks


def _moved(maps: Array, down: int, right: int) -> Array:
    """Return (C, H, W) maps in which each pixel has the value of one neighbour."""
    height, width = maps.shape[1:]
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + right, 0, width - 1)
    return maps[:, rows[:, None], columns]


def diffseg_labels(maps: Sequence[Array], pixels: int = DIFFSEG_PIXELS) -> Labels:
    """
    Return DiffSeg's (pixels, pixels) labels of (n, n, n, n) attention maps, the finest first.

    Source: Tian et al., CVPR 2024, with a threshold of 1.
    """
    merged = reference_aggregation(maps)
    side = len(merged)
    proposals = reference_merging(merged.reshape(side**2, side**2),
                                  anchor_tokens(side, side, 16), 1.0)
    return reference_labels(proposals.reshape(-1, side, side), pixels, pixels)


def agreement(one: Labels, other: Labels) -> float:
    """Return the share of pixels alike once segments are matched one to one."""
    table = np.zeros((one.max() + 1, other.max() + 1), np.int64)
    np.add.at(table, (one.ravel(), other.ravel()), 1)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / one.size)


def configured_labels(name: str, rgb: RgbImage, features: torch.Tensor,
                      attention: Sequence[torch.Tensor] | None = None) -> Labels:
    """Return the labels that the settings of `config/NAME.yaml` give."""
    settings = pipeline_config_from_file(CONFIG / f'{name}.yaml').segmentation
    with one_blas_thread():
        return create_method(settings, 'sdxl').segment(Frame(rgb), features, None,
                                                       attention).labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a photo."""
    parser = argparse.ArgumentParser('python -m studies.as_published', description=__doc__)
    parser.add_argument('datasets', nargs='+', type=Path, metavar='MASK_SET')
    options = parser.parse_args(arguments)
    print('| photo |', ' | '.join(f'DiffCut, {name} features' for name in STRENGTHS),
          '| DiffSeg |\n' + '|---' * (2 + len(STRENGTHS)) + '|')
    for number, (name, frame, truth) in enumerate(ten_photos(options.datasets)):
        square = cv2.resize(truth, (1024, 1024), interpolation=cv2.INTER_NEAREST)
        photo = cv2.resize(frame.rgb, (1024, 1024), interpolation=cv2.INTER_LINEAR)
        small, large = (cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
                        for side in (DIFFCUT_PIXELS, DIFFSEG_PIXELS))
        pairs = []
        for values in STRENGTHS.values():
            features = stand_in_features(photo, square, values, number, DIFFCUT_TOKENS**2)
            pairs.append((diffcut_labels(features.double().numpy(), small),
                          configured_labels('diffcut', small, features)))
        maps = stand_in_attention(photo, square, values, number, DIFFSEG_TOKENS**2)
        pairs.append((diffseg_labels([item.double().numpy() for item in maps]),
                      configured_labels('diffseg', large, torch.ones(1, 32, 32), maps)))
        cells = (f'{len(np.unique(published))}, {agreement(published, ours):.3%}'
                 for published, ours in pairs)
        print('|', ' | '.join((name, *cells)), '|', flush=True)


if __name__ == '__main__':
    main()
