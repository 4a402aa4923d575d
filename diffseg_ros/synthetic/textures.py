"""Textures: seamless patterns, printed surfaces, and a sampler of many with mip maps."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

SIZE = 512
"""Side of every tile in texels; a power of two, so that mip levels halve exactly."""

Tile = npt.NDArray[np.float32]
"""(SIZE, SIZE, 3) float32 display-referred RGB in [0, 1]; rows go up as `v` does."""
Colour = Sequence[float]

_INK = (0.93, 0.9, 0.82)
_LEVELS = SIZE.bit_length()


def noise(rng: np.random.Generator, falloff: float = 1.6,
          stretch: tuple[float, float] = (1.0, 1.0)) -> Tile:
    """
    Return seamless (SIZE, SIZE) float32 noise of mean 0 and deviation 1.

    Parameters
    ----------
    rng
        Makes the noise.
    falloff
        Exponent by which the amplitude falls with frequency: 0 is grain, 2 is cloud.
    stretch
        How much longer the features are along x and y.

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


def _grained(tile: Tile, rng: np.random.Generator, strength: float, falloff: float = 0.6,
             stretch: tuple[float, float] = (1.0, 1.0)) -> Tile:
    return tile * (1 + strength * noise(rng, falloff, stretch))[..., None]


def plain(rng: np.random.Generator, colour: Colour, grain: float = 0.02) -> Tile:
    """Return paint, plastic or plaster with slight blotches and grain."""
    blotch = (1 + grain * noise(rng, 1.8))[..., None]
    tile = np.broadcast_to(np.float32(colour), (SIZE, SIZE, 3))
    return _grained(tile * blotch, rng, grain)


def stripes(rng: np.random.Generator, first: Colour, second: Colour, count: int) -> Tile:
    x, _ = _axes()
    wave = np.abs((x * count) % 1 - 0.5) * 2
    return _grained(_mix(first, second, (wave - 0.5) * SIZE / count / 3), rng, 0.025)


def checker(rng: np.random.Generator, first: Colour, second: Colour, count: int = 4) -> Tile:
    """Return a checkerboard with `count` fields a side (even, so that it repeats)."""
    x, y = _axes()
    field = (np.floor(x * count) + np.floor(y * count)) % 2
    return _grained(_mix(first, second, field), rng, 0.03)


def dots(rng: np.random.Generator, ground: Colour, dot: Colour, count: int = 4) -> Tile:
    x, y = _axes()
    row = np.floor(y * count)
    distance = np.hypot((x * count + row % 2 * 0.5) % 1 - 0.5, y * count % 1 - 0.5)
    return _grained(_mix(ground, dot, (0.28 - distance) * SIZE / count / 3 + 0.5), rng, 0.025)


def damask(rng: np.random.Generator, ground: Colour, motif: Colour) -> Tile:
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
    x, y = _axes()
    cell = (np.floor(y * count) * count + np.floor(x * count)).astype(int)
    edge = np.minimum(np.minimum(x * count % 1, 1 - x * count % 1),
                      np.minimum(y * count % 1, 1 - y * count % 1))
    tone = rng.uniform(0.88, 1.06, count * count)[cell][..., None]
    body = np.float32(colour) * tone * (1 + 0.05 * noise(rng, 1.8))[..., None]
    weight = np.clip((edge - 0.02) * 60, 0, 1)[..., None]
    return (np.float32(grout) * (1 - weight) + body * weight).astype(np.float32)


def marble(rng: np.random.Generator, ground: Colour, vein: Colour) -> Tile:
    warp = noise(rng, 1.9)
    line = np.exp(-(np.abs(noise(rng, 2.0) + 0.35 * warp) * 6) ** 1.2)
    return _mix(ground, vein, 0.75 * line + 0.12 * noise(rng, 1.5))


def terrazzo(rng: np.random.Generator, ground: Colour, chips: Sequence[Colour]) -> Tile:
    tile = np.broadcast_to(np.float32(ground), (SIZE, SIZE, 3)).copy()
    for chip in chips:
        mask = np.clip((noise(rng, 1.1) - 1.5) * 4, 0, 1)[..., None]
        tile = tile * (1 - mask) + np.float32(chip) * mask
    return _grained(tile, rng, 0.02)


def fabric(rng: np.random.Generator, colour: Colour, threads: int = 64) -> Tile:
    x, y = _axes()
    weave = np.sin(2 * np.pi * x * threads) * np.sin(2 * np.pi * y * threads)
    shade = 1 + 0.16 * (weave + 0.4 * noise(rng, 0.3)) * 0.6 + 0.05 * noise(rng, 1.7)
    return np.float32(colour) * shade[..., None].astype(np.float32)


