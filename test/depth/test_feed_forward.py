"""Depth models of transformers by the real loading code: kinds, arithmetic, sizes, refusals."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil

from diffseg_ros.backbones.hub import files_to_download
from diffseg_ros.config import BackboneConfig
from diffseg_ros.depth.base import DepthSettings
from diffseg_ros.depth.feed_forward import FeedForwardDepth
from diffseg_ros.depth.loader import load_depth_model
from diffseg_ros.depth.preprocessing import Preprocessing
from diffseg_ros.errors import DiffsegError
import huggingface_hub
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_depth_models import depth_anything, depth_pro, FAMILIES
import torch
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
IMAGE = np.kron(NOISE[:12, :16], np.ones((8, 8, 1), np.uint8))
PROCESSORS = {'depth_anything': DPTImageProcessorPil, 'dpt': DPTImageProcessorPil,
              'glpn': GLPNImageProcessorPil, 'zoedepth': ZoeDepthImageProcessorPil}


def load(folder: Path | str, **backbone: object) -> FeedForwardDepth:
    """Load a model on the CPU."""
    found = load_depth_model(str(folder), DepthSettings(),
                             BackboneConfig(**{'device': 'cpu', **backbone}))
    assert isinstance(found, FeedForwardDepth)
    return found


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of each family."""
    root = tmp_path_factory.mktemp('models')
    for name, (save, _) in FAMILIES.items():
        save(root / name)
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope='module')
def models(folders: dict[str, Path]) -> dict[str, FeedForwardDepth]:
    """Return the loaded model of each family."""
    return {name: load(folder) for name, folder in folders.items()}


@pytest.mark.parametrize('name', FAMILIES)
def test_each_family_says_what_its_values_are_and_repeats_itself_silently(
        name: str, folders: dict[str, Path], models: dict[str, FeedForwardDepth],
        capfd: pytest.CaptureFixture[str]) -> None:
    model = load(folders[name])
    values = model.predict(NOISE)
    assert (model.name, model.kind) == (name, FAMILIES[name][1])
    assert values.shape == (48, 64) and values.dtype == np.float32
    assert (values > 0).all() and values.std() > 0
    np.testing.assert_array_equal(values, model.predict(NOISE))
    np.testing.assert_array_equal(values, models[name].predict(NOISE))
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('name', FAMILIES)
def test_images_of_any_size(name: str, models: dict[str, FeedForwardDepth]) -> None:
    for size in ((1, 1), (2, 2), (3, 400), (400, 3), (37, 51)):
        image = np.resize(NOISE, (*size, 3))
        image.setflags(write=False)
        values = models[name].predict(image)
        assert values.shape == size and np.isfinite(values).all()


@pytest.mark.parametrize('name', [name for name in FAMILIES if name != 'depth_pro'])
def test_the_model_sees_what_transformers_own_processor_makes(name: str,
                                                              folders: dict[str, Path]) -> None:
    family = name.removesuffix('_metric').removesuffix('_dino')
    processor = PROCESSORS[family].from_pretrained(folders[name])
    # Pillow cuts off what exceeds 8 bits between its two passes; soft colours never do.
    for image in (IMAGE // 2 + 60, IMAGE[:37, :90] // 2 + 60):
        wanted = torch.as_tensor(np.array(processor(image)['pixel_values'][0]))[None]
        found = Preprocessing(folders[name], family).tensor(image)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1.6 / 255 / 0.224


def test_depth_pro_gives_metres_by_the_field_of_view_that_it_predicts(tmp_path: Path) -> None:
    model = depth_pro(tmp_path / 'pro')
    pixels = torch.from_numpy(IMAGE.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        found = model(functional.interpolate(pixels, (32, 32), mode='bilinear'))
    focal = 0.5 * 128 / torch.tan(torch.deg2rad(found.field_of_view) / 2)
    inverse = functional.interpolate(found.predicted_depth[None] * 128 / focal, (96, 128),
                                     mode='bilinear')[0, 0]
    np.testing.assert_allclose(load(tmp_path / 'pro').predict(IMAGE), 1 / inverse, rtol=1e-3)
    depth_pro(tmp_path / 'blind', use_fov_model=False)
    assert load(tmp_path / 'blind').kind == 'inverse'


def test_values_are_the_models_own_at_the_images_pixels(tmp_path: Path) -> None:
    model = depth_anything(tmp_path / 'tiny')
    pixels = Preprocessing(tmp_path / 'tiny', 'depth_anything').tensor(IMAGE)
    assert pixels.shape == (1, 3, 70, 98)
    with torch.no_grad():
        found = model(pixels).predicted_depth
    wanted = functional.interpolate(found[None], (96, 128), mode='bilinear')[0, 0]
    np.testing.assert_allclose(load(tmp_path / 'tiny').predict(IMAGE), wanted, atol=1e-5)


def test_without_a_preprocessor_the_published_values_are_taken(tmp_path: Path) -> None:
    assert Preprocessing(tmp_path, 'depth_anything').tensor(NOISE).shape == (1, 3, 392, 518)
    assert Preprocessing(tmp_path, 'zoedepth').tensor(IMAGE).shape == (1, 3, 384, 512)
    assert Preprocessing(tmp_path, 'dpt').tensor(NOISE).shape == (1, 3, 384, 384)
    # A strip must not take all memory: it sees at most four times the usual pixels.
    strip = Preprocessing(tmp_path, 'depth_anything').tensor(np.zeros((300, 6000, 3), np.uint8))
    assert strip.shape[2] * strip.shape[3] < 4.4 * 518 ** 2


def test_half_precision_is_near(folders: dict[str, Path],
                                models: dict[str, FeedForwardDepth]) -> None:
    full = models['depth_anything_metric'].predict(IMAGE)
    half = load(folders['depth_anything_metric'], precision='bfloat16').predict(IMAGE)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, rtol=0.05)


def refusal(folder: Path | str, **backbone: object) -> str:
    """Return the one line with which loading ends."""
    with pytest.raises(DiffsegError) as caught:
        load(folder, **backbone)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def rewrite(name: str = 'config.json', **values: object) -> Callable[[Path], None]:
    """Return a change of a JSON file."""
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return change


def without_a_tensor(folder: Path) -> None:
    """Leave one layer's weights out."""
    tensors = load_file(folder / 'model.safetensors')
    del tensors['head.conv2.weight']
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})


