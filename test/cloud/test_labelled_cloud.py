import json
import os
from pathlib import Path

import cv2
from diffseg_ros.cloud.labelled_cloud import labelled_cloud, sample_nearest
from diffseg_ros.cloud.rays import ray_table
from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.frame import Frame, Intrinsics
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

DATA = Path(os.environ.get('DIFFSEG_DATA') or Path(__file__).parents[3] / 'shared' / 'data')
SEQUENCES = ('tum_fr1_rpy', 'redkitchen', 'replica_office0')
KINECT = (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)
WIDE = (-0.35, 0.15, 0.001, -0.001, -0.03)
AZURE = (0.51, -2.63, 0.0007, -0.0003, 1.44, 0.39, -2.45, 1.37)


def make_frame(width=64, height=48, depth_size=None, distortion=(), model='plumb_bob', seed=0):
    rng = np.random.default_rng(seed)
    depth_width, depth_height = depth_size or (width, height)
    depth = rng.uniform(0.4, 6.0, (depth_height, depth_width)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.1] = np.nan
    intrinsics = Intrinsics(width, height, 0.85 * width, 0.83 * width, 0.52 * width,
                            0.47 * height, distortion, model)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(rgb, depth=depth, intrinsics=intrinsics)


def numbered_labels(height, width):
    """Give every pixel a label of its own, so that no wrong pixel goes unseen."""
    return np.arange(height * width, dtype=np.int32).reshape(height, width)


def projected(points, intrinsics):
    """Return the (N, 2) pixels that OpenCV's own camera model sees (N, 3) points at."""
    if not len(points):
        return np.empty((0, 2))
    matrix = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy],
                       [0, 0, 1]])
    distortion = np.array(intrinsics.distortion or (0, 0, 0, 0), float)
    return cv2.projectPoints(points.astype(float), np.zeros(3), np.zeros(3), matrix,
                             distortion)[0][:, 0]


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
                             (AZURE, 'rational_polynomial')]), seed=st.integers(0, 99))
def test_every_point_projects_into_its_own_pixel(width, height, depth_width, depth_height,
                                                 label_scale, lens, seed):
    frame = make_frame(width, height, (depth_width, depth_height), *lens, seed)
    size = max(1, int(height * label_scale)), max(1, int(width * label_scale))
    assert_points_hit_their_pixels(frame, numbered_labels(*size))


@pytest.mark.parametrize('name', SEQUENCES)
@pytest.mark.parametrize('depth_scale', [1.0, 0.5, 1.5])
@pytest.mark.parametrize('distortion', [(), KINECT], ids=['pinhole', 'distorted'])
def test_points_of_real_frames_project_into_their_own_label(name, depth_scale, distortion):
    frame = load_frame(name, distortion)
    height, width = frame.depth.shape
    depth = cv2.resize(frame.depth, (int(width * depth_scale), int(height * depth_scale)),
                       interpolation=cv2.INTER_NEAREST)
    frame = Frame(frame.rgb, depth=depth, intrinsics=frame.intrinsics)
    cloud = assert_points_hit_their_pixels(frame, numbered_labels(*frame.rgb.shape[:2]))
    assert cloud.valid.mean() > 0.5
    assert 0.3 < np.median(cloud.points[cloud.valid][:, 2]) < 5.0


def load_frame(name, distortion=()):
    """Return the middle frame of a sequence folder, or skip."""
    folder = DATA / 'sequences' / name
    if not folder.is_dir():
        pytest.skip(f'{folder} is absent: set DIFFSEG_DATA to the folder with sequences/')
    number = len(list((folder / 'depth').iterdir())) // 2
    camera = json.loads((folder / 'camera.json').read_text())
    scale = camera.pop('depth_scale')
    image = next((folder / 'rgb').glob(f'{number:06d}.*'))
    raw = cv2.imread(str(folder / 'depth' / f'{number:06d}.png'), cv2.IMREAD_UNCHANGED)
    depth = np.where(raw == 0, np.nan, raw / scale).astype(np.float32)
    camera.pop('distortion', None)
    return Frame(cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB), depth=depth,
                 intrinsics=Intrinsics(**camera, distortion=distortion))


@pytest.mark.parametrize('name', SEQUENCES)
def test_real_frame_equals_open3d(name):
    import open3d
    frame = load_frame(name)
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


def test_depth_outside_the_range_is_invalid():
    depth = np.array([[0.0, -1.0, np.nan, np.inf], [0.5, 1.0, 3.0, 3.1]], np.float32)
    frame = Frame(np.zeros((2, 4, 3), np.uint8), depth=depth,
                  intrinsics=Intrinsics(4, 2, 5.0, 5.0, 1.5, 0.5))
    labels = numbered_labels(2, 4)
    np.testing.assert_array_equal(labelled_cloud(frame, labels).valid,
                                  [[False] * 4, [True] * 4])
    limited = labelled_cloud(frame, labels, CloudConfig(min_depth=1.0, max_depth=3.0))
    np.testing.assert_array_equal(limited.valid, [[False] * 4, [False, True, True, False]])
    assert np.isnan(limited.points[~limited.valid]).all()


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


@pytest.mark.parametrize('size', [(7, 5), (3, 11), (13, 8), (640, 480), (1, 1)])
def test_sample_nearest_takes_the_pixel_under_each_centre(size):
    image = np.arange(7 * 13, dtype=np.float32).reshape(7, 13)
    height, width = size
    rows = np.floor((np.arange(height) + 0.5) * 7 / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * 13 / width).astype(int)
    np.testing.assert_array_equal(sample_nearest(image, height, width),
                                  image[np.ix_(rows, columns)])


def test_pixels_beyond_the_lens_model_are_invalid():
    # r (1 - 0.1 r^2) never exceeds 1.22: no ray ends up farther out.
    frame = make_frame(640, 480, distortion=(-0.1, 0.0, 0.0, 0.0, 0.0))
    frame = Frame(frame.rgb, depth=np.ones((480, 640), np.float32),
                  intrinsics=Intrinsics(640, 480, 200.0, 200.0, 319.5, 239.5,
                                        frame.intrinsics.distortion))
    valid = assert_points_hit_their_pixels(frame, numbered_labels(480, 640)).valid
    assert not valid[0, 0] and not valid[-1, -1] and valid[:, 319].all()


def test_zero_coefficients_are_a_pinhole_and_tables_are_shared():
    plain = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    zeros = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0, (0.0,) * 8, 'rational_polynomial')
    assert [table.shape for table in ray_table(zeros)] == [(1, 640), (480, 1)]
    np.testing.assert_array_equal(ray_table(plain)[0], ray_table(zeros)[0])
    assert ray_table(plain)[0] is ray_table(Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0))[0]


@pytest.mark.parametrize(('model', 'coefficients', 'word'), [
    ('equidistant', (0.1, 0.0, 0.0, 0.0), 'equidistant'),
    ('equidistant', (0.0,) * 4, 'equidistant'),
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
