"""Filling of what is not known in a label image, against the distance to every known pixel."""

from diffseg_ros.tracking.label_map import LabelMap, STRIDE
from hypothesis import given, settings, strategies
import numpy as np


@settings(max_examples=40, deadline=None)
@given(strategies.integers(0, 10_000), strategies.integers(2, 14), strategies.integers(2, 18),
       strategies.floats(0.02, 0.98))
def test_unknown_pixels_take_the_track_of_a_known_one_that_is_near(seed, rows, columns, share):
    rng = np.random.default_rng(seed)
    thin = rng.random((rows, columns)) < share
    thin[rng.integers(rows), rng.integers(columns)] = True
    labels = LabelMap.empty((rows * STRIDE, columns * STRIDE))
    # Every cell has a track of its own, so that the track tells where it came from.
    numbers = np.arange(rows * columns, dtype=np.uint16).reshape(rows, columns)
    labels.slots[:] = numbers.repeat(STRIDE, 0).repeat(STRIDE, 1)
    before = labels.slots.copy()
    known = thin.repeat(STRIDE, 0).repeat(STRIDE, 1)
    labels.fill(known)
    assert (labels.slots[known] == before[known]).all()
    sources = labels.slots[::STRIDE, ::STRIDE]
    assert thin.ravel()[sources].all()
    places = np.argwhere(thin)
    for row, column in np.argwhere(~thin):
        source = np.divmod(int(sources[row, column]), columns)
        found = np.hypot(source[0] - row, source[1] - column)
        nearest = np.hypot(*(places - [row, column]).T).min()
        # A distance by steps to neighbours errs by a few per cent.
        assert found <= 1.1 * nearest + 1e-6
