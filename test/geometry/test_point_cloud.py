from dataclasses import replace

from clouds import AZURE, FISHEYE, KINECT, make_frame, numbered_labels, projected, WIDE  # noqa: I001
import cv2
from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import (
    labelled_cloud,
    pack_points,
    reduced,
    usable_depth,
)
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

STEP = CloudConfig(flying_pixels=0.05)
NAN = np.nan
SEQUENCES = ('tum_fr1_rpy', 'redkitchen', 'replica_office0')


def assert_points_hit_their_pixels(frame, labels):
    """Check geometry and content of the cloud against plain per-pixel definitions."""
    height, width = labels.shape
    cloud = labelled_cloud(frame, labels)
    assert cloud.points.shape == (height, width, 3) and cloud.points.dtype == np.float32
    valid = cloud.valid
    assert np.isnan(cloud.points[~valid]).all()
    pixels = projected(cloud.points[valid], frame.intrinsics.resized(width, height))
    rows, columns = np.nonzero(valid)
    # 1e-6 relative is what float32 x and z leave of a pixel coordinate.
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1), rtol=0,
                               atol=1e-3 + 2e-6 * max(width, height))
    hit = np.rint(pixels).astype(int)
    np.testing.assert_array_equal(cloud.labels[valid], labels[hit[:, 1], hit[:, 0]])
    seen = frame.depth[((hit[:, 1] + 0.5) * frame.depth.shape[0] / height).astype(int),
                       ((hit[:, 0] + 0.5) * frame.depth.shape[1] / width).astype(int)]
    np.testing.assert_array_equal(cloud.points[valid][:, 2], seen)
    return cloud


@settings(max_examples=60, deadline=None)
@given(width=st.integers(2, 90), height=st.integers(2, 70), depth_width=st.integers(1, 120),
       depth_height=st.integers(1, 120), label_scale=st.sampled_from([0.5, 1.0, 1.5]),
       lens=st.sampled_from([((), 'plumb_bob'), (KINECT, 'plumb_bob'), (WIDE, 'plumb_bob'),
                             (AZURE, 'rational_polynomial'), (FISHEYE, 'equidistant')]),
       seed=st.integers(0, 99))
def test_every_point_projects_into_its_own_pixel(width, height, depth_width, depth_height,
                                                 label_scale, lens, seed):
    frame = make_frame(width, height, (depth_width, depth_height), *lens, seed)
    size = max(1, int(height * label_scale)), max(1, int(width * label_scale))
    assert_points_hit_their_pixels(frame, numbered_labels(*size))


@pytest.mark.parametrize('name', SEQUENCES)
@pytest.mark.parametrize('depth_scale', [1.0, 0.5, 1.5])
@pytest.mark.parametrize('distortion', [(), KINECT], ids=['pinhole', 'distorted'])
def test_points_of_real_frames_project_into_their_own_label(real_sequences, name, depth_scale,
                                                            distortion):
    frame = SequenceFolder(real_sequences / name).read(10).frame
    frame = replace(frame, intrinsics=replace(frame.intrinsics, distortion=distortion))
    height, width = frame.depth.shape
    depth = cv2.resize(frame.depth, (int(width * depth_scale), int(height * depth_scale)),
                       interpolation=cv2.INTER_NEAREST)
    frame = replace(frame, depth=depth)
    cloud = assert_points_hit_their_pixels(frame, numbered_labels(*frame.rgb.shape[:2]))
    assert cloud.valid.mean() > 0.5
    assert 0.3 < np.median(cloud.points[cloud.valid][:, 2]) < 5.0


@pytest.mark.parametrize('name', SEQUENCES)
def test_real_frame_equals_open3d(real_sequences, name):
    import open3d
    frame = SequenceFolder(real_sequences / name).read(10).frame
    frame = replace(frame, intrinsics=replace(frame.intrinsics, distortion=()))
    height, width = frame.depth.shape
    k = frame.intrinsics
    depth = open3d.geometry.Image(np.nan_to_num(frame.depth, nan=0.0))
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        open3d.geometry.Image(frame.rgb), depth, depth_scale=1.0, depth_trunc=1e3,
        convert_rgb_to_intensity=False)
    theirs = open3d.geometry.PointCloud.create_from_rgbd_image(
        rgbd, open3d.camera.PinholeCameraIntrinsic(width, height, k.fx, k.fy, k.cx, k.cy))
    ours = labelled_cloud(frame, numbered_labels(height, width)).compact()
    np.testing.assert_allclose(ours.points, np.asarray(theirs.points), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ours.rgb, np.rint(np.asarray(theirs.colors) * 255))


