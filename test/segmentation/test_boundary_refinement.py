"""Labels near borders against the votes as they are defined, pixel by pixel."""

from __future__ import annotations

import math

import cv2
from diffseg_ros.segmentation import boundary_refinement
from diffseg_ros.segmentation.boundary_refinement import upsample_labels
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
    """Return an image of few colours and labels that partly follow it, -1 among them."""
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
    labels, margin = upsample_labels(rgb, small)
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
    upsample_labels(rgb, labels)
    assert np.array_equal(labels, before)


def test_straightens_a_ragged_border_along_the_edge() -> None:
    rgb = np.zeros((80, 120, 3), np.uint8)
    rgb[:, 60:] = 200
    truth = (rgb[..., 0] > 0).astype(np.int32)
    starts = 30 + np.random.default_rng(0).integers(-1, 2, 40)
    coarse = (np.arange(60) >= starts[:, None]).astype(np.int32)
    before = cv2.resize(coarse, (120, 80), interpolation=cv2.INTER_NEAREST)
    labels, margin = upsample_labels(rgb, coarse)
    assert np.count_nonzero(labels != truth) < np.count_nonzero(before != truth) / 3
    assert margin.shape == (80, 120) and margin.min() >= 0 and margin.max() <= 1
    assert (margin[:, :40] == 1).all()


def test_leaves_one_segment_alone() -> None:
    labels, margin = upsample_labels(blotches(20, 30, 0, 9)[0], np.zeros((10, 15), np.int32))
    assert not labels.any() and (margin == 1).all()
