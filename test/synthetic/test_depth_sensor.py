"""The depth camera's faults are where, and as big as, the model says."""

from __future__ import annotations

from diffseg_ros.synthetic.depth_sensor import (
    BASELINE,
    DISPARITY_NOISE,
    DISPARITY_STEP,
    measure_depth,
)
import numpy as np
import pytest

FOCAL = 525.0
SHAPE = (120, 160)


def measure(depth, incidence=1.0, reflectance=0.5, seed=0):
    """Measure with the same incidence and reflectance everywhere."""
    full = (np.full(SHAPE, value, np.float32) for value in (incidence, reflectance))
    return measure_depth(np.broadcast_to(depth, SHAPE).astype(np.float32), *full, FOCAL, seed)


@pytest.mark.parametrize('metres', [0.8, 1.5, 3.0, 5.0])
def test_steps_and_noise_grow_with_the_square_of_depth(metres):
    found = measure(np.float32(metres))
    per_pixel = metres**2 / (FOCAL * BASELINE)
    assert np.nanmean(found) == pytest.approx(metres, rel=0.01)
    assert np.nanmedian(np.abs(found - metres)) < per_pixel * 0.2
    assert np.nanstd(found) == pytest.approx(
        per_pixel * np.hypot(DISPARITY_NOISE, DISPARITY_STEP / 12**0.5), rel=0.5)
    values = np.unique(found[np.isfinite(found)])
    assert 1 < len(values) < 20
    steps = FOCAL * BASELINE / values / DISPARITY_STEP
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)


@pytest.mark.parametrize('metres', [0.2, 7.5, np.nan])
def test_nothing_is_measured_out_of_range(metres):
    assert np.isnan(measure(np.float32(metres))).all()


def test_grazing_and_dark_surfaces_are_lost():
    assert np.isnan(measure(np.float32(2.0), incidence=0.05)).mean() > 0.9
    assert np.isnan(measure(np.float32(2.0), reflectance=0.001)).mean() > 0.9
    assert np.isnan(measure(np.float32(2.0))).mean() < 0.01


def test_the_shadow_lies_left_of_a_near_thing_and_has_the_right_width():
    depth = np.full(SHAPE, 3.0, np.float32)
    depth[40:80, 80:120] = 1.0
    lost = np.isnan(measure(depth))[50:70]
    width = round(FOCAL * BASELINE * (1 / 1.0 - 1 / 3.0))
    assert lost[:, 80 - width + 2:78].all()
    assert lost[:, :80 - width - 4].mean() < 0.02
    assert lost[:, 123:].mean() < 0.02


def test_edges_are_frayed_and_the_seed_decides_how():
    depth = np.full(SHAPE, 3.0, np.float32)
    depth[:60] = 1.0
    first, again, other = measure(depth, seed=1), measure(depth, seed=1), measure(depth, seed=2)
    np.testing.assert_array_equal(first, again)
    edge = np.isnan(first)[58:62]
    assert 0.1 < edge.mean() < 0.9
    assert (np.isnan(other)[58:62] != edge).any()