@pytest.mark.parametrize(('damage', 'reason'), [
    (lambda folder: (folder / 'config.json').unlink(), 'neither model_index.json nor config.json'),
    (lambda folder: (folder / 'config.json').write_text('{'), 'config.json: damaged'),
    (lambda folder: (folder / 'model.safetensors').unlink(), 'no model.safetensors'),
    (lambda folder: os.truncate(folder / 'model.safetensors', 900), 'damaged ('),
    (lambda folder: (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin'),
     'only pickled weights'),
    (without_a_tensor, 'weights lack 1 tensors, such as head.conv2.weight'),
    (rewrite(model_type='chmv2'), "of the family 'chmv2'; supported are pipelines"),
    (rewrite(model_type='prompt_depth_anything'), "of the family 'prompt_depth_anything'"),
    (rewrite(model_type='dpt'), 'weights lack '),
    (rewrite(reassemble_hidden_size='wide'), 'cannot be loaded ('),
    (rewrite(backbone='someone/dino', backbone_config=None), 'only names its backbone, someone/'),
    (rewrite('preprocessor_config.json', size='wide'), 'values cannot be used ('),
    (rewrite('preprocessor_config.json', size=0), 'values cannot be used (size 0)'),
    (rewrite('preprocessor_config.json', image_std=[0, 0, 0]), 'image_std [0, 0, 0]'),
    (lambda folder: (folder / 'preprocessor_config.json').write_text('['), 'damaged (')])
def test_broken_folders_and_other_families_are_one_line(
        folders: dict[str, Path], tmp_path: Path, damage: Callable[[Path], None],
        reason: str) -> None:
    folder = shutil.copytree(folders['depth_anything'], tmp_path / 'copy')
    damage(folder)
    assert reason in refusal(folder)


def test_a_model_of_features_is_refused_by_its_family(tmp_path: Path) -> None:
    Dinov2Model(Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                             image_size=28)).save_pretrained(tmp_path / 'dino')
    assert "of the family 'dinov2'" in refusal(tmp_path / 'dino')


def test_no_image_and_nothing_finite_are_one_line(
        folders: dict[str, Path], models: dict[str, FeedForwardDepth], tmp_path: Path) -> None:
    with pytest.raises(DiffsegError, match='HxWx3 uint8 RGB is needed'):
        models['dpt'].predict(NOISE[..., 0])
    folder = shutil.copytree(folders['dpt'], tmp_path / 'copy')
    tensors = load_file(folder / 'model.safetensors')
    save_file({key: torch.full_like(value, torch.nan) for key, value in tensors.items()},
              folder / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(DiffsegError, match='no pixel with depth, in float32; set'):
        load(folder).predict(NOISE)


def test_a_hub_id_needs_permission_and_a_cached_one_no_network(
        folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError('the network was asked')

    monkeypatch.setattr(huggingface_hub, 'HfApi', no_network)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    line = refusal('someone/depth')
    assert 'Set backbone.allow_download' in line and "download('someone/depth')" in line
    home = tmp_path / 'models--someone--depth'
    shutil.copytree(folders['depth_anything'], home / 'snapshots' / ('a' * 40))
    (home / 'refs').mkdir()
    (home / 'refs' / 'main').write_text('a' * 40)
    assert load('someone/depth').name == load(home).name == 'someone/depth'
    assert 'no such folder; give the folder or the hub id' in refusal('nothing here')


def test_only_what_a_model_needs_is_downloaded() -> None:
    names = ['README.md', 'config.json', 'model.safetensors', 'pytorch_model.bin',
             'preprocessor_config.json', 'onnx/model.onnx']
    assert files_to_download(names) == ['config.json', 'model.safetensors',
                                        'preprocessor_config.json']
