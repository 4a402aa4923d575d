from dataclasses import replace

from diffseg_ros.depth.base import DepthKind, DepthSettings
from diffseg_ros.depth.estimator import DepthEstimator
from diffseg_ros.errors import DiffsegError
from hall import frame, HEIGHT
import numpy as np
import pytest
from stand_in import KnowingModel
import torch

WALK = [frame(number, right=0.06 * number) for number in range(4)]
LEVEL = frame(tilt=0.0)


def bare(item, **changes):
    """Return a frame of the hall as a colour camera without poses gives it."""
    return replace(item, **{'depth': None, 'pose': None} | changes)


def given(item, settings=None, kind=DepthKind.INVERSE):
    """Return the estimator and the frame after one keyframe."""
    estimator = DepthEstimator(KnowingModel([*WALK, LEVEL], kind),
                               settings or DepthSettings(model='it'))
    return estimator, keyframe(estimator, item)


def keyframe(estimator, item):
    before = estimator.begin(item)
    estimator.take(estimator.predict(item, before) if estimator.wants(item) else None)
    return estimator.give(item)


def points_of(item, count):
    """Return `count` true points of a frame in its optical frame."""
    pixels = np.random.default_rng(0).choice(item.depth.size, count, replace=False)
    rows, columns = np.divmod(pixels, item.depth.shape[1])
    camera, metres = item.intrinsics, item.depth.ravel()[pixels]
    return np.stack([(columns - camera.cx) / camera.fx * metres,
                     (rows - camera.cy) / camera.fy * metres, metres], axis=1).astype(np.float32)


def check(result, truth, source, estimator, tolerance=0.01):
    assert estimator.report['scale_source'] == source and estimator.reason == ''
    assert np.median(np.abs(result.depth / truth - 1)) < tolerance
    assert result.depth_confidence.shape == result.depth.shape
    assert (result.depth_confidence > 0.5).all() and (result.depth_confidence < 1).all()


def test_ranges_of_another_sensor_give_the_scale():
    estimator, result = given(bare(WALK[0], ranges=points_of(WALK[0], 200)))
    check(result, WALK[0].depth, 'ranges', estimator)
    assert float(estimator.report['scale']) == pytest.approx(0.3, rel=0.01)
    assert float(estimator.report['residual']) < 0.01


@pytest.mark.parametrize(('item', 'known', 'source'), [
    (WALK[0], {'pose': WALK[0].pose}, 'ground'), (WALK[0], {'up': WALK[0].pose[2, :3]}, 'ground'),
    (LEVEL, {}, 'ground (camera taken as level)')])
def test_the_ground_gives_the_scale_by_the_pose_or_up_or_to_a_level_camera(item, known, source):
    estimator, result = given(bare(item, **known), DepthSettings(model='it', camera_height=HEIGHT))
    check(result, item.depth, source, estimator)


def test_points_by_the_ground_are_less_sure_than_by_ranges_until_these_come():
    estimator, by_ground = given(bare(WALK[0], up=WALK[0].pose[2, :3]),
                                 DepthSettings(model='it', camera_height=HEIGHT))
    by_memory = keyframe(estimator, bare(WALK[1], intrinsics=None))
    assert estimator.report['scale_source'] == 'before'
    by_ranges = keyframe(estimator, bare(WALK[2], ranges=points_of(WALK[2], 200)))
    ground, memory, ranges = (result.depth_confidence.max()
                              for result in (by_ground, by_memory, by_ranges))
    assert 0.5 < memory <= ground <= 0.6 < 0.8 < ranges


def test_a_camera_that_moves_gives_the_scale():
    estimator = DepthEstimator(KnowingModel(WALK), DepthSettings(model='it'))
    first = keyframe(estimator, bare(WALK[0], pose=WALK[0].pose))
    assert first.depth is None and 'triangulation: the camera has not moved' in estimator.reason
    result = [keyframe(estimator, bare(item, pose=item.pose)) for item in WALK[1:]][-1]
    check(result, WALK[-1].depth, 'triangulation', estimator, 0.05)


