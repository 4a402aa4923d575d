from diffseg_ros.config import CloudConfig
from diffseg_ros.geometry.depth_filter import usable_depth
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

STEP = CloudConfig(flying_pixels=0.05)
NAN = np.nan


@pytest.mark.parametrize(('row', 'kept'), [
    ([1, 1, 2, 3, 3], [1, 1, 0, 1, 1]),
    ([3, 3, 2, 1, 1], [1, 1, 0, 1, 1]),
    ([1, 1, 1.5, 2.2, 3, 3], [1, 1, 0, 0, 1, 1]),
    ([1, 1, 3, 3], [1, 1, 1, 1]),
    ([3, 3, 1, 3, 3], [1, 1, 1, 1, 1]),
    ([1, 1, 3, 1, 1], [1, 1, 1, 1, 1]),
    ([1, 1, NAN, 3, 3], [1, 1, 0, 1, 1]),
    ([1, 1, 2, NAN, 3], [1, 1, 1, 0, 1]),
    ([1, 1.04, 1.08, 1.12], [1, 1, 1, 1]),
    ([1, 1, 2, np.inf], [1, 1, 1, 0])],
    ids=['between', 'falling', 'two', 'clean edge', 'thin pole', 'slit', 'hole', 'beside a hole',
         'slope', 'infinite'])
@pytest.mark.parametrize('vertical', [False, True])
def test_only_what_hangs_between_two_surfaces_flies(row, kept, vertical):
    depth = np.tile(np.array(row, np.float32), (4, 1))
    wanted = np.tile(np.array(kept, bool), (4, 1))
    if vertical:
        depth, wanted = np.ascontiguousarray(depth.T), wanted.T
    found = usable_depth(depth, STEP)
    np.testing.assert_array_equal(np.isfinite(found), wanted)
    np.testing.assert_array_equal(found[wanted], depth[wanted])


def test_filter_is_off_by_default():
    depth = np.array([[1, 2, 3]], np.float32)
    assert np.isfinite(usable_depth(depth, CloudConfig())).all()


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12),
       st.sampled_from([0.0, 0.05, 0.5]), st.sampled_from([0.0, 1.0]),
       st.sampled_from([0.0, 3.0]))
def test_every_pixel_obeys_the_definition(seed, height, width, step, low, high):
    rng = np.random.default_rng(seed)
    depth = rng.choice([NAN, 0, -1, np.inf, 0.5, 1, 1.02, 1.5, 2, 3, 4],
                       (height, width)).astype(np.float32)
    before = depth.copy()
    found = usable_depth(depth, CloudConfig(min_depth=low, max_depth=high, flying_pixels=step))
    np.testing.assert_array_equal(depth, before)
    valid = (depth > 0) & np.isfinite(depth) & (depth >= low) & (depth <= (high or 1e9))
    for row, column in np.ndindex(depth.shape):
        kept = valid[row, column] and not (step and flies(depth, valid, row, column, step))
        assert np.isfinite(found[row, column]) == kept


def flies(depth, valid, row, column, step):
    own = depth[row, column]
    for down, right in ((0, 1), (1, 0)):
        places = [(row + sign * down, column + sign * right) for sign in (-1, 1)]
        if all(0 <= r < depth.shape[0] and 0 <= c < depth.shape[1] and valid[r, c]
               for r, c in places):
            one, other = sorted(depth[place] - own for place in places)
            if one < -np.float32(step) * own and other > np.float32(step) * own:
                return True
    return False
