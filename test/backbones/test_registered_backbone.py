"""Backbones of other packages: made with their own settings, asked for what they have."""

from __future__ import annotations

from diffseg_ros.backbones.base import BackboneSettings, observe
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.errors import DiffsegError
from diffseg_ros.registry import backbones, register_backbone
from diffseg_ros.settings import setting, Settings
from diffseg_ros.types import RgbImage
import numpy as np
from pydantic import create_model
import pytest
import torch

IMAGE = np.zeros((12, 16, 3), np.uint8)


class EvenSettings(Settings):
    """Settings of a backbone for which all pixels are alike."""

    value: float = setting(1.0, 'value of all features', 0.0, 10.0, live=False)


class Even:
    """A backbone for which all pixels are alike."""

    name, device = 'even', torch.device('cpu')

    def __init__(self, settings: EvenSettings | None, config: BackboneSettings) -> None:
        self.value = settings.value if settings else config.tokens

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return (2, 3, 4) features."""
        return torch.full((2, 3, 4), float(self.value))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the backbone with and without settings, until the end of a test."""
    backbones.names()
    monkeypatch.setattr(backbones, '_entries', dict(backbones._entries))
    register_backbone('even', EvenSettings)(Even)
    register_backbone('bare')(Even)


def test_a_registered_backbone_is_made_with_its_own_settings() -> None:
    config = create_model('Config', __base__=BackboneSettings, even=(EvenSettings, EvenSettings()))
    chosen = config(model='even', even=EvenSettings(value=7.0))
    assert load_backbone(chosen).features(IMAGE).unique().tolist() == [7.0]
    bare = load_backbone(BackboneSettings(model='bare', tokens=48))
    assert bare.features(IMAGE).unique().tolist() == [48.0]


def test_an_unknown_name_lists_those_that_are_registered() -> None:
    with pytest.raises(DiffsegError, match="model 'odd': no such folder; give embedded, .*even"):
        load_backbone(BackboneSettings(model='odd'))


def test_a_backbone_without_attention_is_refused_by_name() -> None:
    backbone = load_backbone(BackboneSettings(model='bare'))
    assert observe(backbone, IMAGE, attention=False)[1] is None
    with pytest.raises(DiffsegError, match='model even: it has no attention maps'):
        observe(backbone, IMAGE, attention=True)