def plaid(rng: np.random.Generator, ground: Colour, first: Colour, second: Colour) -> Tile:
    x, y = _axes()
    tile = np.broadcast_to(np.float32(ground), (SIZE, SIZE, 3))
    for axis in (x, y):
        wide = ((axis * 2) % 1 < 0.42).astype(np.float32)[..., None] * 0.5
        thin = (np.abs((axis * 2) % 1 - 0.7) < 0.04).astype(np.float32)[..., None] * 0.7
        tile = tile * (1 - wide) + np.float32(first) * wide
        tile = tile * (1 - thin) + np.float32(second) * thin
    return _grained(tile, rng, 0.05, 0.3)


def leather(rng: np.random.Generator, colour: Colour) -> Tile:
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


def _canvas(colour: Colour) -> Tile:
    return np.tile(np.float32(colour), (SIZE, SIZE, 1))


def _palette(rng: np.random.Generator, count: int, saturation: float = 0.45) -> Tile:
    """Return (count, 3) colours evenly spread in hue."""
    hue = (rng.random() + np.arange(count) * 0.618034) % 1
    hsv = np.stack([hue * 360, np.full(count, saturation), rng.uniform(0.45, 0.95, count)], -1)
    return cv2.cvtColor(hsv.astype(np.float32)[None], cv2.COLOR_HSV2RGB)[0]


def landscape(rng: np.random.Generator, *, bright: bool = False) -> Tile:
    """Return hills under a sky with clouds; rows run from the bottom up as `v` does."""
    height = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
    image = np.float32([0.62, 0.78, 0.95]) * (1 - height) + np.float32([0.93, 0.93, 0.9]) * height
    cloud = np.clip(noise(rng, 1.9, (2.5, 1.0)), 0, 1.5)[..., None] / 1.5
    image = image * (1 - 0.7 * cloud) + 0.97 * 0.7 * cloud
    colours = np.float32([[0.47, 0.56, 0.62], [0.36, 0.5, 0.36], [0.28, 0.42, 0.2],
                          [0.42, 0.5, 0.2]])
    rows = np.linspace(0, 1, SIZE)[:, None]
    for layer, colour in enumerate(colours):
        line = 0.48 + 0.13 * layer + 0.045 * noise(rng, 2.4)[0] * (1 + layer % 2)
        grass = (1 + 0.18 * noise(rng, 0.9))[..., None]
        image = np.where((rows > line[None])[..., None], colour * grass, image)
    image = image ** 0.8 if bright else image
    return np.ascontiguousarray(image[::-1]).astype(np.float32)


def abstract(rng: np.random.Generator) -> Tile:
    colours = _palette(rng, 9, 0.7)
    image = _canvas(_INK)
    for number, colour in enumerate(colours):
        centre = tuple(int(value) for value in rng.integers(60, SIZE - 60, 2))
        size = int(rng.integers(40, 130))
        if number % 2:
            cv2.circle(image, centre, size, colour.tolist(), -1, cv2.LINE_AA)
        else:
            corner = (centre[0] + size, centre[1] + int(size * rng.uniform(0.3, 1.6)))
            cv2.rectangle(image, centre, corner, colour.tolist(), -1)
    return _grained(image, rng, 0.05, 0.9, (4.0, 1.0))


