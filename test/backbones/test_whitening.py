"""Whitening: fitted on features of known covariance, on disk, and in a backbone."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.whitening import (
    fit_whitening,
    load_whitening,
    save_whitening,
    whiten,
    WHITENING_FILE,
)
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.checkpoint import write_whitening
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from tiny_pipelines import save_pixel
import torch

BLOCK = 'down_blocks.1.attentions.0'
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)


def grids(seed: int, channels: int = 12, count: int = 4) -> list[torch.Tensor]:
    """Return features whose channels are correlated and of very different variance."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, channels, generator=generator)
    mixing *= torch.logspace(0, -2, channels)
    return [(mixing @ torch.randn(channels, 150, generator=generator) + 5).unflatten(1, (10, 15))
            for _ in range(count)]


def covariance(features: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean second moment of the grids' tokens."""
    return sum(grid.flatten(1) @ grid.flatten(1).T / grid[0].numel()
               for grid in features) / len(features)


@settings(max_examples=20, deadline=None)
@given(strategies.integers(0, 1000), strategies.integers(1, 12))
def test_fitted_features_become_white(seed: int, components: int) -> None:
    features = grids(seed)
    matrix = fit_whitening(features, components)
    white = [whiten(grid, matrix) for grid in features]
    assert matrix.shape == (components, 12) and white[0].shape == (components, 10, 15)
    torch.testing.assert_close(covariance(white), torch.eye(components), atol=0.02, rtol=0)


def test_the_directions_of_most_variance_are_kept() -> None:
    features = grids(0)
    few, all_of_them = fit_whitening(features, 3), fit_whitening(features, 12)
    torch.testing.assert_close(few, all_of_them[:3])
    assert all((row[row.abs().argmax()] > 0) for row in all_of_them)


def test_directions_without_variance_are_left_out() -> None:
    features = [torch.cat([grid[:3], grid[:1] * 2, torch.full_like(grid[:1], 7.0)])
                for grid in grids(2)]
    assert fit_whitening(features).shape == (3, 5)


def test_a_token_of_nothing_stays_nothing() -> None:
    matrix = fit_whitening(grids(0))
    assert not whiten(torch.full((12, 4, 4), 3.0), matrix).any()


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(DiffsegError, match='whitening: no features'):
        fit_whitening([])
    with pytest.raises(DiffsegError, match='whitening: the features are the same everywhere'):
        fit_whitening([torch.ones(4, 5, 5)])


def test_the_file_is_for_its_block_only(tmp_path: Path) -> None:
    assert load_whitening(tmp_path, BLOCK, 12) is None
    matrix = fit_whitening(grids(0))
    save_whitening(tmp_path, BLOCK, matrix)
    assert load_whitening(tmp_path, 'mid_block.attentions.0', 12) is None
    found = load_whitening(tmp_path, BLOCK, 12)
    assert found is not None and torch.equal(found, matrix)
    with pytest.raises(DiffsegError, match='for features of 12 channels, .* has 32'):
        load_whitening(tmp_path, BLOCK, 32)
    (tmp_path / WHITENING_FILE).write_bytes(b'no tensors')
    with pytest.raises(DiffsegError, match=r'whitening\.safetensors: damaged'):
        load_whitening(tmp_path, BLOCK, 12)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Write a small random model with its whitening matrix."""
    torch.manual_seed(0)
    save_pixel(tmp_path / 'weights')
    write_whitening(tmp_path / 'weights', IMAGES, torch.device('cpu'))
    return tmp_path / 'weights'


def test_a_backbone_whitens_unless_told_not_to(folder: Path) -> None:
    config = BackboneConfig(model=str(folder), device='cpu', tokens=192)
    raw = load_backbone(BackboneConfig(model=str(folder), device='cpu', tokens=192,
                                       whiten=False)).features(IMAGES[0])
    matrix = load_whitening(folder, BLOCK, 32)
    assert matrix is not None and raw.shape[0] == 32
    features = load_backbone(config).features(IMAGES[0])
    torch.testing.assert_close(features, whiten(raw, matrix))
    assert features.shape[0] == 32


def test_another_block_is_left_as_it_is(folder: Path) -> None:
    config = BackboneConfig(model=str(folder), device='cpu', tokens=192,
                            block='mid_block.attentions.0')
    assert load_backbone(config).features(IMAGES[0]).shape[0] == 32


def test_the_fit_repeats(folder: Path) -> None:
    first = (folder / WHITENING_FILE).read_bytes()
    write_whitening(folder, IMAGES, torch.device('cpu'))
    assert (folder / WHITENING_FILE).read_bytes() == first
