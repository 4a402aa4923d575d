"""
Features that know the truth, as strong as Stable Diffusion's are said to be, where none is at hand.

A token's feature is the sum of codes of the true labels in it, blurred; of its colour; of one
vector that all tokens share, as those of a U-Net do; and of smooth noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from diffseg_ros.backbones.preprocess import choose_grid
from diffseg_ros.evaluation.datasets import MaskDataset, Truth
from diffseg_ros.segmentation.affinity import token_colours
from diffseg_ros.types import Frame, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
import torch
from torch.nn import functional

CHANNELS = 256
TOKENS = 768

Grid = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strength:
    """How blurred the truth is, in tokens, and the length of colour, common part and noise."""

    blur: float
    colour: float
    common: float
    noise: float


STRENGTHS = {'very strong': Strength(0.6, 0.35, 0.8, 0.3), 'medium': Strength(0.8, 0.7, 1.0, 0.8)}


def stand_in_features(rgb: RgbImage, truth: Truth, strength: Strength,
                      seed: int = 0) -> torch.Tensor:
    """Return (256, h, w) float32 features of an image whose (H, W) labels are known."""
    random = np.random.default_rng(seed)
    height, width = choose_grid(*truth.shape, TOKENS)
    labels, index = np.unique(truth, return_inverse=True)
    one_hot = functional.one_hot(torch.from_numpy(index.reshape(truth.shape))).permute(2, 0, 1)
    shares = functional.adaptive_avg_pool2d(one_hot.double(), (height, width)).numpy()
    shares = gaussian_filter(shares, (0, strength.blur, strength.blur))
    grid = np.einsum('khw,kc->chw', shares, _codes(random, len(labels)))
    grid += strength.colour * _colour_codes(random, token_colours(rgb, height, width)
                                            ).T.reshape(CHANNELS, height, width)
    grid += strength.common * _codes(random, 1).T[..., None]
    noise = gaussian_filter(random.normal(size=grid.shape), (0, 1, 1))
    grid += strength.noise * noise / noise.std() / np.sqrt(CHANNELS)
    return torch.from_numpy(grid).float()


def _codes(random: np.random.Generator, count: int) -> Grid:
    """Return (count, 256) random vectors, of length 1 in the mean."""
    return random.normal(size=(count, CHANNELS)) / np.sqrt(CHANNELS)


def _colour_codes(random: np.random.Generator, lab: npt.NDArray[np.float32]) -> Grid:
    """Return (n, 256) random Fourier features of (n, 3) colours, of length 1 in the mean."""
    waves = random.normal(size=(3, CHANNELS))
    phases = random.uniform(0, 2 * np.pi, CHANNELS)
    return np.sqrt(2 / CHANNELS) * np.cos(3 * lab.astype(np.float64) @ waves + phases)


def ten_photos(folders: Sequence[Path]) -> Iterator[tuple[str, Frame, Truth]]:
    """Yield two photos of each mask set, without depth: the third and one past the middle."""
    for folder in folders:
        dataset = MaskDataset(folder)
        for number in (2, len(dataset) // 2 + 2):
            name, frame, truth = next(islice(dataset, number, None))
            yield f'{dataset.name}/{name}', Frame(frame.rgb), truth
