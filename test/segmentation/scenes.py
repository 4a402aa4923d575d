"""Frames of known truth, and one call that segments them."""

from diffseg_ros.config import SegmentationConfig
from diffseg_ros.pipeline import create_method
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame, Intrinsics
import numpy as np

CAMERA = Intrinsics(80, 60, 70.0, 70.0, 39.5, 29.5)


def config(method='regions', **values):
    """Return settings; `regions__scale` stands for `regions.scale`."""
    return updated(SegmentationConfig(method=method),
                   {name.replace('__', '.'): value for name, value in values.items()})


def segment(frame, features, method='regions', *, prior=None, attention=None, **values):
    """Return the segments of one frame."""
    return create_method(config(method, **values)).segment(frame, features, prior, attention)


def noise(height, width, seed=0):
    """Return an image of random colours."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def frame_of(depth):
    """Return a black frame with this (60, 80) depth."""
    return Frame(np.zeros((*depth.shape, 3), np.uint8), depth=depth.astype(np.float32),
                 intrinsics=CAMERA)


def plane_depth(normal, offset):
    """Return the depth image of the plane normal . x = offset."""
    y, x = np.mgrid[:60, :80]
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy,
                     np.ones((60, 80))], axis=-1)
    return offset / (rays @ np.asarray(normal))


def same_partition(one, other):
    """Return whether two labellings group the same things."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))
