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
    """Return a wall of two colours."""
    rgb = np.full((height, width, 3), (40, 160, 60), np.uint8)
    rgb[:, width // 2:] = (50, 70, 190)
    return rgb


def photo(rgb, blur):
    """Return the image with noise and a blur of so many pixels of 320."""
    noise = np.random.default_rng(0).integers(-6, 7, rgb.shape)
    rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(rgb, (0, 0), blur * rgb.shape[1] / 320) if blur else rgb


@pytest.mark.parametrize('size', [(160, 120), (640, 480), (1280, 720)])
@pytest.mark.parametrize('blur', [0, 0.5, 1, 2, 3])
def test_a_box_before_a_wall_of_two_colours_is_three_to_five_segments(pipeline, size, blur):
    width, height = size
    rgb = wall(width, height)
    rgb[height // 4:height * 3 // 4, width // 4:width // 2] = (200, 40, 30)
    labels = pipeline.segment(Frame(photo(rgb, blur))).labels
    assert 3 <= labels.max() + 1 <= 5
    edge = height // 8
    inside = labels[height // 4 + edge:height * 3 // 4 - edge, width // 4 + edge:width // 2 - edge]
    assert len(np.unique(inside)) == 1


@pytest.mark.parametrize(('colour', 'thickness'), [
    ((15, 15, 15), 6), ((15, 15, 15), 12), ((235, 235, 235), 6), ((240, 230, 40), 12)])
@pytest.mark.parametrize('upright', [True, False])
@pytest.mark.parametrize('blur', [0.6, 2])
def test_a_cable_keeps_its_segment(pipeline, colour, thickness, upright, blur):
    rgb = wall(640, 480)
    start = 150 if upright else 100
    cable = slice(start, start + thickness)
    rgb[np.s_[:, cable] if upright else cable] = colour
    labels = pipeline.segment(Frame(photo(rgb, blur))).labels
    labels = labels if upright else labels.T
    middle = labels[20:-20, start + thickness // 2]
    beside = labels[20:-20, [start - 30, start + 40]]
    ids, counts = np.unique(middle, return_counts=True)
    assert counts[~np.isin(ids, beside)].sum() > 0.8 * middle.size
