"""Labels near borders against the votes as they are defined, pixel by pixel."""

from __future__ import annotations

import math

import cv2
from diffseg_ros.segmentation import boundary_refinement
from diffseg_ros.segmentation.boundary_refinement import sharpened
import numpy as np
import pytest

RING = ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (0, 2), (-2, 0), (2, 0))


def literal_vote(rgb: np.ndarray, labels: np.ndarray, y: int, x: int,
                 reach: int) -> tuple[int, float]:
    """Return the label and the margin that 8 neighbours and the pixel itself vote for."""
    height, width = labels.shape
    votes, strongest = {}, (0.0, int(labels[y, x]))
    for down, right in RING:
        place = (min(max(y + reach * down, 0), height - 1),
                 min(max(x + reach * right, 0), width - 1))
        weight = math.exp(-int(np.abs(rgb[place].astype(int) - rgb[y, x]).sum()) / 60)
        name = int(labels[place])
        votes[name] = votes.get(name, 0) + weight
        if name != labels[y, x] and weight > strongest[0]:
            strongest = weight, name
    own, other = int(labels[y, x]), strongest[1]
    for_own = 1 + votes.get(own, 0)
    for_other = votes[other] if other != own else 0
    return (other if for_other > for_own else own,
            abs(for_own - for_other) / (for_own + for_other))


def near_border(labels: np.ndarray, reach: int) -> np.ndarray:
    border = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        for there in ((y, x + 1), (y + 1, x), (y, x - 1), (y - 1, x)):
            if 0 <= there[0] < labels.shape[0] and 0 <= there[1] < labels.shape[1]:
                border[y, x] |= labels[there] != labels[y, x]
    around = np.zeros(labels.shape, bool)
    for y, x in np.argwhere(border):
        around[max(y - reach + 1, 0):y + reach, max(x - reach + 1, 0):x + reach] = True
    return around


def blotches(height: int, width: int, seed: int, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a photo of few colours and labels that partly follow it, -1 among them."""
    random = np.random.default_rng(seed)
    cells = random.integers(-1, 3, (height // 6 + 1, width // 6 + 1)).astype(np.int32)
    labels = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    palette = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    return palette[random.integers(0, colours, (height, width))], labels


@pytest.mark.parametrize('reach', [1, 2, 3])
@pytest.mark.parametrize('colours', [1, 3, 200])
def test_labels_and_margins_are_the_votes(reach: int, colours: int,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary_refinement, '_BLOCK', 50)
    height, width = 12 * reach, 17 * reach
    rgb, _ = blotches(height, width, reach + colours, colours)
    _, small = blotches(12, 17, reach, 1)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    labels, margin = sharpened(rgb, small)
    band = near_border(large, reach)
    assert 50 < np.count_nonzero(band) < band.size
    assert (labels[~band] == large[~band]).all() and (margin[~band] == 1).all()
    for y, x in np.argwhere(band):
        name, clear = literal_vote(rgb, large, y, x, reach)
        assert labels[y, x] == name or clear < 1e-6
        assert margin[y, x] == pytest.approx(clear, abs=1e-5)


def test_what_is_passed_is_left_alone() -> None:
    rgb, labels = blotches(30, 40, 0, 5)
    before = labels.copy()
    sharpened(rgb, labels)
    assert np.array_equal(labels, before)


def test_the_size_of_the_numbers_does_not_matter() -> None:
    rgb, _ = blotches(60, 80, 1, 4)
    labels = blotches(30, 40, 2, 1)[1]
    large = np.where(labels < 0, labels, labels + 2**20).astype(np.int32)
    few, clear = sharpened(rgb, labels)
    many, same = sharpened(rgb, large)
    assert few.dtype == many.dtype == np.int32 and np.array_equal(clear, same)
    assert np.array_equal(many, np.where(few < 0, few, few + 2**20))
