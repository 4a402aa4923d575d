"""
Furniture and small things: shapes in metres that stand on z = 0, their front towards -y.

Every function takes a MaterialChooser, and sizes where there are several.
"""

from __future__ import annotations

from diffseg_ros.synthetic import textures
from diffseg_ros.synthetic.material import Material, MaterialChooser, Shape
from diffseg_ros.synthetic.mesh import (
    ball,
    box,
    cushion,
    grid_surface,
    lathe,
    merged,
    Mesh,
    panel,
    rigid,
    torus,
    tube,
)
import numpy as np


def _at_corners(mesh: Mesh, x: float, y: float, z: float = 0.0) -> list[Mesh]:
    return [mesh.translated(side * x, end * y, z) for side in (-1, 1) for end in (-1, 1)]


def table(choose: MaterialChooser, width: float, depth: float, height: float) -> Shape:
    wood = choose.wood()
    frame = [box(width - 0.16, depth - 0.16, 0.07).translated(0, 0, height - 0.11)]
    leg = lathe([(0.022, 0), (0.032, height * 0.6), (0.036, height - 0.05)], 14)
    legs = _at_corners(leg, width / 2 - 0.1, depth / 2 - 0.1)
    return [(box(width, depth, 0.04).translated(0, 0, height - 0.04), wood),
            (merged(frame + legs), choose.wood())]


def chair(choose: MaterialChooser) -> Shape:
    wood = choose.wood()
    legs = [box(0.045, 0.045, 0.44).translated(x * 0.19, -0.19, 0) for x in (-1, 1)]
    posts = [box(0.045, 0.045, 0.95).turned(x * 0.19, 0.19, 0, roll=-0.06) for x in (-1, 1)]
    slats = [box(0.36, 0.02, 0.07).translated(0, 0.215 + 0.006 * step, 0.55 + 0.12 * step)
             for step in range(4)]
    rails = [box(0.4, 0.4, 0.04).translated(0, 0, 0.4)]
    return [(merged(legs + posts + slats + rails), wood),
            (cushion(0.44, 0.44, 0.07, 0.3).translated(0, 0, 0.43), choose.fabric())]


def sofa(choose: MaterialChooser, width: float = 1.8) -> Shape:
    cover = choose.fabric() if choose.rng.random() < 0.7 else choose.leather()
    half = width / 2 - 0.2
    parts = [box(width - 0.1, 0.78, 0.2).translated(0, 0, 0.1),
             cushion(half, 0.68, 0.22, 0.25).translated(-half / 2, -0.08, 0.26),
             cushion(half, 0.68, 0.22, 0.25).translated(half / 2, -0.08, 0.26),
             cushion(half, 0.24, 0.52, 0.3).turned(-half / 2, 0.27, 0.36, roll=-0.12),
             cushion(half, 0.24, 0.52, 0.3).turned(half / 2, 0.27, 0.36, roll=-0.12),
             cushion(0.2, 0.86, 0.6, 0.3).translated(-width / 2 + 0.1, 0, 0.06),
             cushion(0.2, 0.86, 0.6, 0.3).translated(width / 2 - 0.1, 0, 0.06)]
    feet = _at_corners(box(0.06, 0.06, 0.12), width / 2 - 0.1, 0.34)
    return [(merged(parts), cover), (merged(feet), choose.plain((0.12, 0.09, 0.07)))]


def pillow(choose: MaterialChooser) -> Shape:
    return [(cushion(0.42, 0.16, 0.42, 0.55).turned(0, 0, 0, roll=-0.25), choose.cloth())]


def shelf(choose: MaterialChooser, width: float = 0.95, height: float = 1.9) -> Shape:
    wood = choose.wood()
    boards = [box(width, 0.3, 0.025).translated(0, 0, level) for level in shelf_levels(height)]
    sides = [box(0.025, 0.3, height).translated(x * width / 2, 0, 0) for x in (-1, 1)]
    back = box(width, 0.012, height).translated(0, 0.145, 0)
    return [(merged(boards + sides + [back]), wood)]


