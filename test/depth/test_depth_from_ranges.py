from diffseg_ros.depth.ranges import known_from_ranges
from diffseg_ros.geometry.camera import unproject
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from spoiled_depth import scene

LENSES = [((), 'plumb_bob'), ((-0.35, 0.15, 0.001, -0.001, -0.03), 'plumb_bob'),
          ((-0.0091, 0.0065, -0.0077, 0.0022), 'equidistant')]


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_points_fall_on_the_pixels_that_see_them(distortion, model):
    camera = Intrinsics(64, 48, 54.0, 53.0, 32.5, 22.6, distortion, model)
    depth = scene()
    points = np.stack(unproject(depth, camera, np.eye(4)), axis=-1).reshape(-1, 3)
    seen = np.isfinite(points).all(axis=1)
    known = known_from_ranges(points[np.random.default_rng(0).permutation(len(points))],
                              camera, (48, 64))
    assert len(known.metres) == seen.sum() and known.rows.dtype == known.columns.dtype == np.intp
    np.testing.assert_allclose(known.metres, depth[known.rows, known.columns])


def test_intrinsics_may_be_of_another_size_of_the_view():
    camera = Intrinsics(64, 48, 54.0, 53.0, 32.5, 22.6)
    points = np.float32([[0.3, -0.2, 2.0]])
    small, large = (known_from_ranges(points, camera, shape) for shape in ((48, 64), (480, 640)))
    assert abs(large.rows[0] / 10 - small.rows[0]) <= 1
    assert abs(large.columns[0] / 10 - small.columns[0]) <= 1


@pytest.mark.filterwarnings('error')
def test_the_nearest_counts_and_what_cannot_be_seen_does_not():
    camera = Intrinsics(64, 48, 54.0, 53.0, 32.0, 24.0)
    points = np.float32([[0, 0, 3], [0, 0, 1.5], [0, 0, 2], [0, 0, -1], [0, 0, 0], [9, 0, 1],
                         [np.nan, 0, 1], [0, 0, np.inf], [0.5, 0, 1]])
    known = known_from_ranges(points, camera, (48, 64))
    assert known.rows.tolist() == [24, 24] and known.columns.tolist() == [32, 59]
    assert known.metres.tolist() == [1.5, 1] and known.metres.dtype == np.float32
    for nothing in (np.zeros((0, 3), np.float32), np.full((4, 3), np.nan, np.float32)):
        assert not len(known_from_ranges(nothing, camera, (48, 64)).metres)
