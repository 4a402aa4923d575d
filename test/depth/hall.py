"""A hall with a box, rendered by hand: what is true of every pixel is known."""

from __future__ import annotations

import cv2
from diffseg_ros.types import Frame, Intrinsics
import numpy as np

CAMERA = Intrinsics(160, 120, 130.0, 130.0, 79.5, 59.5)
HEIGHT = 1.2
"""Metres of the camera above the floor."""
_FAR, _SIDE, _CEILING = 6.0, 2.5, 2.6
_BOX = -0.9, 0.3, 3.0, 0.8
"""Left, right, front and height of a box that reaches to the wall."""
_PER_METRE = 24


def pose(right: float = 0.0, ahead: float = 0.0, tilt: float = 0.15) -> np.ndarray:
    """Return a camera at HEIGHT that looks ahead, tilted down by some radians; z is up."""
    made = np.eye(4)
    made[:3, 0] = 1, 0, 0
    made[:3, 1] = 0, -np.sin(tilt), -np.cos(tilt)
    made[:3, 2] = 0, np.cos(tilt), -np.sin(tilt)
    made[:3, 3] = right, ahead, HEIGHT
    return made


def frame(number: int = 0, *, right: float = 0.0, ahead: float = 0.0,
          tilt: float = 0.15) -> Frame:
    """Return frame `number` at 10 Hz, with its true depth and pose."""
    place = pose(right, ahead, tilt)
    columns, rows = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy,
                     np.ones(columns.shape)], axis=-1) @ place[:3, :3].T
    depth, rgb = np.full(columns.shape, np.inf), np.zeros((*columns.shape, 3), np.uint8)
    left, end, front, top = _BOX
    surfaces = [(2, 0.0, 1), (2, _CEILING, 2), (1, _FAR, 3), (0, -_SIDE, 4), (0, _SIDE, 5),
                (1, front, 6), (2, top, 7)]
    for axis, offset, seed in surfaces:
        with np.errstate(divide='ignore', invalid='ignore'):
            metres = (offset - place[axis, 3]) / rays[..., axis]
            points = place[:3, 3] + rays * metres[..., None]
        hit = (metres > 0.1) & (metres < depth)
        if seed >= 6:
            hit &= (points[..., 0] >= left) & (points[..., 0] <= end)
            hit &= (points[..., 2] <= top + 1e-6) & (points[..., 1] >= front - 1e-6)
            hit &= points[..., 1] <= _FAR
        depth[hit] = metres[hit]
        across = np.delete(points[hit], axis, axis=1)
        rgb[hit] = _texture(seed, across)
    return Frame(rgb, number * 100_000_000, 'optical', depth.astype(np.float32), CAMERA, place)


def _texture(seed: int, places: np.ndarray) -> np.ndarray:
    """Return the colour of (N, 2) metres on a surface: smooth spots around a colour of its own."""
    rng = np.random.default_rng(seed)
    spots = cv2.GaussianBlur(rng.normal(0, 1, (400, 400)).astype(np.float32), (0, 0), 1.5)
    place = ((places + 8) * _PER_METRE).astype(np.float32) % 399
    shade = cv2.remap(spots, place[:, :1], place[:, 1:], cv2.INTER_LINEAR)
    colour = rng.uniform(70, 190, 3)
    return (colour + 60 * shade / spots.std() * 0.6).clip(0, 255).astype(np.uint8)
