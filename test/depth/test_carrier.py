from dataclasses import replace

from diffseg_ros.depth.carrier import Carrier, View
from diffseg_ros.geometry.pixel_source import Source
from hall import frame
import numpy as np
import pytest

SHAPE = 120, 160
HERE = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)


def shifted(columns: int) -> Source:
    """Return the step of an image that moved to the right."""
    known = np.ones(SHAPE, bool)
    known[:, :columns] = False
    return Source(np.where(known, HERE - columns, 0), known)


def test_depth_of_the_keyframe_itself_is_as_predicted():
    there = frame()
    depth, known = Carrier().carry(there.depth, View.of(there), there)
    assert np.array_equal(depth, there.depth) and known.all()


def test_steps_are_composed_and_what_came_into_view_gets_the_nearest():
    there, carrier = frame(), Carrier()
    for _ in range(3):
        carrier.follow(shifted(2).filled())
    depth, known = carrier.carry(there.depth, View(None, None, ''), there)
    assert carrier.frames == 3
    assert np.array_equal(depth[:, 6:], there.depth[:, :-6]) and known[:, 6:].all()
    assert not known[:, :6].any()
    assert np.array_equal(depth[:, :6], np.repeat(there.depth[:, :1], 6, axis=1))


def test_where_motion_is_not_known_it_is_that_of_the_nearest_pixel():
    step = shifted(3)
    holes = np.zeros(SHAPE, bool)
    holes[40:60, 80:100] = True
    filled = Source(np.where(holes, 0, step.index), step.known & ~holes).filled()
    assert np.array_equal(filled.index[holes], step.index[holes])
    assert not filled.known[holes].any()


def test_points_come_nearer_as_the_camera_moves_ahead():
    there, here = frame(), frame(ahead=0.5)
    carrier = Carrier()
    carrier.follow(Source(HERE, np.ones(SHAPE, bool)))
    depth, _ = carrier.carry(there.depth, View.of(there), here)
    # A camera that moves along its axis by s sees what it looked at nearer by s.
    along = 0.5 * np.cos(0.15)
    np.testing.assert_allclose(depth, there.depth - along, atol=1e-5)
    unposed, _ = carrier.carry(there.depth, View(there.intrinsics, None, 'map'), here)
    assert np.array_equal(unposed, there.depth)
    elsewhere, _ = carrier.carry(there.depth, View(there.intrinsics, there.pose, 'odom'), here)
    assert np.array_equal(elsewhere, there.depth)


def test_a_correction_of_the_map_brings_no_point_nearer():
    there = frame()
    corrected = replace(there, pose=frame(ahead=0.5).pose, odom_pose=there.pose)
    carrier = Carrier()
    carrier.follow(Source(HERE, np.ones(SHAPE, bool)))
    view = View.of(replace(there, odom_pose=there.pose))
    depth, _ = carrier.carry(there.depth, view, corrected)
    np.testing.assert_allclose(depth, there.depth, atol=1e-5)


@pytest.mark.parametrize('step', [
    None, Source(HERE[::2, ::2], np.ones((60, 80), bool)),
    Source(np.zeros_like(HERE), np.zeros(SHAPE, bool))])
def test_an_unrelated_frame_has_no_depth(step):
    there, carrier = frame(), Carrier()
    carrier.follow(shifted(1).filled())
    carrier.follow(step)
    carrier.follow(shifted(1).filled())
    assert carrier.carry(there.depth, View.of(there), there) is None


def test_depth_is_carried_at_the_size_of_tracking():
    there, carrier = frame(), Carrier()
    small = np.arange(60 * 80).reshape(60, 80)
    carrier.follow(Source(small, np.ones((60, 80), bool)))
    depth, known = carrier.carry(there.depth, View.of(there), there)
    assert depth.shape == known.shape == SHAPE
    assert np.median(np.abs(depth - there.depth) / there.depth) < 0.02
