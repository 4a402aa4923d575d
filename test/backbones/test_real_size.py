"""Stable Diffusion 1.5 at full size with random weights: from a folder to segments."""

from __future__ import annotations

from pathlib import Path

from diffseg_ros.backbones.base import BackboneSettings
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.benchmark.stages import scene_frames
from diffseg_ros.config import PipelineConfig
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffusers import AutoencoderKL, UNet2DConditionModel
import pytest
from studies.random_unets import SHAPES
from tiny_pipelines import save_sd
import torch

pytestmark = [pytest.mark.large, pytest.mark.slow]
TOKENS = 192


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a pipeline of 1.9 GB; only its text encoder has fewer layers and words."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('real') / 'sd15'
    levels = 4
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2,
        down_block_types=('DownEncoderBlock2D',) * levels,
        up_block_types=('UpDecoderBlock2D',) * levels, scaling_factor=0.18215)
    save_sd(path, UNet2DConditionModel(**SHAPES['sd15']), autoencoder=vae, variant='fp16',
            hidden_size=768, intermediate_size=3072)
    assert 1.8e9 < sum(file.stat().st_size for file in path.rglob('*')) < 2e9
    return path


@pytest.mark.parametrize(('method', 'kept'), [
    ('regions', 174_650_880), ('diffcut', 174_650_880), ('diffseg', 859_508_800)])
def test_room_is_segmented(method: str, kept: int, folder: Path) -> None:
    settings = BackboneSettings(model=str(folder), device='cpu', tokens=TOKENS)
    backbone = load_backbone(settings, attention=method == 'diffseg')
    assert backbone.stride == 32
    assert sum(value.numel() for value in backbone._unet.parameters()) == kept
    config = updated(PipelineConfig(), {'segmentation.method': method})
    result = Pipeline(config, backbone=backbone).process(scene_frames(1)[0])
    assert result.labels.shape == (480, 640) and result.tracks
