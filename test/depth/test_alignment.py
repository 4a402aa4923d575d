from diffseg_ros.depth.alignment import align, Alignment, to_metres
from diffseg_ros.depth.base import DepthKind, KnownDepth
from diffseg_ros.errors import DiffsegError
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from spoiled_depth import know, predict, scene

RELATIVE = [DepthKind.AFFINE, DepthKind.INVERSE]
seeds = strategies.integers(0, 10_000)
kinds = strategies.sampled_from(RELATIVE)


@given(seed=seeds, kind=kinds, scale=strategies.floats(0.05, 20),
       shift=strategies.floats(-2, 2), outliers=strategies.sampled_from([0, 0.1, 0.2, 0.3, 0.4]))
@settings(max_examples=30, deadline=None)
def test_scale_and_shift_are_found_in_spite_of_noise_and_outliers(seed, kind, scale, shift,
                                                                  outliers):
    depth = scene(seed)
    found = align(predict(depth, kind, scale, shift, 0.02, seed), kind,
                  know(depth, outliers, seed=seed))
    assert found.scale == pytest.approx(scale, rel=0.02)
    assert found.shift == pytest.approx(shift, abs=0.03)
    assert found.residual == pytest.approx(0.02, abs=0.006)
    assert found.inliers == pytest.approx(1 - outliers, abs=0.06)
    assert found.points == depth.size


@pytest.mark.parametrize('kind', RELATIVE)
def test_scale_of_many_points_is_within_one_percent(kind):
    depth = scene(1, (240, 320))
    for outliers in (0.1, 0.2, 0.3, 0.4):
        found = align(predict(depth, kind, 2.5, 0.4, 0.03), kind, know(depth, outliers))
        assert found.scale == pytest.approx(2.5, rel=0.01)
        assert found.points == 5000


@given(seed=seeds, kind=kinds, factor=strategies.floats(0.1, 10))
@settings(max_examples=12, deadline=None)
def test_known_depth_of_another_unit_gives_metres_of_that_unit(seed, kind, factor):
    depth, known = scene(seed), know(scene(seed), 0.2, 300, seed)
    values = predict(depth, kind, 1.7, 0.3, 0.02, seed)
    metres = to_metres(values, kind, align(values, kind, known))
    scaled = align(values, kind, known._replace(metres=known.metres * np.float32(factor)))
    np.testing.assert_allclose(to_metres(values, kind, scaled), factor * metres, rtol=1e-3)


@given(seed=seeds, kind=kinds, factor=strategies.floats(0.01, 100),
       offset=strategies.floats(-50, 50))
@settings(max_examples=12, deadline=None)
def test_scale_and_shift_of_the_values_do_not_matter(seed, kind, factor, offset):
    depth, known = scene(seed), know(scene(seed), 0.2, 300, seed)
    values = predict(depth, kind, 1.0, 0.0, 0.02, seed)
    other = (factor * (values + offset)).astype(np.float32)
    one, two = (to_metres(part, kind, align(part, kind, known)) for part in (values, other))
    np.testing.assert_allclose(one, two, rtol=2e-3)


@given(seed=seeds, kind=kinds)
@settings(max_examples=12, deadline=None)
def test_the_order_of_points_does_not_matter(seed, kind):
    depth, known = scene(seed), know(scene(seed), 0.2, 400, seed)
    values = predict(depth, kind, 1.0, 0.5, 0.02, seed)
    order = np.random.default_rng(seed).permutation(400)
    one = align(values, kind, known)
    other = align(values, kind, KnownDepth(*(part[order] for part in known)))
    assert other.scale == pytest.approx(one.scale, rel=2e-3)
    assert align(values, kind, known) == one


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_wall_does_not_outvote_what_stands_before_it(kind):
    rng = np.random.default_rng(1)
    depth = rng.normal(4.3, 0.05, (40, 50)).astype(np.float32)
    depth[:, :15] = np.linspace(1, 3, 40, dtype=np.float32)[:, None]
    found = align(predict(depth, kind, 3.0, 0.2, 0.03), kind, know(depth, count=150))
    assert found.scale == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize('kind', RELATIVE)
