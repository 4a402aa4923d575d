"""Catchment basins against their definition, pixel by pixel."""

from __future__ import annotations

import cv2
from diffseg_ros.segmentation.superpixels import (
    add_depth_channel,
    follow,
    lab_image,
    watershed,
)
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import noise
from scipy import ndimage


def literal_basins(image: np.ndarray) -> np.ndarray:
    """Run down from every pixel, to the first lowest of its 3 x 3 surroundings in turn."""
    slope = np.square(cv2.Sobel(image, -1, 1, 0)) + np.square(cv2.Sobel(image, -1, 0, 1))
    level = slope.sum(axis=2)
    height, width = level.shape
    ends = np.zeros((height, width), int)
    for start in np.ndindex(height, width):
        here, before = start, None
        while here != before:
            y, x = before = here
            around = [(row, column) for row in range(max(y - 1, 0), min(y + 2, height))
                      for column in range(max(x - 1, 0), min(x + 2, width))]
            here = min(around, key=lambda place: level[place])
        ends[start] = here[0] * width + here[1]
    return np.unique(ends, return_inverse=True)[1].reshape(height, width)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 24), st.integers(2, 24), st.integers(2, 256), st.integers(0, 999))
def test_basins_follow_their_definition(height: int, width: int, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, levels, (height, width, 3)).astype(np.float32) / levels
    assert np.array_equal(watershed(image), literal_basins(image))


@pytest.mark.parametrize('step', [3, 5, 8])
def test_plateaus_and_equal_levels_drain_as_defined(step: int) -> None:
    image = np.zeros((20, 26, 3), np.float32)
    image[::step, :] = image[:, ::step] = 0.5
    basins = watershed(image)
    assert np.array_equal(basins, literal_basins(image)) and basins.max() > 0


def test_basins_of_a_real_image_follow_their_definition(real_masks) -> None:
    from diffseg_ros.evaluation.datasets import MaskDataset

    _, frame, _ = next(iter(MaskDataset(real_masks / 'camvid_val')))
    lab = lab_image(frame.rgb, 120)
    assert np.array_equal(watershed(lab), literal_basins(lab))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 9))
def test_basins_are_numbered_and_connected(height: int, width: int, seed: int) -> None:
    basins = watershed(noise(height, width, seed).astype(np.float32) / 255)
    assert basins.dtype == np.int32
    assert np.array_equal(np.unique(basins), np.arange(basins.max() + 1))
    for number in range(basins.max() + 1):
        assert ndimage.label(basins == number, np.ones((3, 3)))[1] == 1


def test_a_flat_image_is_one_basin_and_a_ridge_parts_two() -> None:
    flat = np.full((20, 30, 3), 0.5, np.float32)
    assert watershed(flat).max() == 0
    flat[:, 15:] = 0.9
    basins = watershed(flat)
    assert set(np.unique(basins[:, :13])).isdisjoint(np.unique(basins[:, 17:]))


def test_lab_image_keeps_small_images_and_shrinks_large_ones() -> None:
    assert lab_image(noise(30, 40), 320).shape == (30, 40, 3)
    assert lab_image(noise(480, 640), 320).shape == (240, 320, 3)
    white = lab_image(np.full((8, 8, 3), 255, np.uint8), 320)
    assert np.allclose(white, [1, 0, 0], atol=1e-3)


def test_chains_of_any_length_are_followed() -> None:
    chain = np.maximum(np.arange(1000) - 1, 0)
    assert not follow(chain).any()
    assert follow(np.array([1, 1, 0, 3])).tolist() == [1, 1, 1, 3]


def test_depth_is_a_channel_whose_steps_are_shares_of_it() -> None:
    image = np.zeros((20, 30, 3), np.float32)
    depth = np.full((20, 30), 2.0, np.float32)
    depth[:, 15:] = 2.2
    deep = add_depth_channel(image, depth, 4.0)
    assert deep.shape == (20, 30, 4) and deep.dtype == np.float32
    assert not deep[..., :3].any()
    assert deep[5, 25, 3] - deep[5, 5, 3] == pytest.approx(4 * np.log(1.1), rel=1e-5)
    basins = watershed(deep)
    assert set(np.unique(basins[:, :13])).isdisjoint(np.unique(basins[:, 17:]))


def test_unknown_depth_is_that_of_the_nearest_pixel() -> None:
    depth = np.full((20, 30), 3.0, np.float32)
    depth[:, 10:14] = np.nan
    depth[0] = np.nan
    deep = add_depth_channel(np.zeros((20, 30, 1), np.float32), depth, 1.0)
    assert np.allclose(deep[..., 1], np.log(3.0))
    image = np.ones((20, 30, 3), np.float32)
    assert add_depth_channel(image, np.full((20, 30), np.nan, np.float32), 1.0) is image
