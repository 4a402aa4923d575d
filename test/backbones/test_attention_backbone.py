"""Backbones that give attention maps beside their features."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.backbones.base import AttentionBackbone, observe
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import numpy.typing as npt
import pytest
from tiny_pipelines import FAMILIES
import torch

PHOTO = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def config(path: Path | str, **options: object) -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(**{'model': str(path), 'device': 'cpu', 'tokens': 48, **options})


@pytest.mark.parametrize('family', ['sd1', 'sd2', 'ssd', 'bk_small'])
def test_families_from_disk(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    FAMILIES[family][0](tmp_path / family)
    backbone = load_backbone(config(tmp_path / family, noise=False, timestep=300),
                             attention=True)
    assert isinstance(backbone, AttentionBackbone)
    features, maps = observe(backbone, PHOTO, attention=True)
    assert features.shape[1:] == (6, 8) and torch.equal(features, backbone.features(PHOTO))
    cells = [item.shape[:2] for item in maps]
    assert cells == sorted(cells, reverse=True)
    assert cells[0] == ((12, 16) if family == 'ssd' else (24, 32))
    for item in maps:
        torch.testing.assert_close(item.sum(dim=(2, 3)), torch.ones(item.shape[:2]))
    again = backbone.features_and_attention(PHOTO)[1]
    assert all(torch.equal(one, other) for one, other in zip(maps, again, strict=True))
    maps[0].add_(1)


def test_embedded_model_has_attention_too() -> None:
    backbone = load_backbone(BackboneConfig(device='cpu', tokens=192), attention=True)
    features, maps = backbone.features_and_attention(PHOTO)
    plain = load_backbone(BackboneConfig(device='cpu', tokens=192))
    assert [item.shape[:2] for item in maps] == [(12, 16), (6, 8)]
    torch.testing.assert_close(features, plain.features(PHOTO), rtol=1e-4, atol=1e-5)
    with pytest.raises(DiffsegError, match='loaded without attention'):
        plain.features_and_attention(PHOTO)


class _Plain:
    name, device = 'plain', torch.device('cpu')

    def features(self, rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
        return torch.ones(2, 3, 4)


def test_backbone_without_attention_is_refused_by_name() -> None:
    assert observe(_Plain(), PHOTO, attention=False)[1] is None
    with pytest.raises(DiffsegError, match='model plain: gives no attention maps'):
        observe(_Plain(), PHOTO, attention=True)


def test_noise_can_be_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    FAMILIES['sd1'][0](tmp_path / 'sd1')
    noisy, clean = (load_backbone(config(tmp_path / 'sd1', noise=noise, seed=seed))
                    .features(PHOTO) for noise, seed in ((True, 0), (False, 0)))
    other = load_backbone(config(tmp_path / 'sd1', noise=False, seed=1)).features(PHOTO)
    assert torch.equal(clean, other) and not torch.equal(clean, noisy)
