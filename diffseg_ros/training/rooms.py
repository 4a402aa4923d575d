"""Views of generated rooms as further training images; their truth is not used."""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.synthetic.camera_path import camera_path, look_at
from diffseg_ros.synthetic.renderer import CAMERA, Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.types import RgbImage
import numpy as np

VIEWS_PER_ROOM = 6
"""Views of one room: creating a room takes as long as rendering several views."""

FIRST_ROOM = 1_000_000
"""Rooms with lower numbers are for demos and measurements."""

_SIZE = 320, 240
_WALK_SECONDS = 60.0
_SPREAD = 1.5, 1.5, 0.6


def room_images(rooms: int, seed: int = 0) -> Iterator[RgbImage]:
    """
    Yield `VIEWS_PER_ROOM` views of each of some random rooms, (240, 320, 3) uint8.

    The camera stands on its path around the room and looks at the objects or past them. Another
    seed gives other rooms.
    """
    camera = CAMERA.resized(*_SIZE)
    for number in range(rooms):
        room = FIRST_ROOM + seed * 100_000 + number
        rng = np.random.default_rng([room, 3])
        renderer = Renderer(create_scene(room), camera)
        times = rng.uniform(0, _WALK_SECONDS, VIEWS_PER_ROOM)
        positions = camera_path(renderer.scene, times, room)[:, :3, 3]
        targets = renderer.scene.focus + rng.normal(0, _SPREAD, positions.shape)
        for time, pose in zip(times, look_at(positions, targets), strict=True):
            yield renderer.render(float(time), pose, room).rgb