def cover(rng: np.random.Generator, colour: Colour, title: str) -> Tile:
    """Return a book cover or box front with a title, a band and a disc."""
    image = _canvas(colour)
    accent = _palette(rng, 1, 0.5)[0].tolist()
    cv2.rectangle(image, (0, 330), (SIZE, 400), accent, -1)
    cv2.circle(image, (SIZE // 2, 200), 90, accent, -1, cv2.LINE_AA)
    cv2.circle(image, (SIZE // 2, 200), 55, _INK, -1, cv2.LINE_AA)
    scale = min(4.0, 24 / max(len(title), 1))
    (width, _), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_DUPLEX, scale, 9)
    cv2.putText(image, title, ((SIZE - width) // 2, 90), cv2.FONT_HERSHEY_DUPLEX, scale, _INK, 9,
                cv2.LINE_AA)
    for line in range(3):
        cv2.line(image, (90, 430 + 24 * line), (SIZE - 90 - 60 * line, 430 + 24 * line), _INK, 6)
    return np.ascontiguousarray(_grained(image, rng, 0.03, 1.2)[::-1])


def label(rng: np.random.Generator, glass: Colour, paper: Colour) -> Tile:
    """Return bottle glass with a paper label between v = 0.28 and 0.62."""
    image = _canvas(glass)
    image[int(0.28 * SIZE):int(0.62 * SIZE)] = paper
    ink = _palette(rng, 1, 0.8)[0].tolist()
    for row in (0.31, 0.59):
        cv2.line(image, (0, int(row * SIZE)), (SIZE, int(row * SIZE)), ink, 8)
    for x in range(0, SIZE, 128):
        cv2.circle(image, (x + 64, int(0.45 * SIZE)), 42, ink, -1, cv2.LINE_AA)
    return _grained(image, rng, 0.02, 1.0)


def spines(rng: np.random.Generator, count: int = 12) -> Tile:
    """Return book backs side by side along u."""
    image = _canvas((0.1, 0.08, 0.06))
    edges = np.r_[0, np.cumsum(rng.uniform(0.6, 1.4, count))]
    edges = (edges / edges[-1] * SIZE).astype(int)
    for left, right, colour in zip(edges[:-1], edges[1:], _palette(rng, count, 0.42)):
        image[:, left + 1:right - 1] = colour
        band = int(rng.integers(300, 420))
        image[band:band + 14, left + 1:right - 1] = colour * 0.55
        image[90:250, (left + right) // 2 - 3:(left + right) // 2 + 3] = _INK
    return _grained(image, rng, 0.05, 0.8, (1.0, 6.0))


def rug(rng: np.random.Generator) -> Tile:
    ground, accent = _palette(rng, 2, 0.4) * 0.72
    colours = [ground, ground * 0.62, ground * 1.2, accent]
    image = _canvas(colours[0])
    for inset, colour in ((26, colours[1]), (44, colours[2]), (56, colours[1]), (96, colours[0])):
        cv2.rectangle(image, (inset, inset), (SIZE - inset, SIZE - inset),
                      np.asarray(colour).tolist(), -1)
    middle = (SIZE // 2, SIZE // 2)
    for size, colour in ((130, colours[1]), (100, colours[2]), (82, colours[3])):
        diamond = np.array([[0, -size], [size, 0], [0, size], [-size, 0]]) + middle
        cv2.fillPoly(image, [diamond], colour.tolist(), cv2.LINE_AA)
    for angle in np.arange(0, 2 * np.pi, np.pi / 8):
        spot = (int(middle[0] + 45 * np.cos(angle)), int(middle[1] + 45 * np.sin(angle)))
        cv2.circle(image, spot, 11, colours[2].tolist(), -1, cv2.LINE_AA)
    return _grained(image, rng, 0.1, 0.3)


def beach_ball(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return eight coloured sectors along u."""
    colours = np.concatenate([_palette(rng, 4, 0.75), np.tile(np.float32(_INK), (4, 1))])
    sector = (np.arange(SIZE) * 8 // SIZE)
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    return np.broadcast_to(colours[order[sector]], (SIZE, SIZE, 3)).copy()


class TextureAtlas:
    """All tiles and their halved copies in one list of texels."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        levels = []
        for tile in tiles:
            level, side = np.clip(tile, 0, 1).astype(np.float32), SIZE
            while side:
                levels.append(np.rint(level * 255).astype(np.uint8).reshape(-1, 3))
                side //= 2
                if side:
                    level = cv2.resize(level, (side, side), interpolation=cv2.INTER_AREA)
        self._texels = np.concatenate(levels)
        sizes = (SIZE >> np.arange(_LEVELS)) ** 2
        self._level_offset = np.r_[0, np.cumsum(sizes)[:-1]].astype(np.int32)
        self._tile_stride = np.int32(sizes.sum())

    def sample(self, tile: npt.NDArray[np.integer], uv: npt.NDArray[np.float32],
               level: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """
        Return repeated, bilinearly interpolated texture colours.

        Parameters
        ----------
        tile
            (N,) number of the tile.
        uv
            (N, 2) coordinates; one tile spans [0, 1).
        level
            (N,) mip level, rounded down.

        Returns
        -------
        numpy.ndarray
            (N, 3) float32 linear RGB reflectance in [0, 1].

        """
        depth = np.clip(level, 0, _LEVELS - 1).astype(np.int32)
        side = np.int32(SIZE) >> depth
        base = tile.astype(np.int32) * self._tile_stride + self._level_offset[depth]
        place = uv * side[:, None].astype(np.float32) - np.float32(0.5)
        corner = np.floor(place)
        weight = place - corner
        first = corner.astype(np.int32) & (side - 1)[:, None]
        second = (first + 1) & (side - 1)[:, None]
        rows = (base + first[:, 1] * side, base + second[:, 1] * side)
        colour = np.zeros((len(uv), 3), np.float32)
        for row, row_weight in zip(rows, (1 - weight[:, 1], weight[:, 1])):
            for column, column_weight in ((first[:, 0], 1 - weight[:, 0]),
                                          (second[:, 0], weight[:, 0])):
                weights = (row_weight * column_weight)[:, None]
                colour += self._texels.take(row + column, axis=0) * weights
        return np.square(colour * np.float32(1 / 255))