def test_input_is_not_changed_and_not_copied_without_need():
    frame = make_frame()
    labels = numbered_labels(48, 64)
    before = frame.depth.copy()
    cloud = labelled_cloud(frame, labels, CloudConfig(min_depth=1.0))
    np.testing.assert_array_equal(frame.depth, before)
    assert cloud.labels is labels and cloud.rgb is frame.rgb


def test_colour_follows_labels_of_another_size():
    frame = make_frame(width=60, height=40)
    cloud = labelled_cloud(frame, numbered_labels(20, 30))
    np.testing.assert_array_equal(cloud.rgb, frame.rgb[1::2, 1::2])


def test_pixels_beyond_the_lens_model_are_invalid():
    # r (1 - 0.1 r^2) never exceeds 1.22: no ray ends up farther out.
    frame = make_frame(640, 480, distortion=(-0.1, 0.0, 0.0, 0.0, 0.0))
    frame = Frame(frame.rgb, depth=np.ones((480, 640), np.float32),
                  intrinsics=Intrinsics(640, 480, 200.0, 200.0, 319.5, 239.5,
                                        frame.intrinsics.distortion))
    valid = assert_points_hit_their_pixels(frame, numbered_labels(480, 640)).valid
    assert not valid[0, 0] and not valid[-1, -1] and valid[:, 319].all()


@pytest.mark.parametrize(('model', 'coefficients', 'word'), [
    ('thin_prism_fisheye', (0.1, 0.0, 0.0, 0.0), 'thin_prism_fisheye'),
    ('thin_prism_fisheye', (0.0, 0.1, 0.0, 0.0), 'equidistant'),
    ('equidistant', (0.1,) * 5, '5 distortion coefficients'),
    ('', (0.1, 0.0, 0.0, 0.0, 0.0), "''"),
    ('plumb_bob', (0.1, 0.0, 0.0), '3 distortion coefficients'),
    ('rational_polynomial', (0.1,) * 5, '5 distortion coefficients')])
def test_unknown_lens_models_are_refused_by_name(model, coefficients, word):
    with pytest.raises(DiffsegError, match=word):
        labelled_cloud(make_frame(distortion=coefficients, model=model), numbered_labels(48, 64))


def test_missing_or_wrong_input_is_named():
    frame = make_frame()
    labels = numbered_labels(48, 64)
    with pytest.raises(DiffsegError, match='no depth'):
        labelled_cloud(Frame(frame.rgb, intrinsics=frame.intrinsics), labels)
    with pytest.raises(DiffsegError, match='no camera intrinsics'):
        labelled_cloud(Frame(frame.rgb, depth=frame.depth), labels)
    with pytest.raises(DiffsegError, match='int64'):
        labelled_cloud(frame, labels.astype(np.int64))


def test_fisheye_without_coefficients_is_no_pinhole():
    frame = make_frame(distortion=(0.0,) * 4, model='equidistant')
    frame = Frame(frame.rgb, depth=np.ones((48, 64), np.float32),
                  intrinsics=Intrinsics(64, 48, 20.0, 20.0, 31.5, 23.5, (0.0,) * 4,
                                        'equidistant'))
    cloud = assert_points_hit_their_pixels(frame, numbered_labels(48, 64))
    # x / z = tan(pixels / f): at 20.5 pixels the angle is 1.025.
    assert cloud.points[23, 52, 0] == pytest.approx(np.tan(np.hypot(20.5, 0.5) / 20) * 20.5
                                                    / np.hypot(20.5, 0.5), rel=1e-4)
    assert not labelled_cloud(frame, numbered_labels(48, 64)).valid[:, 0].any()


def test_excluded_ids_give_no_points():
    frame = make_frame()
    labels = (numbered_labels(48, 64) % 5 - 1).astype(np.int32)
    plain = labelled_cloud(frame, labels)
    cloud = labelled_cloud(frame, labels, exclude=[2, -1])
    np.testing.assert_array_equal(cloud.valid, plain.valid & ~np.isin(labels, (2, -1)))
    np.testing.assert_array_equal(cloud.points[cloud.valid], plain.points[cloud.valid])
    assert not labelled_cloud(frame, labels, exclude=range(-1, 4)).valid.any()