def test_a_correction_of_the_map_does_not_change_the_scale():
    walk = [frame(number, right=0.04 * number) for number in range(12)]
    estimator = DepthEstimator(KnowingModel(walk), DepthSettings(model='it'))
    for number, item in enumerate(walk):
        corrected = item.pose.copy()
        corrected[0, 3] += 0.1 * (number >= 6)
        result = keyframe(estimator, bare(item, pose=corrected, odom_pose=item.pose))
    assert np.median(np.abs(result.depth / walk[-1].depth - 1)) < 0.02


def test_views_are_kept_over_a_frame_without_a_pose():
    walk = [frame(number, right=0.06 * number) for number in range(4)]
    estimator = DepthEstimator(KnowingModel(walk), DepthSettings(model='it'))
    for item in walk:
        lost = item is walk[2]
        result = keyframe(estimator, bare(item, pose=None if lost else item.pose,
                                          fixed_frame='odom' if lost else 'map'))
    check(result, walk[-1].depth, 'triangulation', estimator, 0.05)


def test_ranges_out_of_view_are_named():
    behind = points_of(WALK[0], 30) * np.float32(-1)
    estimator, result = given(bare(WALK[0], ranges=behind))
    assert result.depth is None
    assert ('ranges: it does not tell the scale of what is predicted; 0 pixels show one of its 30 '
            'points') in estimator.reason


def test_without_any_scale_one_line_says_what_to_give():
    estimator, result = given(bare(WALK[0]))
    assert result.depth is None and result.depth_confidence is None
    assert estimator.reason == (
        'no scale: the model gives relative depth; give depth.camera_height with the ground in '
        'view, depth.sparse_topic, or the poses of a moving camera')
    _, result = given(bare(WALK[0], intrinsics=None))
    assert result.depth is None
    estimator, _ = given(bare(WALK[0], intrinsics=None), DepthSettings(model='it',
                                                                        camera_height=1.0))
    assert '(without camera intrinsics no other depth tells it); give camera intrinsics, and ' in (
        estimator.reason)
    estimator, _ = given(bare(WALK[0]), DepthSettings(model='it', sparse_topic='/scan'))
    assert 'relative depth (ranges: none of /scan belong to the image); ' in estimator.reason


def test_the_scale_is_remembered_for_some_seconds():
    estimator, _ = given(bare(WALK[0], ranges=points_of(WALK[0], 200)))
    result = keyframe(estimator, bare(WALK[1]))
    check(result, WALK[1].depth, 'before', estimator, 0.03)
    assert keyframe(estimator, bare(WALK[2], stamp=9 * 10**9)).depth is None
    estimator.reset()
    assert keyframe(estimator, bare(WALK[3])).depth is None


def test_the_scale_is_remembered_where_the_size_of_images_changes():
    large = replace(WALK[0], rgb=WALK[0].rgb.repeat(2, 0).repeat(2, 1),
                    depth=WALK[0].depth.repeat(2, 0).repeat(2, 1), stamp=10**8)
    for first, then in ((WALK[0], large), (large, replace(WALK[0], stamp=2 * 10**8))):
        estimator = DepthEstimator(KnowingModel([first, then]), DepthSettings(model='it'))
        keyframe(estimator, bare(first, ranges=points_of(WALK[0], 200)))
        result = keyframe(estimator, bare(then))
        check(result, then.depth, 'before', estimator)


def test_a_metric_model_is_taken_as_it_is():
    estimator, result = given(bare(WALK[0], intrinsics=None), kind=DepthKind.METRIC)
    check(result, WALK[0].depth, 'model', estimator)
    assert np.array_equal(result.depth, WALK[0].depth)


@pytest.mark.parametrize(('factor', 'least', 'most'), [(1.0, 0.85, 0.9), (1.5, 0.15, 0.25)])
def test_ranges_tell_how_sure_a_metric_model_is(factor, least, most):
    model = KnowingModel(WALK, DepthKind.METRIC)
    model.predict = lambda _: WALK[0].depth * np.float32(factor)
    estimator = DepthEstimator(model, DepthSettings(model='it'))
    result = keyframe(estimator, bare(WALK[0], ranges=points_of(WALK[0], 200)))
    assert estimator.report['scale_source'] == 'ranges'
    np.testing.assert_allclose(result.depth, WALK[0].depth * factor, rtol=1e-5)
    assert least < result.depth_confidence.max() < most


