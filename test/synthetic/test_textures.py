"""Textures: seamless, and sampled as the definition says."""

from __future__ import annotations

from diffseg_ros.synthetic import textures
from diffseg_ros.synthetic.textures import SIZE, TextureAtlas
import numpy as np
import pytest

RED, BLUE = (0.8, 0.2, 0.1), (0.1, 0.2, 0.7)
SEAMLESS = [('plain', RED), ('checker', RED, BLUE), ('brick', RED, BLUE), ('planks', BLUE, RED),
            ('marble', RED, BLUE), ('damask', RED, BLUE), ('fabric', RED)]
PRINTS = [('landscape',), ('abstract',), ('spines',), ('rug',), ('beach_ball',),
          ('cover', RED, 'TITLE'), ('label', RED, BLUE)]


def draw(name, *arguments, seed):
    return getattr(textures, name)(np.random.default_rng(seed), *arguments)


@pytest.mark.parametrize('pattern', SEAMLESS, ids=lambda pattern: pattern[0])
def test_the_seam_is_no_bigger_a_step_than_the_biggest_inside(pattern):
    tile = draw(*pattern, seed=3)
    assert tile.shape == (SIZE, SIZE, 3)
    for axis in (0, 1):
        inside = np.abs(np.diff(tile, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.abs(tile.take(0, axis) - tile.take(-1, axis)).mean()
        assert seam <= inside.max() * 1.2


@pytest.mark.parametrize('pattern', PRINTS, ids=lambda pattern: pattern[0])
def test_prints_are_seeded_pictures_with_contrast(pattern):
    first, again, other = (draw(*pattern, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (SIZE, SIZE, 3) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.005
    assert first.std() > 0.05


def test_sampling_is_bilinear_and_wraps():
    rng = np.random.default_rng(0)
    tiles = [np.kron(rng.random((8, 8, 3)), np.ones((SIZE // 8, SIZE // 8, 1))) for _ in range(2)]
    atlas = TextureAtlas([tile.astype(np.float32) for tile in tiles])
    uv = rng.uniform(-3, 3, (500, 2)).astype(np.float32)
    number = rng.integers(0, 2, 500)
    found = atlas.sample(number, uv, np.zeros(500))
    place = uv.astype(float) * SIZE - 0.5
    corner = np.floor(place).astype(int)
    share = place - corner
    expected = np.zeros((500, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            rows, columns = (corner[:, 1] + dy) % SIZE, (corner[:, 0] + dx) % SIZE
            expected += weight[:, None] * np.stack(tiles)[number, rows, columns]
    np.testing.assert_allclose(np.sqrt(found), expected, atol=0.01)


def test_a_far_surface_shows_the_mean_colour():
    tile = textures.checker(np.random.default_rng(0), RED, BLUE, 64)
    found = TextureAtlas([tile]).sample(np.zeros(4, int), np.random.rand(4, 2).astype(np.float32),
                                        np.full(4, 20.0))
    np.testing.assert_allclose(np.sqrt(found), np.tile(tile.mean(axis=(0, 1)), (4, 1)), atol=0.02)
