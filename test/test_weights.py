"""The weights that come with the package."""

import hashlib
import json
from pathlib import Path

from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.backbones.projector import PROJECTOR_FILE
from diffseg_ros.backbones.whitening import WHITENING_FILE
from diffseg_ros.config import BackboneConfig
from diffseg_ros.training.teacher import TEACHER_FILE
import numpy as np
import pytest
from safetensors.torch import load_file
import torch

FOLDER = Path(__file__).resolve().parents[1] / 'diffseg_ros' / 'weights'
WEIGHTS = FOLDER / 'diffusion_pytorch_model.fp16.safetensors'


@pytest.mark.parametrize('file', sorted(FOLDER.glob('*.safetensors')), ids=lambda path: path.name)
def test_the_card_names_the_weights_by_their_checksum(file):
    assert hashlib.sha256(file.read_bytes()).hexdigest() in (FOLDER / 'README.md').read_text()


def test_size_and_precision():
    assert WEIGHTS.stat().st_size <= 16e6
    assert {tensor.dtype for tensor in load_file(WEIGHTS).values()} == {torch.float16}
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        'README.md', 'config.json', WEIGHTS.name, PROJECTOR_FILE, 'scheduler_config.json',
        TEACHER_FILE, WHITENING_FILE]


def test_they_load_with_their_whitening_and_show_structure():
    backbone = load_backbone(BackboneConfig())
    rgb = np.full((96, 128, 3), 200, np.uint8)
    rgb[:, 64:] = np.random.default_rng(0).integers(0, 120, (96, 64, 3), np.uint8)
    features = backbone.features(rgb)
    assert features.shape[0] == 64
    third = features.shape[2] // 3
    left, right = features[:, :, :third].flatten(1), features[:, :, -third:].flatten(1)
    between = (left.mean(1) - right.mean(1)).square().sum()
    within = (left - left.mean(1, keepdim=True)).square().sum(0).mean()
    assert between > within


def test_they_are_of_the_family_that_training_makes():
    config = json.loads((FOLDER / 'config.json').read_text())
    schedule = json.loads((FOLDER / 'scheduler_config.json').read_text())
    assert config['_class_name'] == 'UNet2DModel'
    assert schedule['prediction_type'] == 'v_prediction'