@pytest.mark.parametrize('measured', [None, WALK[0].depth])
def test_what_a_metric_model_gives_beyond_all_things_is_no_depth(measured):
    model = KnowingModel(WALK, DepthKind.METRIC)
    model.predict = lambda _: np.where(np.arange(160) < 9, np.float32(9e3), WALK[0].depth)
    estimator = DepthEstimator(model, DepthSettings(model='it', use='always'))
    result = keyframe(estimator, replace(WALK[0], depth=measured))
    assert np.array_equal(np.isnan(result.depth), np.arange(160) < np.full((120, 1), 9))


def test_measured_depth_is_kept_where_only_missing_depth_is_predicted():
    model = KnowingModel(WALK)
    estimator = DepthEstimator(model, DepthSettings(model='it'))
    result = keyframe(estimator, WALK[0])
    assert not model.seen and np.array_equal(result.depth, WALK[0].depth)
    assert (result.depth_confidence == 1).all()


@pytest.mark.parametrize('kind', [DepthKind.INVERSE, DepthKind.METRIC])
def test_holes_are_filled_and_measured_pixels_stay(kind):
    holes = np.zeros(WALK[0].depth.shape, bool)
    holes[30:70, 60:110] = True
    measured = np.where(holes, np.float32(np.nan), WALK[0].depth + np.float32(0.01))
    estimator, result = given(replace(WALK[0], depth=measured),
                              DepthSettings(model='it', use='fill'), kind)
    assert np.array_equal(result.depth[~holes], measured[~holes])
    assert (result.depth_confidence[~holes] == 1).all()
    assert (result.depth_confidence[holes] < 1).all()
    assert np.median(np.abs(result.depth / WALK[0].depth - 1)[holes]) < 0.02
    assert estimator.report['scale_source'] == 'sensor'
    assert result.predicted_share == pytest.approx(holes.mean())
    assert np.isnan(result.measured.depth[holes]).all()


def test_a_sensor_that_measures_few_pixels_of_a_large_image_gives_the_scale():
    large = replace(WALK[0], rgb=WALK[0].rgb.repeat(8, 0).repeat(8, 1),
                    depth=WALK[0].depth.repeat(8, 0).repeat(8, 1))
    sparse = np.full(large.depth.shape, np.nan, np.float32)
    pixels = np.random.default_rng(0).choice(sparse.size, 200, replace=False)
    sparse.ravel()[pixels] = large.depth.ravel()[pixels]
    estimator = DepthEstimator(KnowingModel([large]), DepthSettings(model='it', use='fill'))
    result = keyframe(estimator, replace(large, depth=sparse))
    assert estimator.report['scale_source'] == 'sensor'
    assert np.median(np.abs(result.depth / large.depth - 1)) < 0.02


@pytest.mark.parametrize('kind', [DepthKind.INVERSE, DepthKind.METRIC])
def test_noise_of_a_blind_sensor_does_not_bend_what_is_predicted(kind):
    blind = np.full(WALK[0].depth.shape, np.nan, np.float32)
    blind.ravel()[np.random.default_rng(0).choice(blind.size, 20, replace=False)] = 0.3
    holes = np.isnan(blind)
    estimator = DepthEstimator(KnowingModel(WALK, kind), DepthSettings(
        model='it', use='fill', camera_height=HEIGHT))
    result = keyframe(estimator, replace(WALK[0], depth=blind))
    assert np.median(np.abs(result.depth / WALK[0].depth - 1)[holes]) < 0.02
    assert (result.depth_confidence[holes] < 1).all()


def test_a_sensor_that_sees_nothing_is_filled_by_a_metric_model_alone():
    blind = np.full(WALK[0].depth.shape, np.nan, np.float32)
    estimator, result = given(replace(WALK[0], depth=blind),
                              DepthSettings(model='it', use='fill'), DepthKind.METRIC)
    assert estimator.report['scale_source'] == 'model' and not estimator.report['residual']
    np.testing.assert_allclose(result.depth, WALK[0].depth, rtol=1e-5)
    assert (result.depth_confidence < 1).all() and result.measured.depth is None


