"""The projector of aligned features: on disk, and in a backbone."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.projector import (
    create_projector,
    load_projector,
    PROJECTOR_FILE,
    save_projector,
)
from diffseg_ros.backbones.unet import run_to_block, UnetBackbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_pipelines import pixel_unet, save_pixel
import torch

BLOCK = 'up_blocks.1.resnets.1'
IMAGE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Write a small random model with a projector of its layer of 32 channels to 24."""
    torch.manual_seed(0)
    save_pixel(tmp_path)
    save_projector(tmp_path, BLOCK, create_projector(32, 24))
    return tmp_path


def backbone(folder: Path, *, attention: bool = False, **options: object) -> UnetBackbone:
    return load_backbone(BackboneConfig(**{'model': str(folder), 'device': 'cpu', 'tokens': 192,
                                           **options}), attention=attention)


def test_what_is_written_is_read(folder: Path) -> None:
    torch.manual_seed(1)
    projector = create_projector(32, 24).half().float()
    save_projector(folder, BLOCK, projector)
    block, found = load_projector(folder)
    grid = torch.randn(1, 32, 5, 7)
    assert block == BLOCK and torch.equal(found(grid), projector(grid))
    assert {tensor.dtype for tensor in load_file(folder / PROJECTOR_FILE).values()} == {
        torch.float16}
    assert load_projector(folder, BLOCK) is not None
    assert load_projector(folder, 'mid_block.attentions.0') is None
    assert load_projector(folder / 'nowhere') is None


@pytest.mark.parametrize('block', ['auto', BLOCK])
def test_the_feature_is_the_projected_layer(folder: Path, block: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = backbone(folder, block=block)
    assert (loaded.block, loaded.stride) == (BLOCK, 4)
    outputs = []
    monkeypatch.setattr('diffseg_ros.backbones.unet.run_to_block', lambda *arguments, **options: (
        outputs.append(run_to_block(*arguments, **options)), outputs[-1])[1])
    features = loaded.features(IMAGE)
    assert features.shape == (24, 12, 16)
    with torch.inference_mode():
        torch.testing.assert_close(features, load_projector(folder)[1](outputs[0][0])[0])


def test_maps_of_attention_come_with_projected_features(folder: Path) -> None:
    unet = pixel_unet(up_block_types=('AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D'))
    save_pixel(folder, unet)
    features, maps = backbone(folder, attention=True).features_and_attention(IMAGE)
    assert features.shape == (24, 12, 16)
    assert [item.shape[:2] for item in maps] == [(12, 16), (6, 8)]
    torch.testing.assert_close(features, backbone(folder).features(IMAGE), rtol=1e-4, atol=1e-5)


def test_for_another_block_it_is_ignored(folder: Path) -> None:
    other = 'down_blocks.1.attentions.0'
    with_it = backbone(folder, block=other).features(IMAGE)
    (folder / PROJECTOR_FILE).unlink()
    assert with_it.shape[0] == 32
    assert torch.equal(with_it, backbone(folder, block=other).features(IMAGE))


@pytest.mark.parametrize(('aligned', 'tokens'), [(True, 1200), (False, 768)])
def test_aligned_features_are_finer_by_default(folder: Path, aligned: bool, tokens: int) -> None:
    if not aligned:
        (folder / PROJECTOR_FILE).unlink()
    _, rows, columns = backbone(folder, tokens=0).features(IMAGE).shape
    assert rows * columns == pytest.approx(tokens, rel=0.03)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def edited(file: Path, metadata: dict[str, str] | None, **tensors: torch.Tensor) -> None:
    save_file({**load_file(file), **tensors}, file, metadata)


@pytest.mark.parametrize(('damage', 'reason'), [
    (cut, 'damaged'), (lambda file: file.write_bytes(b'none'), 'damaged'),
    (lambda file: edited(file, None), 'damaged'),
    (lambda file: edited(file, {'block': BLOCK}, more=torch.zeros(1)), 'damaged'),
    (lambda file: edited(file, {'block': BLOCK}, **{'2.weight': torch.zeros(24)}), 'damaged'),
    (lambda file: edited(file, {'block': 'up_blocks.9'}), "'up_blocks.9', which its U-Net lacks")])
def test_a_damaged_file_is_one_line(folder: Path, damage: object, reason: str) -> None:
    damage(folder / PROJECTOR_FILE)
    with pytest.raises(DiffsegError, match=reason) as caught:
        backbone(folder)
    assert '\n' not in str(caught.value)
