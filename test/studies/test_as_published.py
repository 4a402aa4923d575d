"""The parameter files of the papers give the labels of their steps, written out one by one."""

import cv2
from diffseg_ros.segmentation.upsampling import pamr
import numpy as np
import pytest
from studies.as_published import (
    agreement,
    configured_labels,
    diffcut_labels,
    diffseg_labels,
    pamr_by_loops,
)
from studies.stand_in_features import stand_in_attention, stand_in_features, STRENGTHS
import torch


def photo(seed):
    """Return a (128, 128) image of coloured shapes with texture, and its labels."""
    random = np.random.default_rng(seed)
    truth = np.zeros((128, 128), np.uint8)
    for label in range(1, 7):
        cv2.circle(truth, random.integers(0, 128, 2).tolist(), int(random.integers(12, 36)),
                   label, -1)
    colours = random.integers(30, 220, (7, 3))
    return (colours[truth] + random.integers(0, 30, (128, 128, 3))).astype(np.uint8), truth


@pytest.mark.parametrize('strength', STRENGTHS)
@pytest.mark.parametrize('seed', [0])
def test_diffcut(seed, strength):
    rgb, truth = photo(seed)
    features = stand_in_features(rgb, truth, STRENGTHS[strength], seed, 1024)
    published = diffcut_labels(features.double().numpy(), rgb)
    assert published.max() >= 3
    assert agreement(published, configured_labels('diffcut', rgb, features)) > 0.999


@pytest.mark.parametrize('seed', [0, 1])
def test_diffseg(seed):
    rgb, truth = photo(seed)
    maps = stand_in_attention(rgb, truth, STRENGTHS['medium'], seed, 256)
    published = diffseg_labels([item.double().numpy() for item in maps], 128)
    assert published.max() >= 3
    ours = configured_labels('diffseg', rgb, torch.ones(4, 16, 16), maps)
    assert agreement(published, ours) > 0.999


def test_refinement_is_that_of_the_loops():
    rgb, truth = photo(2)
    masks = np.stack([truth == label for label in range(7)]).astype(np.float64)
    expected = pamr_by_loops(rgb / 255, masks, 3, (1, 2, 4, 8))
    image = torch.from_numpy(rgb / 255).permute(2, 0, 1).float()
    found = pamr(image, torch.from_numpy(masks).float(), 3, (1, 2, 4, 8))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_agreement_does_not_see_the_numbers():
    assert agreement(np.array([0, 0, 1, 2]), np.array([2, 2, 0, 1])) == 1
    assert agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1])) == 0.75