def test_always_is_prediction_aligned_to_the_sensor():
    measured = np.where(np.arange(160) < 80, WALK[0].depth, np.float32(np.nan))
    estimator, result = given(replace(WALK[0], depth=measured),
                              DepthSettings(model='it', use='always'))
    check(result, WALK[0].depth, 'sensor', estimator)
    assert result.measured.depth is None


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_full_gpu_is_emptied(wrapped, monkeypatch):
    def predict(_):
        try:
            raise torch.OutOfMemoryError('20 GiB')
        except torch.OutOfMemoryError as error:
            if wrapped:
                raise DiffsegError('use a smaller model') from error
            raise

    emptied = []
    monkeypatch.setattr('diffseg_ros.depth.estimator.release_gpu_memory',
                        lambda: emptied.append(True))
    model = KnowingModel(WALK)
    model.predict = predict
    result = keyframe(DepthEstimator(model, DepthSettings(model='it')), bare(WALK[0]))
    assert result.depth is None and emptied == [True]


@pytest.mark.parametrize('measured', [None, WALK[0].depth])
@pytest.mark.parametrize(('made', 'reason'), [
    (lambda depth: depth * np.float32(1000), 'knowing gives none from 0 to 1000 m'),
    (lambda depth: -depth, 'knowing gives none'),
    (lambda depth: depth.astype(np.float64), 'got float64 (120, 160) for an image of (120, 160)'),
    (lambda depth: depth[::2, ::2], 'got float32 (60, 80)')])
def test_a_metric_model_that_gives_nothing_usable_is_named_and_takes_nothing(
        made, reason, measured):
    model = KnowingModel(WALK, DepthKind.METRIC)
    model.predict = lambda _: made(WALK[0].depth)
    estimator = DepthEstimator(model, DepthSettings(model='it', use='always'))
    result = keyframe(estimator, replace(WALK[0], depth=measured))
    assert result.depth is None if measured is None else np.array_equal(result.depth, measured)
    assert estimator.reason.startswith('predicted depth: ') and reason in estimator.reason
    assert estimator.report['scale_source'] == ''


def test_a_scale_that_puts_all_too_far_is_named():
    in_millimetres = points_of(WALK[0], 200) * np.float32(1000)
    estimator, result = given(bare(WALK[0], ranges=in_millimetres))
    assert result.depth is None and estimator.reason == (
        'predicted depth: knowing, its scale by ranges, gives none from 0 to 1000 m')


def test_infinite_depth_is_a_hole():
    measured = WALK[0].depth / np.float32(1.2)
    measured[50:60, 70:80] = np.inf
    holes = np.isinf(measured)
    _, result = given(replace(WALK[0], depth=measured), DepthSettings(model='it', use='fill'),
                      DepthKind.METRIC)
    np.testing.assert_allclose(result.depth, WALK[0].depth / 1.2, rtol=0.01)
    assert np.array_equal(result.depth_confidence < 1, holes)


def test_depth_of_before_is_named_where_a_source_contradicts_it():
    estimator, _ = given(bare(WALK[0], ranges=points_of(WALK[0], 200)))
    other = bare(WALK[0], ranges=2 * points_of(WALK[0], 200), stamp=WALK[0].stamp + 1)
    for source, factor in (('before', 1), ('ranges', 2)):
        result = keyframe(estimator, other)
        check(result, factor * WALK[0].depth, source, estimator)


@pytest.mark.parametrize('use', ['missing', 'fill', 'always'])
def test_a_model_that_fails_costs_predicted_depth_only(use):
    estimator = DepthEstimator(KnowingModel(WALK), DepthSettings(model='it', use=use))
    dark = replace(bare(WALK[0]), rgb=np.zeros_like(WALK[0].rgb))
    assert keyframe(estimator, dark).depth is None
    assert estimator.reason == 'predicted depth: the lens is covered'
    result = keyframe(estimator, replace(dark, depth=WALK[0].depth))
    assert np.array_equal(result.depth, WALK[0].depth) and (result.depth_confidence == 1).all()
    assert estimator.report['failed'] == ('1' if use == 'missing' else '2')
    assert estimator.report['failure'] == ('' if use == 'missing' else 'the lens is covered')
