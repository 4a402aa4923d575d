"""The room's furniture: shapes in metres, standing on z = 0, their front towards -y."""

from __future__ import annotations

from diffseg_ros.synthetic import prints, textures
from diffseg_ros.synthetic.material import Material, MaterialChooser, Shape
from diffseg_ros.synthetic.mesh import (
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


def _turned(mesh: Mesh, x: float, y: float, z: float, **angles: float) -> Mesh:
    return mesh.transformed(rigid((x, y, z), **angles))


def table(choose: MaterialChooser, width: float, depth: float, height: float) -> Shape:
    """Return a table with four legs."""
    wood = choose.wood()
    frame = [box(width - 0.16, depth - 0.16, 0.07).translated(0, 0, height - 0.11)]
    legs = [lathe([(0.022, 0), (0.032, height * 0.6), (0.036, height - 0.05)], 14)
            .translated(x * (width / 2 - 0.1), y * (depth / 2 - 0.1), 0)
            for x in (-1, 1) for y in (-1, 1)]
    return [(box(width, depth, 0.04).translated(0, 0, height - 0.04), wood),
            (merged(frame + legs), choose.wood())]


def chair(choose: MaterialChooser) -> Shape:
    """Return a chair with an upholstered seat and a slatted back."""
    wood = choose.wood()
    legs = [box(0.045, 0.045, 0.44).translated(x * 0.19, -0.19, 0) for x in (-1, 1)]
    posts = [_turned(box(0.045, 0.045, 0.95), x * 0.19, 0.19, 0, roll=-0.06) for x in (-1, 1)]
    slats = [box(0.36, 0.02, 0.07).translated(0, 0.215 + 0.006 * step, 0.55 + 0.12 * step)
             for step in range(4)]
    rails = [box(0.4, 0.4, 0.04).translated(0, 0, 0.4)]
    return [(merged(legs + posts + slats + rails), wood),
            (cushion(0.44, 0.44, 0.07, 0.3).translated(0, 0, 0.43), choose.fabric())]


def sofa(choose: MaterialChooser, width: float = 1.8) -> Shape:
    """Return a sofa with soft seats, arms and a back."""
    cover = choose.fabric() if choose.rng.random() < 0.7 else choose.leather()
    half = width / 2 - 0.2
    parts = [box(width - 0.1, 0.78, 0.2).translated(0, 0, 0.1),
             cushion(half, 0.68, 0.22, 0.25).translated(-half / 2, -0.08, 0.26),
             cushion(half, 0.68, 0.22, 0.25).translated(half / 2, -0.08, 0.26),
             _turned(cushion(half, 0.24, 0.52, 0.3), -half / 2, 0.27, 0.36, roll=-0.12),
             _turned(cushion(half, 0.24, 0.52, 0.3), half / 2, 0.27, 0.36, roll=-0.12),
             cushion(0.2, 0.86, 0.6, 0.3).translated(-width / 2 + 0.1, 0, 0.06),
             cushion(0.2, 0.86, 0.6, 0.3).translated(width / 2 - 0.1, 0, 0.06)]
    feet = [box(0.06, 0.06, 0.12).translated(x * (width / 2 - 0.1), y * 0.34, 0)
            for x in (-1, 1) for y in (-1, 1)]
    return [(merged(parts), cover), (merged(feet), choose.plain((0.12, 0.09, 0.07)))]


def pillow(choose: MaterialChooser) -> Shape:
    """Return a sofa cushion leaning back."""
    return [(_turned(cushion(0.42, 0.16, 0.42, 0.55), 0, 0, 0, roll=-0.25), choose.cloth())]


def shelf(choose: MaterialChooser, width: float = 0.95, height: float = 1.9) -> Shape:
    """Return an open shelf with five boards and a back."""
    wood = choose.wood()
    boards = [box(width, 0.3, 0.025).translated(0, 0, level) for level in shelf_levels(height)]
    sides = [box(0.025, 0.3, height).translated(x * width / 2, 0, 0) for x in (-1, 1)]
    back = box(width, 0.012, height).translated(0, 0.145, 0)
    return [(merged(boards + sides + [back]), wood)]


def shelf_levels(height: float = 1.9) -> list[float]:
    """Return the lower edges of the shelf's boards."""
    return np.linspace(0.06, height - 0.03, 6).tolist()


def books(choose: MaterialChooser, width: float, height: float = 0.24) -> Shape:
    """Return a row of books seen from their backs."""
    tile = prints.spines(choose.rng, max(4, round(width / 0.032)))
    shape = box(width, 0.19, height).translated(0, -0.02, 0)
    return [(shape, Material(tile, (width, height), 0.06, 15))]


def cabinet(choose: MaterialChooser, width: float = 1.2, height: float = 0.78) -> Shape:
    """Return a sideboard with drawers and knobs."""
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
                         .transformed(rigid((x, -0.232, z + step_z / 2), roll=np.pi / 2)))
    body = [box(width, 0.42, height - 0.12).translated(0, 0, 0.1),
            box(width + 0.04, 0.46, 0.03).translated(0, 0, height - 0.03)]
    legs = [box(0.05, 0.05, 0.1).translated(x * (width / 2 - 0.06), y * 0.16, 0)
            for x in (-1, 1) for y in (-1, 1)]
    return [(merged(body + legs), wood), (merged(fronts), front),
            (merged(knobs), choose.metal())]


