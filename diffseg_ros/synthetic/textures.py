"""Procedural surface patterns as seamless tiles, and a sampler over all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

SIZE = 512
"""Side of every tile in texels; a power of two, so that mip levels halve exactly."""

Tile = npt.NDArray[np.float32]
Colour = Sequence[float]


def noise(rng: np.random.Generator, falloff: float = 1.6,
          stretch: tuple[float, float] = (1.0, 1.0)) -> Tile:
    """
    Return seamless noise of mean 0, deviation 1 whose amplitude falls with frequency.

    Parameters
    ----------
    rng
        Makes the noise.
    falloff
        Exponent of the fall: 0 is grain, 2 is cloud.
    stretch
        How much longer the features are along x and y.

    Returns
    -------
    numpy.ndarray
        (SIZE, SIZE) float32.

    """
    rows = np.float32(fft.fftfreq(SIZE, 1 / SIZE) * stretch[1])
    columns = np.float32(fft.rfftfreq(SIZE, 1 / SIZE) * stretch[0])
    radius = np.sqrt(rows[:, None] ** 2 + columns**2)
    grain = rng.standard_normal((SIZE, SIZE), np.float32)
    spectrum = fft.rfft2(grain) * np.maximum(radius, 1) ** np.float32(-falloff)
    spectrum[0, 0] = 0
    field = fft.irfft2(spectrum, (SIZE, SIZE))
    return (field / field.std()).astype(np.float32)


def _axes() -> tuple[Tile, Tile]:
    steps = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    return np.meshgrid(steps, steps)  # type: ignore[return-value]


def _mix(low: Colour, high: Colour, amount: Tile) -> Tile:
    weight = np.clip(amount, 0, 1)[..., None]
    return (np.float32(low) * (1 - weight) + np.float32(high) * weight).astype(np.float32)


def _grained(tile: Tile, rng: np.random.Generator, strength: float,
             falloff: float = 0.6) -> Tile:
    return tile * (1 + strength * noise(rng, falloff))[..., None]


def plain(rng: np.random.Generator, colour: Colour, grain: float = 0.02) -> Tile:
    """Return paint, plastic or plaster with slight blotches and grain."""
    blotch = (1 + grain * noise(rng, 1.8))[..., None]
    tile = np.broadcast_to(np.float32(colour), (SIZE, SIZE, 3))
    return _grained(tile * blotch, rng, grain)


def stripes(rng: np.random.Generator, first: Colour, second: Colour, count: int = 6,
            width: float = 0.5) -> Tile:
    """Return upright stripes."""
    x, _ = _axes()
    wave = np.abs((x * count) % 1 - 0.5) * 2
    return _grained(_mix(first, second, (wave - (1 - width)) * SIZE / count / 3), rng, 0.025)


def checker(rng: np.random.Generator, first: Colour, second: Colour, count: int = 4) -> Tile:
    """Return a checkerboard with `count` fields a side (even, so that it repeats)."""
    x, y = _axes()
    field = (np.floor(x * count) + np.floor(y * count)) % 2
    return _grained(_mix(first, second, field), rng, 0.03)


def dots(rng: np.random.Generator, ground: Colour, dot: Colour, count: int = 4,
         radius: float = 0.28) -> Tile:
    """Return staggered dots."""
    x, y = _axes()
    row = np.floor(y * count)
    distance = np.hypot((x * count + row % 2 * 0.5) % 1 - 0.5, y * count % 1 - 0.5)
    return _grained(_mix(ground, dot, (radius - distance) * SIZE / count / 3 + 0.5), rng, 0.025)


def damask(rng: np.random.Generator, ground: Colour, motif: Colour) -> Tile:
    """Return wallpaper with a flowery motif."""
    x, y = _axes()
    turned = 2 * np.pi * np.stack([x, y]) * 2
    shape = (np.sin(turned[0]) * np.sin(turned[1])
             + 0.6 * np.cos(3 * turned[0]) * np.cos(2 * turned[1])
             + 0.4 * np.cos(5 * turned[1] + 2 * np.sin(turned[0])))
    return _grained(_mix(ground, motif, shape * 3 - 0.6), rng, 0.03)


def wood(rng: np.random.Generator, dark: Colour, light: Colour) -> Tile:
    """Return wood whose grain runs along x."""
    _, y = _axes()
    bend = noise(rng, 2.2, (4.0, 1.0))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (y * 9 + 0.55 * bend))
    fibre = noise(rng, 0.9, (14.0, 1.0))
    return _mix(dark, light, 0.25 + 0.5 * rings ** 0.7 + 0.13 * fibre)


def planks(rng: np.random.Generator, dark: Colour, light: Colour, count: int = 6) -> Tile:
    """Return floor boards along x, each with its own tone, two lengths a tile."""
    x, y = _axes()
    row = np.floor(y * count).astype(int)
    start = rng.random(count)[row]
    along = (x + start) % 1
    board = (along >= 0.5).astype(int)
    tone = rng.uniform(0.74, 1.1, (count, 2))[row, board]
    shift = rng.integers(0, SIZE, (count, 2))[row, board]
    grain = wood(rng, dark, light)
    columns = (np.arange(SIZE)[None] + shift) % SIZE
    tile = grain[np.arange(SIZE)[:, None], columns] * tone[..., None]
    gap_y = np.minimum(y * count % 1, 1 - y * count % 1) / count * SIZE
    gap_x = np.minimum(along % 0.5, 0.5 - along % 0.5) * SIZE
    gap = np.clip(np.minimum(gap_y, gap_x) / 2, 0.3, 1)
    return (tile * gap[..., None]).astype(np.float32)


def brick(rng: np.random.Generator, colour: Colour, mortar: Colour, rows: int = 8) -> Tile:
    """Return a running bond of bricks twice as long as high, with mortar."""
    x, y = _axes()
    row = np.floor(y * rows).astype(int)
    across = x * rows / 2 + row % 2 * 0.5
    column = np.floor(across).astype(int) % (rows // 2)
    edge = np.minimum(np.minimum(across % 1, 1 - across % 1) * 2,
                      np.minimum(y * rows % 1, 1 - y * rows % 1))
    tone = rng.uniform(0.72, 1.15, (rows, rows // 2, 1))[row, column]
    body = np.float32(colour) * tone * (1 + 0.1 * noise(rng, 0.8))[..., None]
    weight = np.clip((edge - 0.07 + 0.012 * noise(rng, 1.0)) * 18, 0, 1)[..., None]
    return (np.float32(mortar) * (1 + 0.06 * noise(rng, 0.6))[..., None] * (1 - weight)
            + body * weight).astype(np.float32)


def tiles(rng: np.random.Generator, colour: Colour, grout: Colour, count: int = 4) -> Tile:
    """Return ceramic tiles."""
    x, y = _axes()
    cell = (np.floor(y * count) * count + np.floor(x * count)).astype(int)
    edge = np.minimum(np.minimum(x * count % 1, 1 - x * count % 1),
                      np.minimum(y * count % 1, 1 - y * count % 1))
    tone = rng.uniform(0.88, 1.06, count * count)[cell][..., None]
    body = np.float32(colour) * tone * (1 + 0.05 * noise(rng, 1.8))[..., None]
    weight = np.clip((edge - 0.02) * 60, 0, 1)[..., None]
    return (np.float32(grout) * (1 - weight) + body * weight).astype(np.float32)


def marble(rng: np.random.Generator, ground: Colour, vein: Colour) -> Tile:
    """Return stone with veins."""
    warp = noise(rng, 1.9)
    line = np.exp(-(np.abs(noise(rng, 2.0) + 0.35 * warp) * 6) ** 1.2)
    return _mix(ground, vein, 0.75 * line + 0.12 * noise(rng, 1.5))


def terrazzo(rng: np.random.Generator, ground: Colour, chips: Sequence[Colour]) -> Tile:
    """Return stone with coloured chips."""
    tile = np.broadcast_to(np.float32(ground), (SIZE, SIZE, 3)).copy()
    for chip in chips:
        mask = np.clip((noise(rng, 1.1) - 1.5) * 4, 0, 1)[..., None]
        tile = tile * (1 - mask) + np.float32(chip) * mask
    return _grained(tile, rng, 0.02)


def fabric(rng: np.random.Generator, colour: Colour, threads: int = 64,
           contrast: float = 0.16) -> Tile:
    """Return a plain weave."""
    x, y = _axes()
    weave = np.sin(2 * np.pi * x * threads) * np.sin(2 * np.pi * y * threads)
    shade = 1 + contrast * (weave + 0.4 * noise(rng, 0.3)) * 0.6 + 0.05 * noise(rng, 1.7)
    return np.float32(colour) * shade[..., None].astype(np.float32)


def plaid(rng: np.random.Generator, ground: Colour, first: Colour, second: Colour) -> Tile:
    """Return a chequered cloth of crossing bands."""
    x, y = _axes()
    tile = np.broadcast_to(np.float32(ground), (SIZE, SIZE, 3))
    for axis in (x, y):
        wide = ((axis * 2) % 1 < 0.42).astype(np.float32)[..., None] * 0.5
        thin = (np.abs((axis * 2) % 1 - 0.7) < 0.04).astype(np.float32)[..., None] * 0.7
        tile = tile * (1 - wide) + np.float32(first) * wide
        tile = tile * (1 - thin) + np.float32(second) * thin
    return _grained(tile, rng, 0.05, 0.3)


def leather(rng: np.random.Generator, colour: Colour) -> Tile:
    """Return leather with fine wrinkles."""
    wrinkle = np.exp(-np.abs(noise(rng, 0.9)) * 3)
    return np.float32(colour) * (1.06 - 0.3 * wrinkle + 0.06 * noise(rng, 1.8))[..., None]


def brushed(rng: np.random.Generator, colour: Colour) -> Tile:
    """Return brushed metal, brushed along x."""
    return np.float32(colour) * (1 + 0.09 * noise(rng, 0.4, (40.0, 1.0)))[..., None]


def leaf(rng: np.random.Generator, colour: Colour) -> Tile:
    """Return a leaf with a pale middle rib and veins; v runs along the rib."""
    x, y = _axes()
    rib = np.exp(-np.abs(x - 0.5) * 60)
    veins = np.exp(-np.abs((y * 10 - np.abs(x - 0.5) * 8) % 1 - 0.5) * 9)
    shade = 0.85 + 0.5 * rib + 0.25 * veins + 0.08 * noise(rng, 1.5)
    return np.float32(colour) * shade[..., None].astype(np.float32)
