"""DINOv2 and DINOv3 as transformers saves them: read, run, compared, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import re

from diffseg_ros.backbones.loader import load_backbone, model_kind
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_transformers import CHANNELS, FAMILIES, save_tiny
import torch
import transformers

GREY = np.full((70, 98, 3), 100, np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (70, 98, 3), np.uint8)


def config(model: Path | str, **options: object) -> BackboneConfig:
    """Return settings on the CPU, for as many tokens as a patch of 14 pixels has in the image."""
    return BackboneConfig(**{'model': str(model), 'device': 'cpu', 'tokens': 35, **options})


def refusal(model: Path | str, **options: object) -> str:
    """Return the one line with which loading ends."""
    with pytest.raises(DiffsegError) as error:
        load_backbone(config(model, **options))
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('family', FAMILIES)
def test_features_are_the_patch_tokens_of_transformers_own_model(family: str,
                                                                 tmp_path: Path) -> None:
    model = save_tiny(tmp_path / 'tiny', family)
    found = load_backbone(config(tmp_path / 'tiny'))
    patch = model.config.patch_size
    image = np.kron(NOISE[::14, ::14], np.ones((patch, patch, 1), np.uint8))
    assert image.shape == (5 * patch, 7 * patch, 3)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((image / 255 - mean) / std).astype(np.float32)).permute(2, 0, 1)
    with torch.no_grad():
        tokens = model(pixels[None]).last_hidden_state[0]
    # Whatever stands before the patches: the token of the class, and registers.
    expected = tokens[-35:].T.reshape(CHANNELS, 5, 7)
    features = found.features(image)
    assert (found.name, found.kind, features.dtype) == ('tiny', 'dino', torch.float32)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(features, found.features(image))


def test_tokens_left_open_are_those_of_the_kind_and_the_grid_has_the_images_shape(
        tmp_path: Path) -> None:
    save_tiny(tmp_path)
    assert model_kind(config(tmp_path)) == 'dino'
    assert load_backbone(config(tmp_path, tokens=0)).features(GREY).shape == (CHANNELS, 31, 44)


def test_colours_are_those_of_the_preprocessor(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    usual = load_backbone(config(tmp_path)).features(NOISE)
    file = tmp_path / 'preprocessor_config.json'
    file.write_text(json.dumps({'image_mean': [0.485, 0.456, 0.406],
                                'image_std': [0.229, 0.224, 0.225]}))
    assert torch.equal(load_backbone(config(tmp_path)).features(NOISE), usual)
    file.write_text(json.dumps({'image_mean': [0.5] * 3}))
    assert not torch.allclose(load_backbone(config(tmp_path)).features(NOISE), usual, atol=0.01)
    file.write_text(json.dumps({'image_std': [0.5] * 2}))
    assert re.search(r'image_std \[0.5, 0.5\]; three numbers each are needed', refusal(tmp_path))


def test_half_precision_and_its_variant(tmp_path: Path) -> None:
    model = save_tiny(tmp_path)
    full = load_backbone(config(tmp_path)).features(NOISE)
    (tmp_path / 'model.safetensors').unlink()
    model.half().save_pretrained(tmp_path, variant='fp16')
    half = load_backbone(config(tmp_path, precision='bfloat16')).features(NOISE)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(half.flatten(), full.flatten(), dim=0) > 0.99


def test_a_classifiers_head_is_left_out(tmp_path: Path) -> None:
    config_of = FAMILIES['dinov2'][1]
    transformers.Dinov2ForImageClassification(config_of).save_pretrained(tmp_path)
    assert load_backbone(config(tmp_path)).features(NOISE).shape == (CHANNELS, 5, 7)


def without_a_tensor(folder: Path) -> None:
    """Leave one layer's weights out."""
    tensors = load_file(folder / 'model.safetensors')
    del tensors['encoder.layer.1.mlp.fc1.weight']
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


def all_zero(folder: Path) -> None:
    """Write weights that say nothing."""
    tensors = load_file(folder / 'model.safetensors')
    save_file({key: torch.zeros_like(value) for key, value in tensors.items()},
              folder / 'model.safetensors', {'format': 'pt'})


def rewrite(**values: object) -> Callable[[Path], None]:
    """Return a change of config.json."""
    def change(folder: Path) -> None:
        file = folder / 'config.json'
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return change


def pickled(folder: Path) -> None:
    """Leave weights that can run code."""
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')


@pytest.mark.parametrize(('damage', 'reason'), [
    (lambda folder: (folder / 'config.json').unlink(), 'neither model_index.json nor config.json'),
    (lambda folder: (folder / 'config.json').write_text('{'), 'config.json: damaged'),
    (lambda folder: (folder / 'model.safetensors').unlink(),
     'no model.safetensors .*; download the whole model again'),
    (lambda folder: os.truncate(folder / 'model.safetensors', 900), 'damaged .*; download them'),
    (without_a_tensor, r'weights lack 1 tensors, such as encoder.layer.1.mlp.fc1.weight'),
    (pickled, 'only pickled weights .pytorch_model.bin., which can run any code'),
    (all_zero, 'gives the same feature everywhere; its weights are damaged or empty'),
    (rewrite(hidden_size=48), 'cannot be loaded .*; download it again'),
    (rewrite(hidden_size='wide'), 'cannot be loaded .*; download it again'),
    (rewrite(model_type='clip'), "the family 'clip' of transformers; of these, dinov2, "
     'dinov2_with_registers, dinov3_vit are supported')])
def test_broken_folders_and_other_families_are_one_line(
        damage: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    save_tiny(tmp_path)
    damage(tmp_path)
    message = refusal(tmp_path)
    assert re.search(reason, message) and tmp_path.name in message
    fused = refusal('embedded', fuse=str(tmp_path), tokens=0)
    assert fused == f'backbone.fuse: {message}'


def test_what_this_transformers_or_this_model_lacks_is_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path)
    assert re.search("block 'up_blocks.1': the feature of .* is its last layer; set backbone",
                     refusal(tmp_path, block='up_blocks.1'))
    monkeypatch.setattr(transformers, 'Dinov2Model', None)
    assert re.search(r'transformers 5\S* does not know dinov2; install a newer', refusal(tmp_path))
