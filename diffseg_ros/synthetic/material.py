"""Materials, and a random but harmonious choice of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffseg_ros.synthetic import textures
from diffseg_ros.synthetic.mesh import Mesh
from diffseg_ros.synthetic.textures import Tile
import numpy as np


@dataclass(frozen=True)
class Material:
    """
    How a surface looks.

    Attributes
    ----------
    span
        Metres of surface that one tile covers along u and v.
    specular
        Strength of the highlight, 0 to 1.
    shininess
        Exponent of the highlight.
    emission
        Light of its own, as a multiple of the texture's colour.

    """

    tile: Tile
    span: tuple[float, float] = (1.0, 1.0)
    specular: float = 0.04
    shininess: float = 12.0
    emission: float = 0.0


Shape = list[tuple[Mesh, Material]]
"""Meshes of one thing, each with its material."""

_WALLS = ((0.84, 0.79, 0.68), (0.66, 0.76, 0.79), (0.74, 0.81, 0.66), (0.86, 0.71, 0.62),
          (0.76, 0.71, 0.83), (0.55, 0.66, 0.72), (0.88, 0.84, 0.78), (0.6, 0.66, 0.56))
_WOODS = (((0.3, 0.18, 0.1), (0.58, 0.38, 0.22)), ((0.5, 0.33, 0.18), (0.78, 0.58, 0.36)),
          ((0.17, 0.1, 0.07), (0.36, 0.23, 0.15)), ((0.64, 0.5, 0.34), (0.87, 0.75, 0.57)),
          ((0.42, 0.2, 0.11), (0.68, 0.36, 0.2)))
_FABRICS = ((0.17, 0.33, 0.5), (0.56, 0.2, 0.18), (0.22, 0.4, 0.29), (0.76, 0.58, 0.2),
            (0.46, 0.47, 0.5), (0.36, 0.24, 0.43), (0.75, 0.68, 0.57), (0.72, 0.4, 0.24),
            (0.3, 0.5, 0.52))
_BRIGHT = ((0.83, 0.18, 0.15), (0.95, 0.72, 0.12), (0.15, 0.45, 0.75), (0.2, 0.6, 0.35),
           (0.92, 0.5, 0.15), (0.6, 0.25, 0.6), (0.9, 0.88, 0.82), (0.2, 0.65, 0.68),
           (0.9, 0.5, 0.6))
_TITLES = ('ROBOTICS', 'ATLAS', 'PUZZLE', 'TEA', 'VISION', 'MAPS', 'OATS', 'GAME')


class MaterialChooser:
    """Draws materials from curated colours, no colour twice before all were used."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._decks: dict[tuple[Any, ...], list[int]] = {}

    def pick(self, options: tuple[Any, ...]) -> Any:
        """Return one of the options, going round all before repeating."""
        deck = self._decks.setdefault(options, [])
        if not deck:
            deck.extend(self.rng.permutation(len(options)).tolist())
        return options[deck.pop()]

    def paint(self) -> Material:
        return Material(textures.plain(self.rng, self.pick(_WALLS), 0.025), (1.5, 1.5), 0.02, 6)

    def wallpaper(self) -> Material:
        colour = np.array(self.pick(_WALLS))
        other = np.clip(colour * self.rng.uniform(0.68, 0.82), 0, 1)
        kind = self.pick(('stripes', 'damask', 'brick', 'dots'))
        if kind == 'stripes':
            return Material(textures.stripes(self.rng, colour, other, 4), (0.8, 0.8), 0.03, 8)
        if kind == 'damask':
            return Material(textures.damask(self.rng, colour, other), (0.7, 0.9), 0.04, 8)
        if kind == 'dots':
            return Material(textures.dots(self.rng, colour, other), (0.8, 0.8), 0.03, 8)
        clay = self.pick(((0.62, 0.33, 0.24), (0.7, 0.62, 0.54), (0.56, 0.4, 0.34)))
        return Material(textures.brick(self.rng, clay, (0.74, 0.71, 0.66)), (0.9, 0.9), 0.02, 6)

    def floor(self) -> Material:
        if self.rng.random() < 0.75:
            dark, light = self.pick(_WOODS)
            return Material(textures.planks(self.rng, dark, light), (1.6, 0.84), 0.12, 30)
        return Material(textures.tiles(self.rng, self.pick(_WALLS), (0.5, 0.48, 0.45)),
                        (1.4, 1.4), 0.16, 40)

    def wood(self) -> Material:
        dark, light = self.pick(_WOODS)
        return Material(textures.wood(self.rng, dark, light), (1.1, 0.55), 0.1, 25)

    def fabric(self) -> Material:
        return Material(textures.fabric(self.rng, self.pick(_FABRICS)), (0.35, 0.35), 0.02, 5)

    def cloth(self) -> Material:
        first, second, third = (self.pick(_FABRICS) for _ in range(3))
        kind = self.pick(('plaid', 'stripes', 'dots'))
        if kind == 'plaid':
            tile = textures.plaid(self.rng, first, second, third)
        elif kind == 'stripes':
            tile = textures.stripes(self.rng, first, (0.88, 0.85, 0.78), 4)
        else:
            tile = textures.dots(self.rng, first, (0.9, 0.87, 0.8), 4)
        return Material(tile, (0.3, 0.3), 0.02, 5)

    def leather(self) -> Material:
        return Material(textures.leather(self.rng, self.pick(_FABRICS)), (0.5, 0.5), 0.18, 18)

    def ceramic(self) -> Material:
        return Material(textures.plain(self.rng, self.pick(_BRIGHT), 0.02), (0.5, 0.5), 0.5, 70)

    def plastic(self) -> Material:
        return Material(textures.plain(self.rng, self.pick(_BRIGHT), 0.01), (0.5, 0.5), 0.3, 35)

    def metal(self) -> Material:
        colour = self.pick(((0.62, 0.63, 0.65), (0.72, 0.58, 0.32), (0.24, 0.24, 0.26)))
        return Material(textures.brushed(self.rng, colour), (0.4, 0.4), 0.7, 45)

    def stone(self) -> Material:
        if self.rng.random() < 0.6:
            return Material(textures.marble(self.rng, (0.86, 0.84, 0.8), (0.35, 0.38, 0.42)),
                            (0.6, 0.6), 0.3, 50)
        chips = [self.pick(_FABRICS) for _ in range(4)]
        return Material(textures.terrazzo(self.rng, (0.84, 0.82, 0.77), chips), (0.5, 0.5),
                        0.25, 40)

    def checks(self, span: float) -> Material:
        """Return a glossy two-coloured checkerboard."""
        tile = textures.checker(self.rng, self.pick(_BRIGHT), (0.92, 0.9, 0.84))
        return Material(tile, (span, span), 0.25, 30)

    def bands(self, span: float) -> Material:
        """Return glossy two-coloured bands across v."""
        tile = textures.stripes(self.rng, self.pick(_BRIGHT), (0.93, 0.91, 0.86), 2)
        return Material(np.ascontiguousarray(tile.transpose(1, 0, 2)), (span, span), 0.2, 30)

    def print_cover(self, width: float, height: float) -> Material:
        """Return printed cardboard of the given size in metres."""
        tile = textures.cover(self.rng, self.pick(_BRIGHT), self.pick(_TITLES))
        return Material(tile, (width, height), 0.1, 20)

    def plain(self, colour: Sequence[float], specular: float = 0.04,
              emission: float = 0.0) -> Material:
        return Material(textures.plain(self.rng, colour, 0.02), (0.8, 0.8), specular, 20,
                        emission)
