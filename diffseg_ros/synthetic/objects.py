"""Small things of different shape and material, standing on z = 0, their front towards -y."""

from __future__ import annotations

from diffseg_ros.synthetic import prints
from diffseg_ros.synthetic.material import Material, MaterialChooser, Shape
from diffseg_ros.synthetic.mesh import ball, box, cushion, lathe, merged, rigid, torus, tube
import numpy as np


def mug(choose: MaterialChooser) -> Shape:
    """Return a mug with a handle."""
    body = lathe([(0.001, 0.0), (0.05, 0.0), (0.055, 0.01), (0.055, 0.125), (0.05, 0.125),
                  (0.048, 0.02), (0.001, 0.018)])
    bend = np.linspace(-np.pi / 2, np.pi / 2, 16)
    path = np.stack([0.052 + 0.045 * np.cos(bend), 0 * bend, 0.065 + 0.038 * np.sin(bend)], -1)
    return [(merged([body, tube(path, 0.009)]), choose.ceramic())]


def marble_ball(choose: MaterialChooser) -> Shape:
    """Return a stone ball."""
    return [(ball(0.085).translated(0, 0, 0.085), choose.stone())]


def carton(choose: MaterialChooser) -> Shape:
    """Return a printed box."""
    return [(box(0.17, 0.09, 0.24), choose.print_cover(0.17, 0.24))]


def crate(choose: MaterialChooser) -> Shape:
    """Return a wooden cube with edges of another wood."""
    side, bar = 0.17, 0.022
    edges = [box(bar, bar, side).translated(x * side / 2, y * side / 2, 0)
             for x in (-1, 1) for y in (-1, 1)]
    edges += [box(side, bar, bar).translated(0, y * side / 2, z)
              for y in (-1, 1) for z in (0, side - bar)]
    edges += [box(bar, side, bar).translated(x * side / 2, 0, z)
              for x in (-1, 1) for z in (0, side - bar)]
    return [(box(side, side, side - 0.01).translated(0, 0, 0.005), choose.wood()),
            (merged(edges), choose.wood())]


def bottle(choose: MaterialChooser) -> Shape:
    """Return a glass bottle with a paper label and a cap."""
    profile = [(0.001, 0), (0.042, 0), (0.045, 0.01), (0.045, 0.17), (0.04, 0.2), (0.017, 0.235),
               (0.015, 0.28)]
    glass = choose.pick(((0.1, 0.28, 0.14), (0.36, 0.18, 0.06), (0.1, 0.22, 0.4)))
    tile = prints.label(choose.rng, glass, (0.92, 0.89, 0.8))
    cap = lathe([(0.018, 0.275), (0.018, 0.3), (0.001, 0.3)], 20)
    return [(lathe(profile), Material(tile, (0.2827, 0.34), 0.6, 90)), (cap, choose.plastic())]


def cone(choose: MaterialChooser) -> Shape:
    """Return a banded cone on a foot."""
    body = lathe([(0.078, 0.015), (0.012, 0.27), (0.001, 0.275)])
    return [(body, choose.bands(0.24)), (box(0.19, 0.19, 0.016), choose.plastic())]


def ring(choose: MaterialChooser) -> Shape:
    """Return a checkered ring standing upright."""
    upright = torus(0.085, 0.034).transformed(rigid((0, 0, 0.119), roll=np.pi / 2))
    return [(upright, choose.checks(0.107))]


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
    """Return a vase with a swelling body."""
    z = np.linspace(0, 0.27, 24)
    radius = 0.045 + 0.045 * np.sin(np.pi * (z / 0.27) ** 0.8) - 0.012 * (z > 0.25)
    body = lathe([(0.001, 0.0), *zip(radius, z), (0.02, 0.265)])
    return [(body, choose.stone() if choose.rng.random() < 0.4 else choose.bands(0.2))]


def bowl(choose: MaterialChooser) -> Shape:
    """Return a bowl of fruit."""
    shell = lathe([(0.001, 0), (0.05, 0), (0.055, 0.01), (0.1, 0.05), (0.125, 0.095),
                   (0.118, 0.095), (0.09, 0.05), (0.001, 0.02)])
    places = [(0.045, 0, 0.085), (-0.03, 0.045, 0.085), (-0.03, -0.045, 0.08), (0, 0, 0.13)]
    fruit = merged([ball(0.043).translated(*place) for place in places])
    return [(shell, choose.ceramic()), (fruit, choose.plain((0.88, 0.48, 0.1), 0.12))]


def teddy(choose: MaterialChooser) -> Shape:
    """Return a sitting toy bear."""
    fur = choose.plain((0.55, 0.36, 0.2), 0.01)
    body = [cushion(0.16, 0.13, 0.18, 0.8), ball(0.068).translated(0, -0.01, 0.22)]
    body += [ball(0.026).translated(x * 0.05, 0, 0.275) for x in (-1, 1)]
    body += [cushion(0.06, 0.13, 0.06, 0.8).translated(x * 0.055, -0.1, 0) for x in (-1, 1)]
    body += [cushion(0.05, 0.05, 0.12, 0.8).transformed(
        rigid((x * 0.085, -0.03, 0.06), pitch=-x * 0.5)) for x in (-1, 1)]
    dark = choose.plain((0.06, 0.05, 0.05), 0.4)
    face = [ball(0.009).translated(x * 0.024, -0.07, 0.235) for x in (-1, 1)]
    face.append(ball(0.013).translated(0, -0.078, 0.213))
    return [(merged(body), fur), (merged(face), dark)]


def cactus(choose: MaterialChooser) -> Shape:
    """Return a ribbed cactus in a pot."""
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
    tile = prints.beach_ball(choose.rng)
    return [(ball(radius), Material(tile, (2 * np.pi * radius, 1.0), 0.35, 40))]


def toy_car(choose: MaterialChooser) -> Shape:
    """Return a car that drives along x."""
    body = [cushion(0.26, 0.13, 0.07, 0.3).translated(0, 0, 0.025),
            cushion(0.14, 0.115, 0.075, 0.4).translated(-0.02, 0, 0.075)]
    wheel = lathe([(0.001, -0.014), (0.034, -0.014), (0.034, 0.014), (0.001, 0.014)], 24)
    wheels = [wheel.transformed(rigid((x * 0.078, y * 0.06, 0.034), roll=np.pi / 2))
              for x in (-1, 1) for y in (-1, 1)]
    panes = [box(0.1, 0.118, 0.03).translated(-0.02, 0, 0.098)]
    return [(merged(body), choose.plastic()),
            (merged(wheels), choose.plain((0.08, 0.08, 0.09), 0.1)),
            (merged(panes), choose.plain((0.3, 0.42, 0.5), 0.6))]


def robot_vacuum(choose: MaterialChooser) -> Shape:
    """Return a round cleaning robot."""
    shell = lathe([(0.001, 0.01), (0.16, 0.01), (0.17, 0.03), (0.17, 0.075), (0.155, 0.09),
                   (0.001, 0.092)])
    tower = lathe([(0.05, 0.09), (0.05, 0.115), (0.001, 0.12)], 30)
    return [(shell, choose.plain((0.85, 0.86, 0.88), 0.4)),
            (tower, choose.plain((0.1, 0.1, 0.12), 0.4))]


TABLE_OBJECTS = (mug, bottle, carton, marble_ball, ring, cone, vase, book_pile, crate, bowl,
                 teddy, cactus)
"""Everything that fits on a table; each takes a MaterialChooser and returns a Shape."""
