"""A furnished room with moving things in it; every seed gives another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diffseg_ros.synthetic import objects
from diffseg_ros.synthetic.material import MaterialChooser, Shape
from diffseg_ros.synthetic.mesh import panel, rigid
from diffseg_ros.types import Matrix
import numpy as np

Motion = Callable[[float], Matrix]
"""Seconds since the start -> (4, 4) object-to-world transform."""


@dataclass(frozen=True)
class Instance:
    """
    One thing with an id of its own.

    Attributes
    ----------
    number
        The id in ground-truth images, from 1.
    shape
        Meshes and materials; in world coordinates, or the object's own if it moves.
    motion
        Where a moving thing is, None for all others.

    """

    number: int
    name: str
    shape: Shape
    motion: Motion | None = None


@dataclass(frozen=True)
class Light:
    """A small ball that gives light: position and radius in metres, strength in linear RGB."""

    position: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class Scene:
    """
    Everything that can be seen; z is up and the floor is z = 0.

    Attributes
    ----------
    ambient
        Linear RGB light that comes from everywhere.
    focus
        Point in the middle of the things of interest, in metres.
    size
        Width (x), depth (y) and height (z) of the room, whose floor is centred on 0.

    """

    instances: tuple[Instance, ...]
    lights: tuple[Light, ...]
    ambient: tuple[float, float, float]
    focus: tuple[float, float, float]
    size: tuple[float, float, float]


def create_scene(seed: int = 0) -> Scene:
    """Return the room that `seed` stands for; equal seeds give equal rooms."""
    return _Builder(seed).build()


class _Builder:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.choose = MaterialChooser(self.rng)
        self.instances: list[Instance] = []
        self.width, self.depth, self.height = self.rng.uniform((4.9, 5.5, 2.5), (5.7, 6.0, 2.75))
        self.window_side = float(self.rng.choice([-1, 1]))
        self.table = self.rng.uniform((1.5, 0.95, 0.68), (1.75, 1.1, 0.76))
        self.table_y = 0.1
        self.spare = [objects.TABLE_OBJECTS[index]
                      for index in self.rng.permutation(len(objects.TABLE_OBJECTS))]

    def build(self) -> Scene:
        self._add_shell()
        self._furnish_back_wall()
        self._furnish_side_walls()
        self._furnish_middle()
        self._set_table()
        self._add_movers()
        warm = self.rng.uniform(0.9, 1.15)
        window = (self.window_side * (self.width / 2 - 0.35), self.table_y + 0.2, 1.75)
        lights = (Light(window, (2.5 / warm, 2.75 / warm, 3.1 / warm), 0.35),
                  Light((0.0, self.table_y, self.height - 0.8),
                        (1.5 * warm, 1.3 * warm, 1.02 * warm), 0.12))
        return Scene(tuple(self.instances), lights, (0.4, 0.39, 0.385),
                     (0.0, self.table_y - 0.05, self.table[2] - 0.1),
                     (self.width, self.depth, self.height))

    def _add(self, name: str, shape: Shape, place: Matrix | None = None, *,
             motion: Motion | None = None) -> None:
        if place is not None:
            shape = [(mesh.transformed(place), material) for mesh, material in shape]
        self.instances.append(Instance(len(self.instances) + 1, name, shape, motion))

    def _against(self, wall: str, along: float, gap: float = 0.0, z: float = 0.0) -> Matrix:
        """Return the place whose -y looks into the room, `gap` before a wall."""
        x, y = self.width / 2 - gap, self.depth / 2 - gap
        position, yaw = {'back': ((along, y, z), 0.0), 'left': ((-x, along, z), np.pi / 2),
                         'right': ((x, along, z), -np.pi / 2),
                         'front': ((along, -y, z), np.pi)}[wall]
        return rigid(position, yaw)

    def _add_shell(self) -> None:
        ground = rigid((0, -self.depth / 2, 0), roll=-np.pi / 2)
        self._add('floor', [(panel(self.width, self.depth), self.choose.floor())], ground)
        top = rigid((0, self.depth / 2, self.height), roll=np.pi / 2)
        self._add('ceiling', [(panel(self.width, self.depth),
                               self.choose.plain((0.9, 0.9, 0.88)))], top)
        paint = self.choose.paint()
        for wall in ('back', 'left', 'right', 'front'):
            length = self.width if wall in ('back', 'front') else self.depth
            cover = self.choose.wallpaper() if wall == 'back' else paint
            self._add(f'{wall} wall', [(panel(length, self.height), cover)],
                      self._against(wall, 0.0))

    def _furnish_back_wall(self) -> None:
        widths = {'sofa': 1.8, 'shelf': 0.95, 'cabinet': 1.2}
        free = self.width - sum(widths.values())
        gaps = free * self.rng.dirichlet((6, 6, 6, 6))
        left = -self.width / 2
        for name, gap in zip(self.rng.permutation(list(widths)), gaps):
            centre = left + gap + widths[name] / 2
            left += gap + widths[name]
            getattr(self, f'_place_{name}')(centre)

    def _place_sofa(self, x: float) -> None:
        self._add('sofa', objects.sofa(self.choose), self._against('back', x, 0.47))
        for side in (-0.55, 0.5):
            self._add('pillow', objects.pillow(self.choose),
                      self._against('back', x + side, 0.55, 0.47))
        self._hang_picture('back', x, 1.25, 0.95, 0.62)

    def _place_cabinet(self, x: float) -> None:
        self._add('cabinet', objects.cabinet(self.choose), self._against('back', x, 0.24))
        for offset in (-0.38, 0.36):
            thing = self.spare.pop()
            self._add(thing.__name__, thing(self.choose),
                      self._against('back', x + offset, 0.24, 0.78))
        self._hang_picture('back', x, 1.32, 0.5, 0.62)

    def _place_shelf(self, x: float) -> None:
        self._add('shelf', objects.shelf(self.choose), self._against('back', x, 0.16))
        levels = [level + 0.025 for level in objects.shelf_levels()[:-1]]
        for number, level in enumerate(levels):
            width = self.rng.uniform(0.4, 0.85) if number != 2 else 0.45
            side = self.rng.choice([-1, 1])
            place = x + side * (0.9 - width) / 2
            self._add('books', objects.books(self.choose, width, self.rng.uniform(0.21, 0.28)),
                      self._against('back', place, 0.16, level))
            if number == 2:
                thing = self.spare.pop()
                self._add(thing.__name__, thing(self.choose),
                          self._against('back', x - side * 0.24, 0.17, level))

    def _hang_picture(self, wall: str, along: float, z: float, width: float,
                      height: float) -> None:
        self._add('picture', objects.picture(self.choose, width, height),
                  self._against(wall, along, 0.0, z))

    def _furnish_side_walls(self) -> None:
        bright, dim = ('left', 'right') if self.window_side < 0 else ('right', 'left')
        self._add('window', objects.window(self.choose), self._against(bright, 0.4, 0, 0.95))
        drape = objects.curtain(self.choose)
        for side in (-1, 1):
            self._add('curtain', drape, self._against(bright, 0.4 + side * 1.02, 0, 0.2))
        self._add('plant', objects.plant(self.choose), self._against(bright, 1.35, 0.55))
        self._add('door', objects.door(self.choose), self._against(dim, -0.2))
        self._hang_picture(dim, 0.95, 1.25, 0.5, 0.65)
        self._add('floor lamp', objects.floor_lamp(self.choose), self._against(dim, 1.25, 0.45))
        self._hang_picture('front', 0.4, 1.2, 1.0, 0.7)

    def _furnish_middle(self) -> None:
        self._add('rug', objects.rug(self.choose, 3.0, 2.3),
                  rigid((0, self.table_y, 0), self.rng.uniform(-0.06, 0.06)))
        self._add('table', objects.table(self.choose, *self.table),
                  rigid((0, self.table_y, 0.012)))
        for side in (-1, 1):
            place = (side * (self.table[0] / 2 + 0.22), self.table_y + self.rng.uniform(-0.1, 0.2),
                     0.012)
            self._add('chair', objects.chair(self.choose),
                      rigid(place, -side * np.pi / 2 + self.rng.uniform(-0.3, 0.3)))
        self._add('pendant lamp', objects.pendant(self.choose),
                  rigid((0, self.table_y, self.height)))

    def _set_table(self) -> None:
        """Put the remaining things in two rows, the front edge left free for the car."""
        columns = (len(self.spare) + 1) // 2
        spacing = (self.table[0] - 0.4) / (columns - 1)
        top = self.table[2] + 0.012
        for number, thing in enumerate(self.spare):
            row, column = divmod(number, columns)
            x = (column - (columns - 1) / 2) * spacing + (row - 0.5) * 0.1
            y = self.table_y + (0.32, 0.02)[row] * self.table[1] / 1.0
            x, y = (x, y) + self.rng.uniform(-0.03, 0.03, 2)
            self._add(thing.__name__, thing(self.choose),
                      rigid((x, y, top), self.rng.uniform(-0.6, 0.6)))

    def _add_movers(self) -> None:
        lane = self.table_y - self.table[1] / 2 + 0.11
        reach, top = self.table[0] / 2 - 0.2, self.table[2] + 0.012
        phase = self.rng.uniform(0, 2 * np.pi, 3)

        def drive(time: float) -> Matrix:
            return rigid((reach * np.sin(2 * np.pi * time / 8 + phase[0]), lane, top))

        def roll(time: float) -> Matrix:
            x = 1.1 * np.sin(2 * np.pi * time / 11 + phase[1])
            return rigid((x, self.table_y - 0.85, 0.172), pitch=x / 0.16)

        def sweep(time: float) -> Matrix:
            turn = 2 * np.pi * time / 14 + phase[2]
            return rigid((-self.window_side * (1.62 + 0.12 * np.cos(turn)),
                          self.table_y - 0.1 + 0.75 * np.sin(turn), 0.004), turn)

        self._add('toy car', objects.toy_car(self.choose), motion=drive)
        self._add('beach ball', objects.beach_ball(self.choose, 0.16), motion=roll)
        self._add('robot vacuum', objects.robot_vacuum(self.choose), motion=sweep)