def floor_lamp(choose: MaterialChooser) -> Shape:
    """Return a lamp on a pole with a glowing shade."""
    pole = lathe([(0.001, 0), (0.15, 0.0), (0.15, 0.02), (0.02, 0.03), (0.013, 0.06),
                  (0.013, 1.42), (0.001, 1.42)], 28)
    shade = lathe([(0.23, 1.32), (0.14, 1.62)], 40)
    glow = Material(textures.fabric(choose.rng, (0.98, 0.84, 0.6), 32), (0.4, 0.4), 0.0, 5, 0.75)
    return [(pole, choose.metal()), (shade, glow)]


def plant(choose: MaterialChooser, height: float = 1.1) -> Shape:
    """Return a potted plant with arching leaves."""
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
    return grid_surface(grid, uv).transformed(rigid((0, 0, 0), yaw=yaw))


def picture(choose: MaterialChooser, width: float, height: float) -> Shape:
    """Return a framed picture whose back is at y = 0, standing on z = 0."""
    rng = choose.rng
    tile = prints.landscape(rng) if rng.random() < 0.5 else prints.abstract(rng)
    canvas = panel(width, height).translated(0, -0.018, 0)
    return [(canvas, _fitted(tile, width, height, 0.05)), (_frame(width, height, 0.045),
                                                           choose.wood())]


def _fitted(tile: textures.Tile, width: float, height: float, specular: float = 0.0,
            emission: float = 0.0) -> Material:
    return Material(tile, (width, height), specular, 25, emission)


def _frame(width: float, height: float, bar: float) -> Mesh:
    upright = [box(bar, 0.035, height + 2 * bar).translated(x * (width + bar) / 2, -0.018, -bar)
               for x in (-1, 1)]
    level = [box(width, 0.035, bar).translated(0, -0.018, z) for z in (-bar, height)]
    return merged(upright + level)


def window(choose: MaterialChooser, width: float = 1.5, height: float = 1.2) -> Shape:
    """Return a window with a bright view, frame, cross bars and sill."""
    view = panel(width, height).translated(0, -0.004, 0)
    bars = [box(0.035, 0.04, height).translated(0, -0.02, 0),
            box(width, 0.04, 0.03).translated(0, -0.02, height * 0.62),
            _frame(width, height, 0.07), box(width + 0.3, 0.16, 0.03).translated(0, -0.08, -0.1)]
    outside = _fitted(prints.landscape(choose.rng, bright=True), width, height, emission=1.5)
    return [(view, outside), (merged(bars), choose.plain((0.9, 0.89, 0.86), 0.15))]


def curtain(choose: MaterialChooser, width: float = 0.5, height: float = 2.0) -> Shape:
    """Return a hanging curtain with folds."""
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
    """Return a carpet."""
    tile = prints.rug(choose.rng)
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
