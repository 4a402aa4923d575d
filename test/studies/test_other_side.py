"""The scores of two views of a thing: the same view, its mirror image, and another thing."""

import numpy as np
import pytest
from studies.other_side import best, patches, scores
import torch

RANDOM = np.random.default_rng(0)
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