def shelf_levels(height: float = 1.9) -> list[float]:
    """Return the lower edges of the shelf's boards."""
    return np.linspace(0.06, height - 0.03, 6).tolist()


def books(choose: MaterialChooser, width: float, height: float = 0.24) -> Shape:
    tile = textures.spines(choose.rng, max(4, round(width / 0.032)))
    shape = box(width, 0.19, height).translated(0, -0.02, 0)
    return [(shape, Material(tile, (width, height), 0.06, 15))]


def cabinet(choose: MaterialChooser, width: float = 1.2, height: float = 0.78) -> Shape:
    wood, front = choose.wood(), choose.wood()
    columns, rows = 3, 2
    step_x, step_z = (width - 0.06) / columns, (height - 0.2) / rows
    fronts, knobs = [], []
    for column in range(columns):
        for row in range(rows):
            x = -width / 2 + 0.03 + step_x * (column + 0.5)
            z = 0.13 + step_z * row
            fronts.append(box(step_x - 0.02, 0.025, step_z - 0.02).translated(x, -0.22, z))
            knobs.append(lathe([(0.001, 0), (0.016, 0.004), (0.018, 0.02), (0.001, 0.028)], 14)
                         .turned(x, -0.232, z + step_z / 2, roll=np.pi / 2))
    body = [box(width, 0.42, height - 0.12).translated(0, 0, 0.1),
            box(width + 0.04, 0.46, 0.03).translated(0, 0, height - 0.03)]
    legs = _at_corners(box(0.05, 0.05, 0.1), width / 2 - 0.06, 0.16)
    return [(merged(body + legs), wood), (merged(fronts), front),
            (merged(knobs), choose.metal())]


def floor_lamp(choose: MaterialChooser) -> Shape:
    pole = lathe([(0.001, 0), (0.15, 0.0), (0.15, 0.02), (0.02, 0.03), (0.013, 0.06),
                  (0.013, 1.42), (0.001, 1.42)], 28)
    shade = lathe([(0.23, 1.32), (0.14, 1.62)], 40)
    glow = Material(textures.fabric(choose.rng, (0.98, 0.84, 0.6), 32), (0.4, 0.4), 0.0, 5, 0.75)
    return [(pole, choose.metal()), (shade, glow)]


def plant(choose: MaterialChooser, height: float = 1.1) -> Shape:
    rng = choose.rng
    pot = lathe([(0.001, 0), (0.13, 0), (0.18, 0.28), (0.19, 0.3), (0.17, 0.3), (0.16, 0.26)], 40)
    soil = lathe([(0.165, 0.26), (0.001, 0.27)], 30)
    green = Material(textures.leaf(rng, (0.2, 0.42, 0.17)), (1.0, 1.0), 0.12, 20)
    leaves = [_leaf(rng, turn, height)
              for turn in np.linspace(0, 2 * np.pi, 20, endpoint=False)]
    earth = choose.plain((0.2, 0.14, 0.1))
    return [(pot, choose.ceramic()), (soil, earth), (merged(leaves), green)]


def _leaf(rng: np.random.Generator, turn: float, height: float) -> Mesh:
    along = np.linspace(0, 1, 14)
    reach = rng.uniform(0.2, 0.5) * height / 1.1
    rise = rng.uniform(0.45, 1.0) * (height - 0.3)
    droop = rng.uniform(0.1, 0.45) * rise
    spine = np.stack([reach * along ** 1.3, 0 * along,
                      0.27 + rise * along - droop * along ** 3], axis=-1)
    width = rng.uniform(0.055, 0.08) * np.sin(np.pi * (0.08 + 0.92 * along)) ** 0.7
    side = np.stack([0 * along, width, 0.25 * width], axis=-1)
    mirrored = side * [1, -1, 1]
    grid = np.stack([spine - mirrored, spine, spine + side], axis=1)
    grid[:, 0] = spine + mirrored
    uv = np.stack(np.broadcast_arrays(np.array([0.0, 0.5, 1.0]), along[:, None]), axis=-1)
    yaw = turn + rng.uniform(-0.15, 0.15)
    return grid_surface(grid, uv).turned(0, 0, 0, yaw=yaw)


