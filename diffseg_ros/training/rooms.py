"""Views of generated rooms as further photos; denoising needs no truth of them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
from diffseg_ros.synthetic.camera_path import camera_path, look_at
from diffseg_ros.synthetic.renderer import CAMERA, Renderer
from diffseg_ros.synthetic.scene import create_scene
import numpy as np

VIEWS_PER_ROOM = 6
"""Views of one room: setting a room up costs as much time as rendering several."""

FIRST_ROOM = 1_000_000
"""Rooms below this number are left to demos and measurements."""

_SIZE = 320, 240
_WALK_SECONDS = 60.0
_SPREAD = 1.5, 1.5, 0.6


def room_photos(rooms: int, seed: int = 0) -> Iterator[bytes]:
    """
    Yield views of random rooms, as encoded images of 320x240 pixels.

    The camera stands on its walk round the room and looks at the middle of things or past it.

    Parameters
    ----------
    rooms
        How many; each gives `VIEWS_PER_ROOM` views.
    seed
        Another one gives other rooms.

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
            picture = renderer.render(float(time), pose, room)
            yield cv2.imencode('.png', picture.rgb[:, :, ::-1])[1].tobytes()
