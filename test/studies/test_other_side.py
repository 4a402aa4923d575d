"""The scores of two views of a thing: the same view, its mirror image, and another thing."""

import numpy as np
import pytest
from studies.other_side import (
    best,
    Looks,
    patches,
    scores,
    segment_looks,
    similarity_there_and_back,
)
import torch

RANDOM = np.random.default_rng(0)
GRID = torch.randn(32, 18, 24, generator=torch.Generator().manual_seed(0))
LABELS = np.zeros((90, 120), np.int32)
LABELS[10:60, 15:80], LABELS[60:70, 90:100] = 1, 2
INSTANCES = np.zeros((12, 16), np.uint16)
INSTANCES[2:9, 3:9], INSTANCES[3:10, 10:15] = 7, 8


class Pixels:
    """A backbone whose features tell each pixel's colour and what is to the right of it."""

    name, device = 'pixels', torch.device('cpu')

    def features(self, rgb):
        image = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)
        return torch.cat([image, image.roll(-1, dims=2)])


def seen(rgb, instances=INSTANCES):
    return patches(Pixels(), rgb, instances)


@pytest.fixture(scope='module')
def views():
    """Return the things of an image, and those of its mirror image."""
    rgb = RANDOM.integers(0, 256, (12, 16, 3), np.uint8)
    return seen(rgb), seen(rgb[:, ::-1].copy(), INSTANCES[:, ::-1].copy())


def test_a_thing_is_itself_and_every_token_comes_back(views):
    things, mirrored = views
    assert sorted(things) == [0, 7, 8] and things[7].looks.tokens.shape == (42, 6)
    same = scores(things[7], things[7], mirrored[7])
    assert same['mean feature'] == pytest.approx(1, abs=1e-5)
    assert same['nearest tokens'] == pytest.approx(1, abs=1e-3)
    assert same['there and back'] == pytest.approx(1, abs=1e-3)
    other = scores(things[7], things[8], mirrored[8])
    assert all(other[name] < value for name, value in same.items())


def test_a_mirrored_thing_is_known_by_the_mirrored_view(views):
    things, mirrored = views
    found = scores(things[7], mirrored[7], things[7])
    assert found['there and back'] < 0.9
    assert found['the same, or mirrored'] == pytest.approx(1 + found['mean feature'], abs=1e-3)


def test_a_choice_is_clear_or_none():
    assert best({1: 0.5, 2: 0.9}) == (2, 0.9) and best({4: 0.1}) == (4, 0.1)
    assert best({1: 0.89, 2: 0.9}) == (2, -np.inf)


def test_looks_are_the_directions_of_a_segments_tokens():
    ground, thing, small = segment_looks(GRID, LABELS, 3)
    assert small is None  # two tokens along each side
    rows, columns = np.meshgrid(np.arange(2, 12), np.arange(3, 16), indexing='ij')
    # 13 tokens wide: more than 12, so every second one along both sides.
    kept = ((rows % 2 == 0) & (columns % 2 == 0)).ravel()
    np.testing.assert_array_equal(
        thing.places, np.stack([rows.ravel(), columns.ravel()], axis=1)[kept] / 2)
    centred = GRID - GRID.mean(dim=(1, 2), keepdim=True)
    expected = (centred / centred.norm(dim=0))[:, rows.ravel()[kept], columns.ravel()[kept]].T
    np.testing.assert_allclose(thing.tokens, expected, atol=1e-3)
    assert thing.tokens.dtype == np.float16 and len(ground.tokens) <= 144


def patch(row, column, height=8, width=9):
    """Return the looks of a part of the grid."""
    labels = np.zeros((18, 24), np.int32)
    labels[row:row + height, column:column + width] = 1
    return segment_looks(GRID, labels, 2)[1]


def test_the_same_thing_comes_back_wherever_it_is_and_another_does_not():
    thing = patch(2, 3)
    assert similarity_there_and_back(thing, thing) == pytest.approx(1, abs=1e-3)
    moved = Looks(thing.tokens, thing.places + [5, 2])
    assert similarity_there_and_back(thing, moved) == pytest.approx(1, abs=1e-3)
    assert similarity_there_and_back(thing, patch(10, 14)) < 0.2
    # Half of it is hidden: that half does not count.
    half = Looks(thing.tokens[:36], thing.places[:36])
    assert similarity_there_and_back(thing, half) == pytest.approx(0.6, abs=0.15)
    assert similarity_there_and_back(half, thing) == pytest.approx(1, abs=1e-3)