def picture(choose: MaterialChooser, width: float, height: float) -> Shape:
    """Return a framed picture whose back is at y = 0, standing on z = 0."""
    rng = choose.rng
    tile = textures.landscape(rng) if rng.random() < 0.5 else textures.abstract(rng)
    canvas = panel(width, height).translated(0, -0.018, 0)
    return [(canvas, Material(tile, (width, height), 0.05, 25)),
            (_frame(width, height, 0.045), choose.wood())]


def _frame(width: float, height: float, bar: float) -> Mesh:
    upright = [box(bar, 0.035, height + 2 * bar).translated(x * (width + bar) / 2, -0.018, -bar)
               for x in (-1, 1)]
    level = [box(width, 0.035, bar).translated(0, -0.018, z) for z in (-bar, height)]
    return merged(upright + level)


def window(choose: MaterialChooser, width: float = 1.5, height: float = 1.2) -> Shape:
    view = panel(width, height).translated(0, -0.004, 0)
    bars = [box(0.035, 0.04, height).translated(0, -0.02, 0),
            box(width, 0.04, 0.03).translated(0, -0.02, height * 0.62),
            _frame(width, height, 0.07), box(width + 0.3, 0.16, 0.03).translated(0, -0.08, -0.1)]
    outside = Material(textures.landscape(choose.rng, bright=True), (width, height), 0.0, 25, 1.5)
    return [(view, outside), (merged(bars), choose.plain((0.9, 0.89, 0.86), 0.15))]


def curtain(choose: MaterialChooser, width: float = 0.5, height: float = 2.0) -> Shape:
    x, z = np.linspace(-width / 2, width / 2, 70), np.linspace(0, height, 8)
    phase = choose.rng.uniform(0, 6)
    fold = 0.04 * np.sin(x * 2 * np.pi * 6 / width * 0.9 + phase)
    grid = np.stack(np.broadcast_arrays(
        x[None] * (1.0 - 0.06 * np.sin(z / height * np.pi))[:, None],
        -0.09 + fold[None] * (1 - 0.3 * z / height)[:, None], z[:, None]), axis=-1)
    length = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(fold)))]
    uv = np.stack(np.broadcast_arrays(length, z[:, None]), axis=-1)
    return [(grid_surface(grid, uv), choose.fabric())]


def rug(choose: MaterialChooser, width: float, depth: float) -> Shape:
    tile = textures.rug(choose.rng)
    return [(box(width, depth, 0.012), Material(tile, (width, depth), 0.01, 4))]


def door(choose: MaterialChooser) -> Shape:
    """Return a door with panels and a handle, its back at y = 0."""
    leaf = [box(0.86, 0.04, 2.0).translated(0, -0.02, 0)]
    fields = [box(0.3, 0.015, size).translated(x, -0.045, z)
              for x in (-0.2, 0.2) for z, size in ((0.15, 0.65), (0.95, 0.9))]
    trim = _frame(0.88, 2.0, 0.07)
    handle = tube([(0.34, -0.04, 0.98), (0.34, -0.09, 0.98), (0.24, -0.1, 0.98)], 0.011)
    return [(merged(leaf), choose.wood()), (merged(fields + [trim]), choose.wood()),
            (handle, choose.metal())]


def pendant(choose: MaterialChooser) -> Shape:
    """Return a hanging lamp whose cord begins at z = 0 and goes down."""
    shade = lathe([(0.2, -0.75), (0.17, -0.62), (0.05, -0.52), (0.02, -0.5)], 40)
    cord = tube([(0, 0, 0), (0, 0.001, -0.25), (0, 0, -0.52)], 0.006, 8)
    bulb = torus(0.03, 0.028).translated(0, 0, -0.66)
    return [(merged([shade, cord]), choose.metal()),
            (bulb, choose.plain((1.0, 0.95, 0.8), emission=2.0))]


