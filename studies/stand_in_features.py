"""
Features that know the truth, to choose settings for Stable Diffusion where it is not at hand.

A token's feature is the sum of codes of the true labels in it, blurred; of its colour; of one
vector that all tokens share, as those of a U-Net do; and of smooth noise.

`python -m studies.stand_in_features MASK_SET...` prints what the settings that suit each kind of
model give on two photos of each set: mean IoU of a photo's regions @ segments. The rows are the
kinds (`backbone.model` alone is set), the columns methods (`segmentation.method` is set too, or
alone for `embedded`, whose own features are used).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from diffseg_ros.backbones.base import observe
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.preprocess import choose_grid
from diffseg_ros.config import PipelineConfig
from diffseg_ros.evaluation.datasets import IGNORED_CLASS, MaskDataset, Truth
from diffseg_ros.evaluation.masks import region_miou
from diffseg_ros.model_defaults import EMBEDDED, model_defaults, SD1, SD2, SDXL
from diffseg_ros.pipeline import create_method
from diffseg_ros.registry import segmentation_methods
from diffseg_ros.segmentation.affinity import token_colours
from diffseg_ros.threads import one_blas_thread
from diffseg_ros.types import Frame, RgbImage
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
import torch
from torch.nn import functional

CHANNELS = 256
TOKENS = 768
_SHARPNESS = 10.0

MODELS = EMBEDDED, SD1, SD2, SDXL

Observed = Sequence[tuple[torch.Tensor, Sequence[torch.Tensor] | None]]
Grid = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Strength:
    """How blurred the truth is, in tokens, and the length of colour, common part and noise."""

    blur: float
    colour: float
    common: float
    noise: float


STRENGTHS = {'very strong': Strength(0.6, 0.35, 0.8, 0.3), 'medium': Strength(0.8, 0.7, 1.0, 0.8)}


def label_shares(truth: Truth, height: int, width: int) -> tuple[Truth, Grid]:
    """Return the (K,) labels of a truth, and the (K, height, width) share of each in a token."""
    labels, index = np.unique(truth, return_inverse=True)
    one_hot = functional.one_hot(torch.from_numpy(index.reshape(truth.shape))).permute(2, 0, 1)
    return labels, functional.adaptive_avg_pool2d(one_hot.double(), (height, width)).numpy()


def stand_in_features(rgb: RgbImage, truth: Truth, strength: Strength, seed: int = 0,
                      tokens: int = TOKENS, multiple: int = 1) -> torch.Tensor:
    """Return (256, h, w) float32 features of an image whose (H, W) labels are known."""
    random = np.random.default_rng(seed)
    height, width = choose_grid(truth.shape[0], truth.shape[1], tokens, multiple)
    labels, shares = label_shares(truth, height, width)
    shares = gaussian_filter(shares, (0, strength.blur, strength.blur))
    grid = np.einsum('khw,kc->chw', shares, _codes(random, len(labels)))
    grid += strength.colour * _colour_codes(random, token_colours(rgb, height, width)
                                            ).T.reshape(CHANNELS, height, width)
    grid += strength.common * _codes(random, 1).T[..., None]
    noise = gaussian_filter(random.normal(size=grid.shape), (0, 1, 1))
    grid += strength.noise * noise / noise.std() / np.sqrt(CHANNELS)
    return torch.from_numpy(grid).float()


def stand_in_attention(rgb: RgbImage, truth: Truth, strength: Strength, seed: int = 0,
                       tokens: int = 4096) -> tuple[torch.Tensor, ...]:
    """
    Return (h, w, h, w) attention maps at four resolutions, made of such features.

    A token attends to others as the softmax of 10 times the cosine of their centred features.
    """
    features = stand_in_features(rgb, truth, strength, seed, tokens, 8)
    maps = []
    for factor in (1, 2, 4, 8):
        grid = functional.avg_pool2d(features, factor)
        grid = functional.normalize(grid - grid.mean(dim=(1, 2), keepdim=True), dim=0)
        unit = grid.flatten(1)
        attention = torch.softmax(_SHARPNESS * unit.T @ unit, dim=1)
        maps.append(attention.unflatten(1, grid.shape[1:]).unflatten(0, grid.shape[1:]))
    return tuple(maps)


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


def score(kind: str, method: str, photos: Sequence[tuple[str, Frame, Truth]],
          observed: Observed) -> str:
    """Return mean IoU @ segments of a method with all settings left open."""
    settings = PipelineConfig().segmentation.replace(method=method)
    scores, counts = [], []
    for (_, frame, truth), (features, attention) in zip(photos, observed, strict=True):
        with one_blas_thread():
            labels = create_method(settings, kind).segment(frame, features, None,
                                                           attention).labels
        scores.append(region_miou(labels, truth, ignored=IGNORED_CLASS))
        counts.append(len(np.unique(labels)))
    return f'{np.mean(scores):.3f} @ {np.mean(counts):.1f}'


def observe_photos(kind: str, method: str, photos: Sequence[tuple[str, Frame, Truth]],
                   strength: str) -> Observed:
    """Return features and, for diffseg, attention, as a model of a kind would give them."""
    attends = method == 'diffseg'
    if kind == EMBEDDED:
        backbone = load_backbone(PipelineConfig().backbone, attention=attends)
        return [observe(backbone, frame.rgb, attention=attends) for _, frame, _ in photos]
    values, tokens = STRENGTHS[strength], model_defaults(kind, method)['backbone.tokens']
    return [(stand_in_features(frame.rgb, truth, values, number, tokens),
             stand_in_attention(frame.rgb, truth, values, number) if attends else None)
            for number, (_, frame, truth) in enumerate(photos)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line a kind and strength."""
    parser = argparse.ArgumentParser('python -m studies.stand_in_features', description=__doc__)
    parser.add_argument('datasets', nargs='+', type=Path, metavar='MASK_SET')
    photos = list(ten_photos(parser.parse_args(arguments).datasets))
    methods = 'auto', *segmentation_methods.names()
    print('| model | features |', ' | '.join(methods), '|')
    print('|---' * (len(methods) + 2) + '|')
    for kind in MODELS:
        for strength in ('its own',) if kind == EMBEDDED else tuple(STRENGTHS):
            cells = (score(kind, method, photos, observe_photos(kind, method, photos, strength))
                     for method in methods)
            print(f'| {kind} | {strength} |', ' | '.join(cells), '|', flush=True)


if __name__ == '__main__':
    main()
