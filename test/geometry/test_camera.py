from clouds import AZURE, FISHEYE, KINECT, make_frame, projected, WIDE  # noqa: I001
import cv2
from diffseg_ros.geometry.camera import (
    pixel_rays,
    project,
    project_depth,
    ray_table,
    rectify,
    unproject,
    unproject_pixels,
    visible_pixels,
)
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

LENSES = [((), 'plumb_bob'), (KINECT, 'plumb_bob'), (WIDE, 'plumb_bob'),
          (AZURE, 'rational_polynomial'), (FISHEYE, 'equidistant')]


def test_zero_coefficients_are_a_pinhole_and_tables_are_shared():
    plain = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    zeros = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0, (0.0,) * 8, 'rational_polynomial')
    assert [table.shape for table in ray_table(zeros)] == [(1, 640), (480, 1)]
    np.testing.assert_array_equal(ray_table(plain)[0], ray_table(zeros)[0])
    assert ray_table(plain)[0] is ray_table(Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0))[0]


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_points_return_to_their_pixels(distortion, model):
    frame = make_frame(96, 72, distortion=distortion, model=model)
    camera = frame.intrinsics
    planes = unproject(frame.depth, camera, np.eye(4))
    known = np.isfinite(sum(planes))
    points = np.stack(planes, axis=-1)[known]
    rows, columns = np.nonzero(known)
    np.testing.assert_array_equal(unproject_pixels(frame.depth, camera, rows, columns), points)
    for found in (np.stack(project(*points.T, camera), axis=1), projected(points, camera)):
        np.testing.assert_allclose(found, np.stack([columns, rows], axis=1), atol=0.05)
    row, column, index = visible_pixels(points, camera)
    np.testing.assert_array_equal(index, np.arange(len(points)))
    np.testing.assert_array_equal(np.stack([row, column]), [rows, columns])


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_what_is_behind_or_beside_the_camera_is_not_visible(distortion, model):
    camera = make_frame(96, 72, distortion=distortion, model=model).intrinsics
    points = np.float32([[0, 0, -1], [9, 0, 1], [0, -9, 1], [-40, 30, 1], [0, 0, 2]])
    assert visible_pixels(points, camera)[2].tolist() == [4]


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_depth_is_seen_by_another_camera_where_its_points_are(distortion, model):
    frame = make_frame(96, 72)
    motion = np.array([[0, -1, 0, 0.1], [1, 0, 0, 0], [0, 0, 1, 0.2], [0, 0, 0, 1.0]])
    camera = make_frame(96, 72, distortion=distortion, model=model).intrinsics
    x, y, z = unproject(frame.depth, frame.intrinsics, motion)
    found = project_depth(frame.depth, frame.intrinsics, motion, camera)
    np.testing.assert_allclose(found, [*project(x, y, z, camera), z], rtol=1e-4, atol=1e-3)


def test_a_transform_moves_all_points_alike():
    frame = make_frame()
    motion = np.array([[0, -1, 0, 0.5], [1, 0, 0, 0], [0, 0, 1, -0.2], [0, 0, 0, 1.0]])
    x, y, z = unproject(frame.depth, frame.intrinsics, np.eye(4))
    moved = unproject(frame.depth, frame.intrinsics, motion)
    np.testing.assert_allclose(moved, [0.5 - y, x, z - 0.2], rtol=1e-5, atol=1e-5)
    rows, columns = np.nonzero(np.isfinite(z))
    np.testing.assert_allclose(
        unproject_pixels(frame.depth, frame.intrinsics, rows, columns, motion),
        np.stack(moved, axis=-1)[rows, columns], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_rectified_images_are_opencvs(distortion, model):
    camera = make_frame(96, 72, distortion=distortion, model=model).intrinsics
    image = cv2.GaussianBlur(make_frame(96, 72).rgb, (0, 0), 3)
    found = rectify(image, camera)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    if not distortion:
        assert found is image
    elif model == 'equidistant':
        wanted = cv2.fisheye.undistortImage(image, matrix, np.array(distortion), Knew=matrix)
        assert np.abs(found.astype(int) - wanted).max() <= 1
    else:
        wanted = cv2.undistort(image, matrix, np.array(distortion))
        assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(('distortion', 'model'), LENSES)
def test_rays_between_pixels_lead_back_to_their_places(distortion, model):
    camera = make_frame(96, 72, distortion=distortion, model=model).intrinsics
    places = np.random.default_rng(0).uniform((20, 15), (75, 55), (50, 2))
    rays = pixel_rays(*places.T, camera)
    np.testing.assert_allclose(projected(np.c_[rays, np.ones(50)], camera), places, atol=1e-3)
    at_pixels = pixel_rays(np.array([30.0]), np.array([40.0]), camera)
    table = np.broadcast_arrays(*ray_table(camera))
    np.testing.assert_allclose(at_pixels[0], [part[40, 30] for part in table], rtol=1e-5)
    assert pixel_rays(np.zeros(0), np.zeros(0), camera).shape == (0, 2)
