"""Completed depth: what is measured stays, no step at a rim, edges of the prediction stay."""

from __future__ import annotations

import cv2
from diffseg_ros.depth.completion import complete
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import DepthImage, Mask
from hypothesis import given, settings, strategies
from hypothesis.extra.numpy import arrays
import numpy as np
import numpy.typing as npt
import pytest

SHAPE = 96, 128
NAN = np.float32(np.nan)
ROWS, COLUMNS = np.indices(SHAPE, dtype=np.float32)


def room() -> DepthImage:
    """Return a floor that comes nearer downwards, and a box before it."""
    depth = 4 - 2 * ROWS / SHAPE[0]
    depth[30:70, 40:80] = 1.2
    return depth


def disc(row: int, column: int, radius: int) -> Mask:
    """Return a disc."""
    return np.hypot(ROWS - row, COLUMNS - column) < radius


def steps(depth: DepthImage, hole: Mask) -> npt.NDArray[np.float32]:
    """Return the relative steps between measured pixels and filled ones beside them."""
    along = [np.abs(np.diff(np.log(depth), axis=axis))[np.diff(hole.astype(int), axis=axis) != 0]
             for axis in (0, 1)]
    return np.concatenate(along)


def test_a_prediction_off_by_a_factor_is_put_right_everywhere() -> None:
    truth = room()
    hole = disc(50, 60, 30) | disc(0, 127, 20)
    found = complete(np.where(hole, NAN, truth), truth * 1.7)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth, rtol=1e-4)


@pytest.mark.parametrize('hole', [disc(20, 25, 12), disc(48, 60, 40), disc(85, 110, 25)])
def test_a_smooth_error_leaves_no_step_at_the_rim_and_less_error_inside(hole: Mask) -> None:
    truth = room()
    bend = np.exp(0.2 * np.sin(COLUMNS / 25) + 0.15 * np.cos(ROWS / 20))
    measured = np.where(hole, NAN, truth)
    found = complete(measured, truth * bend)
    np.testing.assert_array_equal(found[~hole], truth[~hole])
    # What is left of a step is what the bend itself does from pixel to pixel.
    ratio = found / truth
    assert steps(ratio, hole).max() < 0.03
    assert steps(np.where(hole, bend, 1), hole).max() > 0.15
    assert np.abs(np.log(ratio[hole])).mean() < 0.4 * np.abs(np.log(bend[hole])).mean()


def test_an_edge_inside_a_hole_stays_sharp() -> None:
    truth = room()
    hole = disc(50, 40, 18)
    found = complete(np.where(hole, NAN, truth), truth * np.exp(0.002 * COLUMNS + 0.1))
    beside = found[50, 36:44]
    np.testing.assert_allclose(beside, truth[50, 36:44], rtol=0.03)
    assert beside[4] < 0.5 * beside[3]


def test_an_edge_that_is_seen_elsewhere_does_not_smear_into_the_hole() -> None:
    truth = room()
    # The prediction has the box three pixels farther right; the hole borders on its edge.
    predicted = np.roll(truth, 3, axis=1)
    hole = disc(50, 22, 17)
    found = complete(np.where(hole, NAN, truth), predicted)
    np.testing.assert_allclose(found[hole], predicted[hole], rtol=0.05)


def test_real_noise_at_the_rim_is_not_carried_far() -> None:
    truth = room()
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    hole = disc(50, 60, 25)
    found = complete(np.where(hole, NAN, truth * np.exp(0.02 * noise)), truth)
    inner = disc(50, 60, 20)
    assert np.abs(np.log(found / truth)[inner]).mean() < 0.006


@pytest.mark.parametrize('count', [1, 20, 300])
def test_measured_pixels_that_stand_alone_bend_nothing(count: int) -> None:
    truth = room()
    measured = np.full(SHAPE, NAN)
    noise = np.random.default_rng(0).choice(truth.size, count, replace=False)
    measured.ravel()[noise] = 0.3
    found = complete(measured, truth)
    np.testing.assert_array_equal(found, np.where(measured > 0, measured, truth))


def test_a_few_pixels_bend_a_prediction_that_is_nearly_right() -> None:
    truth, random = room(), np.random.default_rng(0)
    bend = np.exp(0.15 * np.sin(COLUMNS / 25) + 0.05 * np.cos(ROWS / 20))
    measured = np.where(random.random(SHAPE) < 0.02, truth, NAN)
    wrong = random.random(SHAPE) < 0.2
    measured = np.where(wrong, measured * np.float32(2), measured)
    errors = [np.abs(np.log(found / truth))[np.isnan(measured)].mean()
              for found in (complete(measured, truth * bend), truth * bend)]
    assert errors[0] < 0.4 * errors[1]


def test_what_cannot_be_filled_is_left_and_what_needs_no_filling_too() -> None:
    truth = room()
    hole = disc(50, 60, 20)
    measured, blind = np.where(hole, NAN, truth), disc(50, 60, 5)
    found = complete(measured, np.where(blind, NAN, truth))
    np.testing.assert_array_equal(np.isnan(found), blind)
    np.testing.assert_array_equal(complete(truth, truth * 2), truth)
    nothing = np.full(SHAPE, NAN)
    np.testing.assert_array_equal(complete(nothing, truth), truth)
    np.testing.assert_array_equal(complete(measured, nothing), measured)
    # No model means zero metres or less.
    np.testing.assert_array_equal(complete(nothing, truth - truth), nothing)
    with pytest.raises(DiffsegError, match=r'\(96, 128\) measured and \(2, 2\) predicted'):
        complete(truth, truth[:2, :2])


def test_inputs_are_not_changed() -> None:
    measured, predicted = np.where(disc(9, 9, 5), NAN, room()), room() * 2
    copies = measured.copy(), predicted.copy()
    complete(measured, predicted)
    np.testing.assert_array_equal(measured, copies[0])
    np.testing.assert_array_equal(predicted, copies[1])


METRES = strategies.floats(0.125, 64, width=32)
SIZES = strategies.tuples(strategies.integers(1, 12), strategies.integers(1, 12))


@settings(max_examples=60)
@given(strategies.data())
def test_any_depth_of_any_size(data: strategies.DataObject) -> None:
    size = data.draw(SIZES)
    measured, predicted = (data.draw(arrays(np.float32, size, elements=strategies.one_of(
        METRES, strategies.just(float('nan'))))) for _ in range(2))
    found = complete(measured, predicted)
    assert found.shape == size and found.dtype == np.float32
    valid = np.isfinite(measured)
    np.testing.assert_array_equal(found[valid], measured[valid])
    np.testing.assert_array_equal(np.isnan(found), ~valid & np.isnan(predicted))
    # Between what the rim asks for, and so above 0.
    both = valid & np.isfinite(predicted)
    if both.any():
        factors = np.append(measured[both] / predicted[both], 1)
        bent = (found / predicted)[~valid & np.isfinite(predicted)]
        assert (bent >= factors.min() * 0.999).all() and (bent <= factors.max() * 1.001).all()


@settings(max_examples=30)
@given(strategies.floats(0.2, 5), strategies.integers(0, 2 ** 16))
def test_units_do_not_matter(scale: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = cv2.resize(random.uniform(1, 3, (4, 5)).astype(np.float32), (40, 32))
    predicted = truth * cv2.resize(random.uniform(0.8, 1.2, (3, 3)).astype(np.float32), (40, 32))
    measured = np.where(random.random(truth.shape) < 0.3, NAN, truth)
    np.testing.assert_allclose(complete(measured * np.float32(scale), predicted),
                               complete(measured, predicted) * scale, rtol=1e-4)
