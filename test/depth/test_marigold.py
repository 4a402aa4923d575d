"""Marigold pipelines by the real loading code: diffusers' own result, kinds, refusals."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil

from diffseg_ros.backbones.hub import files_to_download
from diffseg_ros.config import BackboneConfig
from diffseg_ros.depth.base import DepthSettings
from diffseg_ros.depth.loader import load_depth_model
from diffseg_ros.depth.marigold import MarigoldDepth
from diffseg_ros.errors import DiffsegError
from diffusers import MarigoldDepthPipeline
import numpy as np
import pytest
from tiny_depth_models import marigold
import torch

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def load(folder: Path | str, steps: int = 0, **backbone: object) -> MarigoldDepth:
    """Load a pipeline on the CPU."""
    found = load_depth_model(str(folder), DepthSettings(steps=steps),
                             BackboneConfig(**{'device': 'cpu', **backbone}))
    assert isinstance(found, MarigoldDepth)
    return found


@pytest.fixture(scope='module', params=['diffusion', 'consistency'])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pipeline with the DDIM scheduler, and one with that of consistency models."""
    path = tmp_path_factory.mktemp(request.param) / 'marigold'
    marigold(path, consistency=request.param == 'consistency')
    return path


@pytest.fixture(scope='module')
def model(folder: Path) -> MarigoldDepth:
    """Return the loaded pipeline."""
    return load(folder)


def test_values_are_those_of_diffusers_own_pipeline(
        folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = load(folder)
    found = model.predict(NOISE)
    assert (model.name, model.kind) == ('marigold', 'affine')
    assert found.shape == (24, 32) and found.dtype == np.float32 and found.std() > 0
    assert 0 <= found.min() and found.max() <= 1
    assert capfd.readouterr() == ('', '')
    wanted = MarigoldDepthPipeline.from_pretrained(folder)(
        NOISE, generator=torch.Generator().manual_seed(0)).prediction[0, ..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_same_image_gives_the_same_values_and_steps_count(
        folder: Path, model: MarigoldDepth) -> None:
    first = model.predict(NOISE)
    model.predict(NOISE[:20])
    np.testing.assert_array_equal(model.predict(NOISE), first)
    longer = load(folder, steps=3)
    other = longer.predict(NOISE)
    assert not np.allclose(other, first, atol=1e-3)
    longer.steps = 0
    np.testing.assert_array_equal(longer.predict(NOISE), first)


def test_half_precision_is_near(folder: Path, model: MarigoldDepth) -> None:
    half = load(folder, precision='bfloat16').predict(NOISE)
    assert half.dtype == np.float32
    assert np.corrcoef(half.ravel(), model.predict(NOISE).ravel())[0, 1] > 0.9


def test_images_of_any_size(model: MarigoldDepth) -> None:
    for size in ((1, 1), (2, 2), (3, 400), (400, 3), (37, 51)):
        values = model.predict(np.resize(NOISE, (*size, 3)))
        assert values.shape == size and np.isfinite(values).all()


def rewrite(name: str, **values: object) -> Callable[[Path], None]:
    """Return a change of a JSON file."""
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return change


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """Return a pipeline to be spoiled."""
    return shutil.copytree(folder, tmp_path / 'copy')


@pytest.mark.parametrize('folder', ['diffusion'], indirect=True)
def test_disparity_is_inverse_depth_and_steps_must_be_said_by_somebody(copied: Path) -> None:
    rewrite('model_index.json', prediction_type='disparity', default_denoising_steps=None)(copied)
    model = load(copied)
    assert model.kind == 'inverse'
    with pytest.raises(DiffsegError, match='no default_denoising_steps; set depth.steps'):
        model.predict(NOISE)
    model.steps = 1
    assert model.predict(NOISE).shape == (24, 32)
    model.steps = 5000
    with pytest.raises(DiffsegError, match='5000 denoising steps are not to be had'):
        model.predict(NOISE)


@pytest.mark.parametrize(('damage', 'reason'), [
    (lambda folder: (folder / 'model_index.json').write_text('{'), 'model_index.json: damaged'),
    (lambda folder: (folder / 'unet' / 'diffusion_pytorch_model.safetensors').unlink(),
     'no diffusion_pytorch_model.safetensors'),
    (lambda folder: os.truncate(folder / 'unet' / 'diffusion_pytorch_model.safetensors', 900),
     'damaged ('),
    (lambda folder: os.truncate(folder / 'vae' / 'diffusion_pytorch_model.safetensors', 900),
     'damaged ('),
    (lambda folder: shutil.rmtree(folder / 'vae'), 'config.json: missing'),
    (lambda folder: shutil.rmtree(folder / 'text_encoder'), 'config.json: missing'),
    (lambda folder: shutil.rmtree(folder / 'tokenizer'), 'no tokenizer/vocab.json'),
    (lambda folder: shutil.rmtree(folder / 'scheduler'), 'scheduler_config.json: missing'),
    (rewrite('model_index.json', _class_name='StableDiffusionPipeline'),
     'a pipeline of the class StableDiffusionPipeline; supported are'),
    (rewrite('model_index.json', _class_name='MarigoldNormalsPipeline'),
     'a pipeline of the class MarigoldNormalsPipeline; supported are'),
    (rewrite('model_index.json', _class_name='MarigoldIntrinsicsPipeline'),
     'a pipeline of the class MarigoldIntrinsicsPipeline; supported are'),
    (rewrite('model_index.json', prediction_type='normals'), "prediction_type 'normals'"),
    (rewrite('model_index.json', default_processing_resolution='big'),
     "default_processing_resolution 'big' in model_index.json; a positive whole number"),
    (rewrite('vae/config.json', _class_name='VQModel'), 'vae is a VQModel; supported are'),
    (rewrite('unet/config.json', in_channels=4), 'its U-Net takes 4 channels and gives 4; 8 and'),
    (rewrite('unet/config.json', cross_attention_dim=16), 'text encoder gives 32 channels'),
    (rewrite('unet/config.json', block_out_channels=[16, 64]), 'should be'),
    (rewrite('unet/config.json', down_block_types='none'), 'does not describe'),
    (rewrite('scheduler/scheduler_config.json', _class_name='EulerDiscreteScheduler'),
     'its scheduler is a EulerDiscreteScheduler; supported are DDIMScheduler and LCMScheduler'),
    (rewrite('scheduler/scheduler_config.json', beta_schedule='odd'), 'cannot be used (')])
@pytest.mark.parametrize('folder', ['diffusion'], indirect=True)
def test_broken_folders_and_other_pipelines_are_one_line(
        copied: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(copied)
    with pytest.raises(DiffsegError) as caught:
        load(copied)
    assert reason in str(caught.value) and '\n' not in str(caught.value)


def test_only_what_a_pipeline_needs_is_downloaded() -> None:
    parts = ['scheduler/scheduler_config.json', 'text_encoder/config.json',
             'text_encoder/model.fp16.safetensors', 'tokenizer/merges.txt', 'tokenizer/vocab.json',
             'unet/config.json', 'unet/diffusion_pytorch_model.fp16.safetensors',
             'vae/config.json', 'vae/diffusion_pytorch_model.fp16.safetensors']
    rest = ['README.md', 'unet/diffusion_pytorch_model.safetensors', 'teaser.jpg']
    assert files_to_download(['model_index.json', *parts, *rest]) == ['model_index.json', *parts]
