"""The pixel-space models: the package's own and folders of diffseg_train."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import subprocess
import sys

from diffseg_ros.backbones import loader
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.preprocess import image_tensor
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import RgbImage
from diffusers import DDPMPipeline, DDPMScheduler
import numpy as np
import pytest
from tiny_pipelines import pixel_unet, save_pixel
import torch
from torch.nn import functional

TIMESTEP = 10
IMAGE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def config(path: Path | str, **options: object) -> BackboneConfig:
    """Return settings for a model on the CPU."""
    return BackboneConfig(**{'model': str(path), 'device': 'cpu', 'tokens': 192, **options})


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Write a small random model as diffseg_train does."""
    torch.manual_seed(0)
    save_pixel(tmp_path / 'weights')
    return tmp_path / 'weights'


def whole_pass(folder: Path, image: RgbImage, size: tuple[int, int],
               block: str) -> torch.Tensor:
    """Compute the block's output with diffusers' own loader and the whole U-Net."""
    from diffusers import UNet2DModel
    unet = UNet2DModel.from_pretrained(folder, variant='fp16', torch_dtype=torch.float32).eval()
    sample = functional.pixel_unshuffle(image_tensor(image, *size), 2)
    noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0))
    noisy = DDPMScheduler.from_pretrained(folder).add_noise(
        sample, noise, torch.tensor([TIMESTEP]))
    seen: list[torch.Tensor] = []
    unet.get_submodule(block).register_forward_hook(
        lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        unet(noisy, TIMESTEP)
    return seen[0][0]


def test_package_model_is_found_beside_the_code(folder: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, 'EMBEDDED_FOLDER', folder)
    backbone = load_backbone(config('embedded'))
    assert (backbone.name, backbone.device, backbone.stride) == ('embedded', torch.device('cpu'),
                                                                 4)
    features = backbone.features(IMAGE)
    assert features.shape == (32, 12, 16) and features.dtype == torch.float32
    features += 1
    expected = whole_pass(folder, IMAGE, (48, 64), 'down_blocks.1.attentions.0') + 1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_whole_block_is_a_feature_too(folder: Path) -> None:
    backbone = load_backbone(config(folder, block='up_blocks.0'))
    features = backbone.features(IMAGE)
    assert (backbone.stride, tuple(features.shape)) == (4, (32, 12, 16))
    expected = whole_pass(folder, IMAGE, (48, 64), 'up_blocks.0')
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    averaged = load_backbone(config(folder, block='up_blocks.0', ensemble=2)).features(IMAGE)
    other = load_backbone(config(folder, block='up_blocks.0', seed=1)).features(IMAGE)
    torch.testing.assert_close(averaged, (features + other) / 2)


def test_absent_package_model_says_what_to_do(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, 'EMBEDDED_FOLDER', tmp_path)
    with pytest.raises(DiffsegError, match='model embedded: its weights are not in .*train them'):
        load_backbone(config('embedded'))


def test_same_image_same_tensor_also_from_threads(folder: Path) -> None:
    backbone = load_backbone(config(folder))
    images = [IMAGE, IMAGE[::-1].copy(), IMAGE[:, :64].copy()] * 4
    expected = [backbone.features(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        for ours, alone in zip(pool.map(backbone.features, images), expected, strict=True):
            assert torch.equal(ours, alone)


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (100, 1000), (2, 2), (37, 53)])
def test_grid_follows_the_image(folder: Path, shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    _, h, w = load_backbone(config(folder)).features(image).shape
    assert abs(h * w / 192 - 1) < 0.3
    assert abs(np.log(w / h * shape[0] / shape[1])) < 0.35


def test_block_is_configurable(folder: Path) -> None:
    backbone = load_backbone(config(folder, block='down_blocks.2.attentions.0'))
    expected = whole_pass(folder, IMAGE, (96, 128), 'down_blocks.2.attentions.0')
    torch.testing.assert_close(backbone.features(IMAGE), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(DiffsegError, match="block 'nowhere'.*down_blocks.1.attentions.0"):
        load_backbone(config(folder, block='nowhere'))


def test_embedded_model_has_attention_too(folder: Path) -> None:
    backbone = load_backbone(config(folder), attention=True)
    features, maps = backbone.features_and_attention(IMAGE)
    plain = load_backbone(config(folder))
    assert [item.shape[:2] for item in maps] == [(12, 16), (6, 8)]
    torch.testing.assert_close(features, plain.features(IMAGE), rtol=1e-4, atol=1e-5)
    with pytest.raises(DiffsegError, match='loaded without attention'):
        plain.features_and_attention(IMAGE)


def test_image_of_another_type_is_refused(folder: Path) -> None:
    with pytest.raises(DiffsegError, match='HxWx3 uint8'):
        load_backbone(config(folder)).features(IMAGE.astype(np.float32))


def test_unfolded_pipeline_of_diffusers(tmp_path: Path) -> None:
    unet = pixel_unet(in_channels=3, out_channels=3, sample_size=32)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path / 'ddpm')
    backbone = load_backbone(config(tmp_path / 'ddpm'))
    assert backbone.stride == 2 and backbone.features(IMAGE).shape == (32, 12, 16)


@pytest.mark.parametrize(('options', 'message'), [
    ({'in_channels': 4, 'out_channels': 4}, 'takes 4 channels; 3 times a square'),
    ({'num_class_embeds': 5}, 'conditioned on classes')])
def test_other_pixel_models_are_refused(tmp_path: Path, options: dict[str, int],
                                        message: str) -> None:
    save_pixel(tmp_path, pixel_unet(**options))
    with pytest.raises(DiffsegError, match=message):
        load_backbone(config(tmp_path))


def test_nan_weights_are_reported(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    file = folder / 'diffusion_pytorch_model.fp16.safetensors'
    tensors = load_file(file)
    tensors['conv_in.bias'][0] = torch.nan
    save_file(tensors, file)
    with pytest.raises(DiffsegError, match='NaN or infinite features in float32; the weights'):
        load_backbone(config(folder)).features(IMAGE)


def test_names_that_are_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiffsegError, match='no such folder; give embedded'):
        load_backbone(config(tmp_path / 'absent'))
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / 'config.json').write_text('[]')
    with pytest.raises(DiffsegError, match='got a list; a JSON object is needed'):
        load_backbone(config(tmp_path / 'weights'))


def test_no_text_model_and_no_teacher_is_imported(folder: Path) -> None:
    code = ('import sys\n'
            'from diffseg_ros.backbones.loader import load_backbone\n'
            'assert "diffusers" not in sys.modules\n'
            'from diffseg_ros.config import BackboneConfig\n'
            f'load_backbone(BackboneConfig(model={str(folder)!r}, device="cpu"))\n'
            'print([name for name in sys.modules if name.startswith(('
            '"transformers.models.clip", "diffusers.pipelines.stable", "efficientnet"))])\n')
    root = Path(loader.__file__).parents[2]
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True,
                          timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '[]'
