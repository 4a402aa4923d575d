"""A model is tried when it is loaded: dead weights and a precision that spoils them are seen."""

from __future__ import annotations

import gc
from pathlib import Path

from diffseg_ros.backbones import latent, self_test
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.self_test import check_features
from diffseg_ros.backbones.unet import UnetBackbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_pipelines import FAMILIES, save_pixel
import torch

IMAGE = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Write a small pipeline."""
    torch.manual_seed(0)
    FAMILIES['sd1'][0](tmp_path / 'model')
    return tmp_path / 'model'


def config(path: Path, precision: str = 'float32') -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(model=str(path), device='cpu', tokens=48, precision=precision)


def scale(file: Path, factors: dict[str, float]) -> None:
    """Multiply the weights whose names contain a text."""
    tensors = load_file(file)
    for part, factor in factors.items():
        tensors |= {key: value * factor for key, value in tensors.items() if part in key}
    save_file(tensors, file)


def spoil(folder: Path) -> None:
    """Give the U-Net values that float16 can hardly tell from 0, though the output is normal."""
    scale(folder / 'unet/diffusion_pytorch_model.safetensors',
          {'attn1.to_v.weight': 3e-7, 'attn1.to_out.0.weight': 1e4, 'attn1.to_out.0.bias': 0.0})


def test_dead_latent_model_is_refused(folder: Path) -> None:
    scale(folder / 'unet/diffusion_pytorch_model.safetensors', {'attn1.to_v': 0.0})
    with pytest.raises(DiffsegError, match='model model: block .*attn1 gives the same feature '
                                           'everywhere; its weights are damaged or empty'):
        load_backbone(config(folder))


def test_dead_pixel_model_is_refused(tmp_path: Path) -> None:
    save_pixel(tmp_path)
    scale(tmp_path / 'diffusion_pytorch_model.fp16.safetensors', {'': 0.0})
    with pytest.raises(DiffsegError, match='gives the same feature everywhere'):
        load_backbone(config(tmp_path))


def test_infinite_weights_are_refused_while_loading(folder: Path) -> None:
    scale(folder / 'unet/diffusion_pytorch_model.safetensors', {'conv_in.weight': torch.inf})
    with pytest.raises(DiffsegError, match='NaN or infinite features in float32; the weights'):
        load_backbone(config(folder))


def test_precision_that_spoils_the_features_is_refused(folder: Path) -> None:
    spoil(folder)
    with pytest.raises(DiffsegError, match=r'features in float16 have only cosine 0\.\d+ to '
                                           'those in float32, .* set backbone.precision to bf'):
        load_backbone(config(folder, 'float16'))
    for precision in ('bfloat16', 'float32'):
        assert load_backbone(config(folder, precision)).features(IMAGE).shape[1:] == (6, 8)


def test_precisions_are_not_compared_without_memory(folder: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(folder)
    monkeypatch.setattr(self_test, '_fits_in_float32', lambda _: False)
    backbone = load_backbone(config(folder, 'float16'))
    monkeypatch.undo()

    def out_of_memory() -> UnetBackbone:
        raise torch.OutOfMemoryError

    check_features(backbone, torch.float16, out_of_memory)


def test_only_one_precision_stays_and_the_prompt_is_embedded_once(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = latent.load_text_encoder

    def counted(pipeline: latent.PipelineFolder, name: str) -> torch.nn.Module:
        read.append(name)
        return load(pipeline, name)

    monkeypatch.setattr(latent, 'load_text_encoder', counted)
    backbone = load_backbone(config(folder, 'bfloat16'))
    assert read == ['text_encoder']
    alive = [item for item in gc.get_objects() if isinstance(item, UnetBackbone)]
    assert alive == [backbone]


def test_the_test_leaves_no_trace(folder: Path) -> None:
    backbone = load_backbone(config(folder))
    expected = backbone.features(IMAGE)
    check_features(backbone, torch.float32, lambda: backbone)
    assert torch.equal(backbone.features(IMAGE), expected)
