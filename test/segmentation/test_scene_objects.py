"""Objects on tables: support surfaces, convex pieces and parts behind others."""

from dataclasses import replace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.evaluation.datasets import MaskDataset
from diffseg_ros.evaluation.objects import ObjectOverlap
from diffseg_ros.segmentation.convex_objects import concavity
from diffseg_ros.segmentation.scene_objects import frame_objects
from diffseg_ros.segmentation.support_surfaces import DISPARITY_NOISE
from diffseg_ros.types import Frame, Intrinsics
import numpy as np
import pytest

CAMERA = Intrinsics(640, 480, 525.0, 525.0, 319.5, 239.5)
# The camera looks down by 35 degrees from 0.7 m above the table; x is right, y down, z ahead.
DOWN = np.radians(35)
TO_WORLD = np.array([[1, 0, 0], [0, np.cos(DOWN), np.sin(DOWN)],
                     [0, -np.sin(DOWN), np.cos(DOWN)]])
TABLE = 0.7


def box(x, z, width, height, depth, turn=0.0, above=0.0):
    """Return a box that stands on the table: middle, size, and angle in degrees."""
    return np.array([x, TABLE - above - height / 2, z]), (width, height, depth), np.radians(turn)


def scene(*boxes, sphere=None, wall=None, seed=0):
    """Return a frame with the noise of a Kinect, and the number of the thing at each pixel."""
    y, x = np.mgrid[:480, :640]
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy,
                     np.ones(x.shape)], axis=-1) @ TO_WORLD.T
    layers = [np.where(rays[..., 1] > 0, TABLE / np.maximum(rays[..., 1], 1e-9), np.inf)]
    layers.append(np.full(x.shape, np.inf) if wall is None else wall / rays[..., 2])
    for middle, size, turn in boxes:
        around = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0],
                           [-np.sin(turn), 0, np.cos(turn)]])
        with np.errstate(divide='ignore'):
            reach = np.stack([(around @ middle + sign * np.array(size) / 2) / (rays @ around.T)
                              for sign in (-1, 1)])
        enter, leave = reach.min(axis=0).max(axis=-1), reach.max(axis=0).min(axis=-1)
        layers.append(np.where(enter < leave, enter, np.inf))
    if sphere is not None:
        middle, radius = sphere
        along = rays @ middle / np.square(rays).sum(axis=-1)
        under = along**2 - (middle @ middle - radius**2) / np.square(rays).sum(axis=-1)
        layers.append(np.where(under > 0, along - np.sqrt(np.maximum(under, 0)), np.inf))
    nearest = np.argmin(layers, axis=0)
    disparity = 1 / np.min(layers, axis=0)
    disparity += np.random.default_rng(seed).normal(0, DISPARITY_NOISE, x.shape)
    depth = np.where(disparity > 0.4, 1 / np.maximum(disparity, 0.4), 0).astype(np.float32)
    return (Frame(np.zeros((480, 640, 3), np.uint8), depth=depth, intrinsics=CAMERA),
            np.maximum(nearest - 1, 0))


def score(labels, truth):
    """Return overlap F of objects, and how many were found."""
    measure = ObjectOverlap()
    measure.update(MaskObservation(labels, truth))
    found = measure.compute()
    return found['overlap_f'], found['objects_found']


class MaskObservation:
    def __init__(self, labels, truth):
        self.labels, self.truth, self.ignored, self.background = labels, truth, 255, None


BALL = np.array([0.1, TABLE - 0.1, 0.9]), 0.1
SCENES = {
    'nothing': scene(),
    'box on a table': scene(box(0, 0.9, 0.2, 0.15, 0.15, 30)),
    'two boxes that touch': scene(box(-0.1, 0.9, 0.2, 0.25, 0.15), box(0.1, 0.85, 0.2, 0.12, 0.2)),
    'box on a box': scene(box(0, 0.9, 0.35, 0.1, 0.3), box(0, 0.95, 0.15, 0.12, 0.12, 20, 0.1)),
    'box amid a box': scene(box(0, 0.95, 0.4, 0.1, 0.36), box(0, 0.9, 0.14, 0.05, 0.14, 0, 0.1)),
    'sphere': scene(sphere=BALL),
    'box and wall behind': scene(box(0, 0.9, 0.2, 0.2, 0.15, 20), wall=1.25),
    'box behind a box': scene(box(0, 1.0, 0.5, 0.15, 0.15), box(0, 0.8, 0.12, 0.4, 0.1)),
    'boxes side by side': scene(box(-0.2, 0.9, 0.15, 0.15, 0.15), box(0.2, 0.9, 0.15, 0.15, 0.15)),
}


@pytest.mark.parametrize('name', SCENES)
def test_each_thing_is_one_object(name):
    frame, truth = SCENES[name]
    f_value, found = score(frame_objects(frame), truth)
    assert found == len(np.unique(truth)) - 1
    assert f_value > 0.93


def test_objects_of_a_photo_larger_than_its_depth():
    frame, truth = SCENES['box on a table']
    large = replace(frame, rgb=np.zeros((960, 1280, 3), np.uint8),
                    intrinsics=CAMERA.resized(1280, 960))
    labels = frame_objects(large)
    assert labels.shape == (960, 1280) and labels.dtype == np.int32
    assert score(labels[::2, ::2], truth)[0] > 0.93


def test_pixels_without_depth_are_no_object():
    frame, _ = SCENES['box on a table']
    depth = frame.depth.copy()
    depth[200:260] = 0
    labels = frame_objects(replace(frame, depth=depth))
    assert labels.max() >= 0 and (labels[200:260] == -1).all()
    empty = replace(frame, depth=np.zeros_like(depth))
    assert (frame_objects(empty) == -1).all()


@pytest.mark.parametrize('missing', ['depth', 'intrinsics'])
def test_depth_and_camera_are_needed(missing):
    frame, _ = SCENES['nothing']
    with pytest.raises(DiffsegError, match='no depth or no camera'):
        frame_objects(replace(frame, **{missing: None}))


def test_concavity_of_a_plane_is_noise_and_of_a_valley_is_not():
    column = np.arange(100)
    slanted = np.tile((1 / (1 + 0.002 * column)).astype(np.float32), (60, 1))
    assert concavity(slanted)[10:-10, 10:-10].max() < 1e-5
    valley = np.tile((1 / (1 + 0.004 * np.abs(column - 50))).astype(np.float32), (60, 1))
    bend = concavity(valley)[30]
    assert bend.argmax() == 50 and bend[50] > 3 * DISPARITY_NOISE
    ridge = np.tile((1 / (1.2 - 0.004 * np.abs(column - 50))).astype(np.float32), (60, 1))
    assert concavity(ridge)[30, 10:-10].max() < 1e-5


def test_real_tables(real_masks):
    measure = ObjectOverlap()
    dataset = MaskDataset(real_masks / 'tabletop_objects')
    for number, (_, frame, truth) in enumerate(dataset):
        if number % 5 == 1:
            measure.update(dataset.observation(frame, truth, frame_objects(frame)))
    found = measure.compute()
    assert found['overlap_f'] > 0.9 and found['object_boundary_f'] > 0.75
