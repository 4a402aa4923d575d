"""Quantised weights are refused in one line, whatever made them; plain 8-bit floats are read."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shutil

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_pipelines import FAMILIES, save_pixel
import torch

IMAGE = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
UNET = 'unet/diffusion_pytorch_model.safetensors'
VAE = 'vae/diffusion_pytorch_model.safetensors'
TEXT = 'text_encoder/model.safetensors'
LINEAR = ('to_q.weight', 'to_k.weight', 'q_proj.weight')

Tensors = dict[str, torch.Tensor]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Write a small pipeline."""
    torch.manual_seed(0)
    FAMILIES['sd1'][0](tmp_path / 'model')
    return tmp_path / 'model'


def config(path: Path) -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(model=str(path), device='cpu', tokens=48)


def rewrite(file: Path, change: Callable[[str, torch.Tensor], Tensors]) -> None:
    """Replace the tensors of linear layers in a file."""
    tensors: Tensors = {}
    for key, value in load_file(file).items():
        tensors |= change(key, value) if key.endswith(LINEAR) else {key: value}
    save_file(tensors, file)


def int8(key: str, value: torch.Tensor) -> Tensors:
    """Return what bitsandbytes writes for a layer in 8 bits."""
    scale = value.abs().amax(dim=1)
    return {key: (value * 127 / scale[:, None]).round().to(torch.int8),
            key.replace('weight', 'SCB'): scale,
            key.replace('weight', 'weight_format'): torch.tensor(0, dtype=torch.uint8)}


def nf4(key: str, value: torch.Tensor) -> Tensors:
    """Return what bitsandbytes writes for a layer in 4 bits."""
    return {key: torch.zeros(value.numel() // 2, 1, dtype=torch.uint8),
            f'{key}.absmax': torch.ones(value.numel() // 64, dtype=torch.uint8),
            f'{key}.quant_map': torch.zeros(16),
            f'{key}.quant_state.bitsandbytes__nf4': torch.zeros(9, dtype=torch.uint8)}


def bare_int8(key: str, value: torch.Tensor) -> Tensors:
    """Return integers without their scale."""
    return {key: int8(key, value)[key]}


def scaled_fp8(key: str, value: torch.Tensor) -> Tensors:
    """Return 8-bit floats that need a scale."""
    return {key: (value * 100).to(torch.float8_e4m3fn),
            key.replace('weight', 'weight_scale'): torch.tensor(0.01)}


@pytest.mark.parametrize('file', [UNET, VAE, TEXT])
@pytest.mark.parametrize('method', [int8, nf4, bare_int8, scaled_fp8])
def test_quantised_tensors_are_refused(method: Callable[[str, torch.Tensor], Tensors], file: str,
                                       folder: Path) -> None:
    rewrite(folder / file, method)
    with pytest.raises(DiffsegError) as error:
        load_backbone(config(folder))
    message = str(error.value)
    assert f'weights {folder / file}: quantised (' in message and '\n' not in message
    assert 'use the same model with float32, float16 or bfloat16 weights' in message


@pytest.mark.parametrize('component', ['unet', 'vae', 'text_encoder'])
def test_quantised_configuration_is_refused(component: str, folder: Path) -> None:
    file = folder / component / 'config.json'
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, 'quantization_config': {'quant_method': 'torchao'}}))
    with pytest.raises(DiffsegError, match=f'its {component} is quantised with torchao .* use the'):
        load_backbone(config(folder))


def test_gguf_in_a_folder_is_refused(folder: Path) -> None:
    (folder / UNET).unlink()
    (folder / 'unet/model-Q4_0.gguf').write_bytes(b'GGUF')
    with pytest.raises(DiffsegError, match=r'only GGUF \(model-Q4_0.gguf\); quantised weights'):
        load_backbone(config(folder))


def test_quantised_pixel_model_is_refused(tmp_path: Path) -> None:
    save_pixel(tmp_path)
    rewrite(tmp_path / 'diffusion_pytorch_model.fp16.safetensors', int8)
    with pytest.raises(DiffsegError, match=r'quantised \('):
        load_backbone(config(tmp_path))


def test_plain_eight_bit_floats_are_converted(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / 'eight')
    for file in (UNET, VAE, TEXT):
        rounded = {key: value.to(torch.float8_e4m3fn)
                   for key, value in load_file(folder / file).items()}
        save_file(rounded, copy / file)
        save_file({key: value.float() for key, value in rounded.items()}, folder / file)
    assert torch.equal(load_backbone(config(copy)).features(IMAGE),
                       load_backbone(config(folder)).features(IMAGE))