@pytest.mark.parametrize('factor', [1.5, 0.7])
def test_a_part_that_is_off_by_one_factor_does_not_count(kind, factor):
    depth = scene(3, (120, 160))
    known = know(depth)
    known.metres[2000:2000 + int(0.3 * depth.size)] *= factor
    found = align(predict(depth, kind, 2.0, 0.1, 0.03), kind, known)
    assert found.scale == pytest.approx(2, rel=0.02)


def test_metric_values_are_compared_only():
    depth = scene()
    found = align(1.1 * depth, DepthKind.METRIC, know(depth))
    assert found[:2] == (1, 0) and found.residual == pytest.approx(0.148, abs=0.001)
    nothing = align(depth, DepthKind.METRIC, know(depth, count=0))
    assert nothing.scale == 1 and np.isnan(nothing.residual) and nothing.inliers == 0


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('kind', RELATIVE)
def test_without_enough_evidence_there_is_no_scale(kind):
    depth = scene()
    values, known = predict(depth, kind, 1.0, 0.2, 0.01), know(depth, count=200)
    assert align(values, kind, know(depth, count=200)) is not None
    assert align(values, kind, know(depth, count=0)) is None
    assert align(values, kind, know(depth, count=19)) is None
    assert align(np.full_like(values, 3.0), kind, known) is None
    assert align(-values, kind, known) is None
    assert align(np.full_like(values, np.nan), kind, known) is None
    assert align(np.full_like(values, np.inf), kind, known) is None
    flat = known._replace(metres=np.full(200, 2, np.float32))
    assert align(values, kind, flat) is None
    one = KnownDepth(*(np.repeat(part[:1], 200) for part in known))
    assert align(values, kind, one) is None
    nothing = np.zeros(0, np.intp)
    assert align(np.zeros((0, 0), np.float32), kind,
                 KnownDepth(nothing, nothing, np.zeros(0, np.float32))) is None
    for bad in (np.nan, np.inf, 0, -1):
        assert align(values, kind, known._replace(metres=np.full(200, bad, np.float32))) is None


@pytest.mark.parametrize('kind', RELATIVE)
def test_unrelated_depth_gives_no_scale(kind):
    rng = np.random.default_rng(2)
    for count in (30, 100, 1000):
        known = know(scene(), count=count)
        values = rng.uniform(0, 1, (48, 64)).astype(np.float32)
        assert align(values, kind, known._replace(
            metres=rng.uniform(0.5, 6, count).astype(np.float32))) is None


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('kind', RELATIVE)
def test_single_bad_values_count_as_unknown(kind):
    depth = scene()
    values, known = predict(depth, kind, 1.0, 0.2, 0.01), know(depth)
    values[::7], values[1::7], known.metres[::5], known.metres[1::5] = (
        np.nan, np.inf, np.nan, -np.inf)
    values[2, 3] = 1e30
    found = align(values, kind, known)
    assert found.scale == pytest.approx(1, rel=0.01) and found.points < 0.5 * depth.size


def test_pixels_out_of_the_image_are_refused():
    depth, known = scene(), know(scene())
    with pytest.raises(DiffsegError, match='pixels from .* in an image of 48 rows and 64'):
        align(depth, DepthKind.AFFINE, known._replace(rows=known.rows + 1))
    with pytest.raises(DiffsegError, match='one of each is needed'):
        align(depth, DepthKind.AFFINE, known._replace(metres=known.metres[1:]))


@pytest.mark.filterwarnings('error')
def test_metres_are_finite_and_above_0_or_nan():
    values = np.array([[1, 0, -1, np.nan, np.inf, 1e-6]], np.float32)
    exact = Alignment(2.0, 0.0, 0.0, 1.0)
    affine = to_metres(values, DepthKind.AFFINE, exact)
    np.testing.assert_allclose(affine, [[2, np.nan, np.nan, np.nan, np.nan, 2e-6]])
    inverse = to_metres(values, DepthKind.INVERSE, exact)
    np.testing.assert_allclose(inverse, [[0.5, *[np.nan] * 5]])
    assert affine.dtype == inverse.dtype == np.float32
    np.testing.assert_array_equal(values[0, :3], [1, 0, -1])
