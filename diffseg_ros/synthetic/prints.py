"""Printed and painted surfaces: pictures, book covers, labels, rugs, the view outdoors."""

from __future__ import annotations

import cv2
from diffseg_ros.synthetic.textures import Colour, noise, SIZE, Tile
import numpy as np
import numpy.typing as npt

_INK = (0.93, 0.9, 0.82)


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
    """Return a painting of overlapping discs and bars."""
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
    return image * (1 + 0.05 * noise(rng, 0.9, (4.0, 1.0)))[..., None]


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
    image *= (1 + 0.03 * noise(rng, 1.2))[..., None]
    return np.ascontiguousarray(image[::-1])


def label(rng: np.random.Generator, glass: Colour, paper: Colour) -> Tile:
    """Return bottle glass with a paper label between v = 0.28 and 0.62."""
    image = _canvas(glass)
    image[int(0.28 * SIZE):int(0.62 * SIZE)] = paper
    ink = _palette(rng, 1, 0.8)[0].tolist()
    for row in (0.31, 0.59):
        cv2.line(image, (0, int(row * SIZE)), (SIZE, int(row * SIZE)), ink, 8)
    for x in range(0, SIZE, 128):
        cv2.circle(image, (x + 64, int(0.45 * SIZE)), 42, ink, -1, cv2.LINE_AA)
    return image * (1 + 0.02 * noise(rng, 1.0))[..., None]


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
    return image * (1 + 0.05 * noise(rng, 0.8, (1.0, 6.0)))[..., None]


def rug(rng: np.random.Generator) -> Tile:
    """Return a carpet with borders and a medallion."""
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
    return image * (1 + 0.1 * noise(rng, 0.3))[..., None]


def beach_ball(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return eight coloured sectors along u."""
    colours = np.concatenate([_palette(rng, 4, 0.75), np.tile(np.float32(_INK), (4, 1))])
    sector = (np.arange(SIZE) * 8 // SIZE)
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])
    return np.broadcast_to(colours[order[sector]], (SIZE, SIZE, 3)).copy()