def mug(choose: MaterialChooser) -> Shape:
    body = lathe([(0.001, 0.0), (0.05, 0.0), (0.055, 0.01), (0.055, 0.125), (0.05, 0.125),
                  (0.048, 0.02), (0.001, 0.018)])
    bend = np.linspace(-np.pi / 2, np.pi / 2, 16)
    path = np.stack([0.052 + 0.045 * np.cos(bend), 0 * bend, 0.065 + 0.038 * np.sin(bend)], -1)
    return [(merged([body, tube(path, 0.009)]), choose.ceramic())]


def marble_ball(choose: MaterialChooser) -> Shape:
    return [(ball(0.085).translated(0, 0, 0.085), choose.stone())]


def carton(choose: MaterialChooser) -> Shape:
    return [(box(0.17, 0.09, 0.24), choose.print_cover(0.17, 0.24))]


def crate(choose: MaterialChooser) -> Shape:
    """Return a wooden cube with edges of another wood."""
    side, bar = 0.17, 0.022
    edges = _at_corners(box(bar, bar, side), side / 2, side / 2)
    edges += [box(side, bar, bar).translated(0, y * side / 2, z)
              for y in (-1, 1) for z in (0, side - bar)]
    edges += [box(bar, side, bar).translated(x * side / 2, 0, z)
              for x in (-1, 1) for z in (0, side - bar)]
    return [(box(side, side, side - 0.01).translated(0, 0, 0.005), choose.wood()),
            (merged(edges), choose.wood())]


def bottle(choose: MaterialChooser) -> Shape:
    profile = [(0.001, 0), (0.042, 0), (0.045, 0.01), (0.045, 0.17), (0.04, 0.2), (0.017, 0.235),
               (0.015, 0.28)]
    glass = choose.pick(((0.1, 0.28, 0.14), (0.36, 0.18, 0.06), (0.1, 0.22, 0.4)))
    tile = textures.label(choose.rng, glass, (0.92, 0.89, 0.8))
    cap = lathe([(0.018, 0.275), (0.018, 0.3), (0.001, 0.3)], 20)
    return [(lathe(profile), Material(tile, (0.2827, 0.34), 0.6, 90)), (cap, choose.plastic())]


def cone(choose: MaterialChooser) -> Shape:
    body = lathe([(0.078, 0.015), (0.012, 0.27), (0.001, 0.275)])
    return [(body, choose.bands(0.24)), (box(0.19, 0.19, 0.016), choose.plastic())]


def ring(choose: MaterialChooser) -> Shape:
    """Return a checkered ring standing upright."""
    return [(torus(0.085, 0.034).turned(0, 0, 0.119, roll=np.pi / 2), choose.checks(0.107))]


def book_pile(choose: MaterialChooser) -> Shape:
    """Return three books lying on each other."""
    shape: Shape = []
    z = 0.0
    for width, depth, height in ((0.26, 0.19, 0.035), (0.23, 0.17, 0.028), (0.21, 0.15, 0.03)):
        turn = rigid((0, 0, z), yaw=choose.rng.uniform(-0.25, 0.25))
        pages = box(width - 0.006, depth - 0.008, height - 0.008).translated(0.004, 0, 0.004)
        covers = merged([box(width, depth, 0.004), box(0.004, depth, height).translated(
            -width / 2, 0, 0), box(width, depth, 0.004).translated(0, 0, height - 0.004)])
        shape += [(pages.transformed(turn), choose.plain((0.9, 0.87, 0.78))),
                  (covers.transformed(turn), choose.print_cover(width, depth))]
        z += height
    return shape


def vase(choose: MaterialChooser) -> Shape:
    z = np.linspace(0, 0.27, 24)
    radius = 0.045 + 0.045 * np.sin(np.pi * (z / 0.27) ** 0.8) - 0.012 * (z > 0.25)
    body = lathe([(0.001, 0.0), *zip(radius, z), (0.02, 0.265)])
    return [(body, choose.stone() if choose.rng.random() < 0.4 else choose.bands(0.2))]


