"""Depth images of rooms of planes, with a table, a box and a ball, and what is at each pixel."""

from diffseg_ros.segmentation.support_surfaces import DISPARITY_NOISE
from diffseg_ros.types import Frame, Intrinsics
import numpy as np

CAMERA = Intrinsics(320, 240, 262.5, 262.5, 159.5, 119.5)
FLOOR, WALL, CEILING, TABLE, OBJECT = 'floor', 'wall', 'ceiling', 'table', 'object'
FARTHEST = 5.0


def to_world(pitch, roll):
    """Return the rotation of a camera that looks down by `pitch`, turned by `roll`, degrees."""
    down, turn = np.radians([pitch, roll])
    looks = np.array([[1, 0, 0], [0, np.cos(down), np.sin(down)], [0, -np.sin(down),
                                                                  np.cos(down)]])
    return looks @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0],
                             [0, 0, 1]])


def box(middle, size):
    """Return how far rays from the camera go to a box, infinity where they miss it."""
    def hit(rays):
        with np.errstate(divide='ignore'):
            reach = np.stack([(np.asarray(middle) + sign * np.asarray(size) / 2) / rays
                              for sign in (-1, 1)])
        enter, leave = reach.min(axis=0).max(axis=-1), reach.max(axis=0).min(axis=-1)
        return np.where((enter < leave) & (enter > 0), enter, np.inf)
    return hit


def ball(middle, radius):
    """Return how far rays from the camera go to a ball, infinity where they miss it."""
    def hit(rays):
        square, middle_ = np.square(rays).sum(axis=-1), np.asarray(middle)
        along = rays @ middle_ / square
        under = along**2 - (middle_ @ middle_ - radius**2) / square
        return np.where((under > 0) & (along > 0), along - np.sqrt(np.maximum(under, 0)), np.inf)
    return hit


def plane(axis, place):
    """Return how far rays from the camera go to where a coordinate is `place`."""
    def hit(rays):
        with np.errstate(divide='ignore'):
            reach = place / rays[..., axis]
        return np.where(reach > 0, reach, np.inf)
    return hit


def view(things, *, pitch=0.0, roll=0.0, seed=0, scale=1):
    """Return a frame with the noise of a Kinect, and which thing is at each pixel."""
    camera = CAMERA.resized(320 * scale, 240 * scale)
    y, x = np.mgrid[:camera.height, :camera.width]
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy,
                     np.ones(x.shape)], axis=-1) @ to_world(pitch, roll).T
    layers = np.stack([hit(rays) for hit in things])
    disparity = 1 / layers.min(axis=0)
    disparity += np.random.default_rng(seed).normal(0, DISPARITY_NOISE, x.shape)
    seen = disparity > 1 / FARTHEST
    depth = np.where(seen, 1 / np.where(seen, disparity, 1), 0).astype(np.float32)
    frame = Frame(np.zeros((*x.shape, 3), np.uint8), depth=depth, intrinsics=camera)
    return frame, np.where(seen, layers.argmin(axis=0), -1)


def room(height, *, back=3.5, side=2.0, high=2.5):
    """Return floor, back and side walls and ceiling around a camera this high above the floor."""
    return [plane(1, height), plane(2, back), plane(0, side), plane(0, -side),
            plane(1, height - high)]