def test_form_of_the_cloud_follows_the_settings():
    cloud = labelled_cloud(make_frame(), numbered_labels(48, 64))
    assert reduced(cloud, CloudConfig()) is cloud
    listed = reduced(cloud, CloudConfig(organised=False))
    assert listed.labels.shape == (np.count_nonzero(cloud.valid),)
    assert (len(cloud), len(listed)) == (48 * 64, np.count_nonzero(cloud.valid))
    assert len(reduced(cloud, CloudConfig(voxel_size=1.0)).labels) < len(listed.labels) / 5


@pytest.mark.parametrize(('depth', 'count'), [(np.nan, 0), (0.0, 0), (np.inf, 0), (2.0, 1)])
def test_hardly_any_depth(depth, count):
    frame = make_frame()
    metres = np.full((48, 64), np.nan, np.float32)
    metres[10, 20] = depth
    frame = Frame(frame.rgb, depth=metres, intrinsics=frame.intrinsics)
    cloud = labelled_cloud(frame, np.full((48, 64), -1, np.int32))
    assert np.count_nonzero(cloud.valid) == count == len(cloud.compact().labels)
    for config in (CloudConfig(organised=False), CloudConfig(voxel_size=0.1)):
        assert reduced(cloud, config).points.shape == (count, 3)


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


def values_of(labels):
    return (labels % 60000 + 7).astype(np.uint16)


def assert_words_hold(words, cloud):
    floats = words.view(np.float32)
    np.testing.assert_array_equal(floats[..., :3], cloud.points)
    red, green, blue = np.moveaxis(cloud.rgb.astype(np.uint32), -1, 0)
    np.testing.assert_array_equal(words[..., 3], red * 65536 + green * 256 + blue)
    np.testing.assert_array_equal(words[..., 4], values_of(cloud.labels))
    np.testing.assert_array_equal(words[..., 5], words[..., 4])


@settings(max_examples=40)
@given(width=st.integers(2, 300), height=st.integers(2, 250),
       depth_size=st.none() | st.tuples(st.integers(1, 150), st.integers(1, 120)),
       label_scale=st.sampled_from([0.5, 1.0, 1.4]), distortion=st.sampled_from([(), KINECT]),
       flying=st.sampled_from([0.0, 0.2]), exclude=st.sampled_from([(), (0, 1, 5)]),
       reuse=st.booleans())
def test_words_are_those_of_the_cloud(width, height, depth_size, label_scale, distortion, flying,
                                      exclude, reuse):
    frame = make_frame(width, height, depth_size, distortion)
    size = max(1, int(height * label_scale)), max(1, int(width * label_scale))
    labels = (numbered_labels(*size) % 100 - 1).astype(np.int32)
    config = CloudConfig(max_depth=4.0, flying_pixels=flying)
    out = np.full((*size, 6), 12345, np.uint32) if reuse else None
    words = pack_points(frame, labels, values_of, config, exclude=exclude, out=out)
    assert words.dtype == np.uint32 and words.flags.c_contiguous
    assert (words is out) == reuse
    assert_words_hold(words, labelled_cloud(frame, labels, config, exclude=exclude))


@pytest.mark.parametrize('config', [CloudConfig(organised=False), CloudConfig(voxel_size=0.5),
                                    CloudConfig(organised=False, max_depth=0.1)])
def test_lists_hold_the_reduced_cloud(config):
    frame = make_frame()
    labels = (numbered_labels(48, 64) // 100).astype(np.int32)
    words = pack_points(frame, labels, values_of, config, out=np.zeros((48, 64, 6), np.uint32))
    cloud = reduced(labelled_cloud(frame, labels, config), config)
    assert words.shape == (len(cloud.labels), 6)
    assert_words_hold(words, cloud)


def test_memory_of_another_size_is_left_alone():
    frame = make_frame()
    labels = numbered_labels(48, 64)
    out = np.full((48, 63, 6), 9, np.uint32)
    words = pack_points(frame, labels, values_of, out=out)
    assert words.shape == (48, 64, 6) and (out == 9).all()
    assert_words_hold(words, labelled_cloud(frame, labels))