def bowl(choose: MaterialChooser) -> Shape:
    shell = lathe([(0.001, 0), (0.05, 0), (0.055, 0.01), (0.1, 0.05), (0.125, 0.095),
                   (0.118, 0.095), (0.09, 0.05), (0.001, 0.02)])
    places = [(0.045, 0, 0.085), (-0.03, 0.045, 0.085), (-0.03, -0.045, 0.08), (0, 0, 0.13)]
    fruit = merged([ball(0.043).translated(*place) for place in places])
    return [(shell, choose.ceramic()), (fruit, choose.plain((0.88, 0.48, 0.1), 0.12))]


def teddy(choose: MaterialChooser) -> Shape:
    fur = choose.plain((0.55, 0.36, 0.2), 0.01)
    body = [cushion(0.16, 0.13, 0.18, 0.8), ball(0.068).translated(0, -0.01, 0.22)]
    body += [ball(0.026).translated(x * 0.05, 0, 0.275) for x in (-1, 1)]
    body += [cushion(0.06, 0.13, 0.06, 0.8).translated(x * 0.055, -0.1, 0) for x in (-1, 1)]
    body += [cushion(0.05, 0.05, 0.12, 0.8).turned(x * 0.085, -0.03, 0.06, pitch=-x * 0.5)
             for x in (-1, 1)]
    dark = choose.plain((0.06, 0.05, 0.05), 0.4)
    face = [ball(0.009).translated(x * 0.024, -0.07, 0.235) for x in (-1, 1)]
    face.append(ball(0.013).translated(0, -0.078, 0.213))
    return [(merged(body), fur), (merged(face), dark)]


def cactus(choose: MaterialChooser) -> Shape:
    pot = lathe([(0.001, 0), (0.05, 0), (0.065, 0.09), (0.055, 0.09), (0.05, 0.08)], 30)
    tilt = np.linspace(0, np.pi / 2, 12)
    body = lathe([(0.042, 0.07), *zip(0.045 * np.cos(tilt), 0.17 + 0.045 * np.sin(tilt))], 40)
    ribs = choose.bands(0.05)
    return [(pot, choose.ceramic()),
            (body, Material(np.ascontiguousarray(
                (ribs.tile * 0.25 + np.float32([0.12, 0.35, 0.14])).transpose(1, 0, 2)),
                (0.0471, 0.1), 0.05, 10))]


def beach_ball(choose: MaterialChooser, radius: float) -> Shape:
    """Return an eight-coloured ball about the origin."""
    tile = textures.beach_ball(choose.rng)
    return [(ball(radius), Material(tile, (2 * np.pi * radius, 1.0), 0.35, 40))]


def toy_car(choose: MaterialChooser) -> Shape:
    """Return a car that drives along x."""
    body = [cushion(0.26, 0.13, 0.07, 0.3).translated(0, 0, 0.025),
            cushion(0.14, 0.115, 0.075, 0.4).translated(-0.02, 0, 0.075)]
    wheel = lathe([(0.001, -0.014), (0.034, -0.014), (0.034, 0.014), (0.001, 0.014)], 24)
    wheels = [wheel.turned(x * 0.078, y * 0.06, 0.034, roll=np.pi / 2)
              for x in (-1, 1) for y in (-1, 1)]
    panes = [box(0.1, 0.118, 0.03).translated(-0.02, 0, 0.098)]
    return [(merged(body), choose.plastic()),
            (merged(wheels), choose.plain((0.08, 0.08, 0.09), 0.1)),
            (merged(panes), choose.plain((0.3, 0.42, 0.5), 0.6))]


def robot_vacuum(choose: MaterialChooser) -> Shape:
    shell = lathe([(0.001, 0.01), (0.16, 0.01), (0.17, 0.03), (0.17, 0.075), (0.155, 0.09),
                   (0.001, 0.092)])
    tower = lathe([(0.05, 0.09), (0.05, 0.115), (0.001, 0.12)], 30)
    return [(shell, choose.plain((0.85, 0.86, 0.88), 0.4)),
            (tower, choose.plain((0.1, 0.1, 0.12), 0.4))]


TABLE_OBJECTS = (mug, bottle, carton, marble_ball, ring, cone, vase, book_pile, crate, bowl,
                 teddy, cactus)
"""Everything that fits on a table; each takes a MaterialChooser and returns a Shape."""
