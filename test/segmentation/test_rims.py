"""Blurred edges give no segments of their own; thin things do."""

from __future__ import annotations

import cv2
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.types import Frame
import numpy as np
import pytest


@pytest.fixture(scope='module')
def pipeline():
    return Pipeline()


def wall(width, height):
    """Return a wall of two colours with a little noise."""
    rgb = np.full((height, width, 3), (40, 160, 60), np.uint8)
    rgb[:, width // 2:] = (50, 70, 190)
    return rgb


def noisy(rgb):
    noise = np.random.default_rng(0).integers(-6, 7, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(('size', 'blur'), [((160, 120), 0), ((160, 120), 0.5), ((160, 120), 1),
                                            ((640, 480), 0), ((640, 480), 2),
                                            ((1280, 720), 0)])
def test_a_box_before_a_wall_of_two_colours_is_three_or_four_segments(pipeline, size, blur):
    width, height = size
    rgb = wall(width, height)
    rgb[height // 4:height * 3 // 4, width // 4:width // 2] = (200, 40, 30)
    rgb = noisy(rgb)
    if blur:
        rgb = cv2.GaussianBlur(rgb, (0, 0), blur)
    labels = pipeline.segment(Frame(rgb)).labels
    assert 3 <= labels.max() + 1 <= 4
    edge = height // 8
    inside = labels[height // 4 + edge:height * 3 // 4 - edge, width // 4 + edge:width // 2 - edge]
    assert len(np.unique(inside)) == 1


@pytest.mark.parametrize('colour', [(15, 15, 15), (240, 230, 40)])
@pytest.mark.parametrize('upright', [True, False])
def test_a_cable_keeps_its_segment(pipeline, colour, upright):
    rgb = wall(640, 480)
    cable = np.s_[:, 150:162] if upright else np.s_[100:112, :]
    rgb[cable] = colour
    rgb = cv2.GaussianBlur(noisy(rgb), (0, 0), 1.2)
    labels = pipeline.segment(Frame(rgb)).labels
    middle = labels[20:460, 156] if upright else labels[106, 20:620]
    beside = labels[20:460, [120, 200]] if upright else labels[[80, 140], 20:620]
    ids, counts = np.unique(middle, return_counts=True)
    assert counts[~np.isin(ids, beside)].sum() > 0.8 * middle.size
