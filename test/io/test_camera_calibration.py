"""What camera_info, depth and topics' names say of an image, as tables and as properties."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from bag_recipes import INTRINSICS
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import is_pinhole, same_view
from diffseg_ros.io.calibration import (
    intrinsics_from_camera_info,
    is_rectified,
    rectified_camera_info,
    registered_depth,
)
from diffseg_ros.io.messages import camera_info_message, image_message
from diffseg_ros.types import Intrinsics
from hypothesis import assume, given
from hypothesis import strategies as st
import numpy as np
import pytest

ZEROS, IDENTITY = [0.0] * 9, [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
K, P = [500.0, 0, 320, 0, 510, 240, 0, 0, 1], [400.0, 0, 300, 9, 0, 410, 230, 0, 0, 0, 1, 0]
P_IDENTITY, D = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0], (0.1, -0.2, 0.0, 0.0, 0.3)
SIZES = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


def camera_info(k=K, p=P, d=D, model='plumb_bob', size=(640, 480), binning=(0, 0),
                roi=(0, 0, 0, 0)):
    region = SimpleNamespace(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3])
    return SimpleNamespace(k=k, p=p, d=d, distortion_model=model, width=size[0], height=size[1],
                           binning_x=binning[0], binning_y=binning[1], roi=region)


@pytest.mark.parametrize(('topic', 'rectified'), [
    ('/camera/image_rect', True), ('/camera/image_rect_color', True),
    ('image_rect_color/compressed', True), ('/infra1/image_rect_raw', True),
    ('/left/rgb_rectified', True), ('/zed/rgb/color/rect/image', True), ('', False),
    ('/camera/image_raw', False), ('/camera/image_color/compressed', False),
    ('/rect_camera/image_raw', False), ('/camera/rectangle', False),
    ('/camera/image_unrectified', False)])
def test_the_name_says_whether_images_are_rectified(topic, rectified):
    assert is_rectified(topic) == rectified


@pytest.mark.parametrize(('topic', 'k', 'p', 'fx', 'distortion'), [
    ('image_raw', K, P, 500, D),
    ('image_rect_color', K, P, 400, ()),
    ('image_rect', K, [0.0] * 12, 500, ()),
    ('image_rect', ZEROS, P, 400, ()),
    ('image_raw', ZEROS, P, 400, ()),
    ('image_raw', IDENTITY, P, 400, ()),
    ('image_raw', K, P_IDENTITY, 500, D),
    ('image_raw', [float('nan')] * 9, P, 400, ())])
def test_which_matrix_holds(topic, k, p, fx, distortion):
    found = intrinsics_from_camera_info(camera_info(k, p), topic)
    assert (found.fx, found.distortion) == (fx, distortion)
    centre = (300, 230) if fx == 400 else (320, 240)
    assert (found.cx, found.cy) == centre


@pytest.mark.parametrize('k', [ZEROS, IDENTITY])
@pytest.mark.parametrize('p', [[0.0] * 12, P_IDENTITY])
def test_no_calibration_is_refused(k, p):
    with pytest.raises(DiffsegError, match='uncalibrated'):
        intrinsics_from_camera_info(camera_info(k, p))


@pytest.mark.parametrize(('info', 'size', 'centre'), [
    ({}, (640, 480), 320), ({}, (320, 240), 159.75), ({}, (1280, 960), 640.5),
    ({'binning': (2, 2)}, (320, 240), 159.75), ({'binning': (2, 2)}, (640, 480), 320),
    ({'roi': (100, 40, 400, 200)}, (400, 200), 220),
    ({'roi': (100, 40, 400, 200)}, (640, 480), 320),
    ({'roi': (160, 120, 320, 240)}, (640, 480), 320),
    ({'roi': (100, 40, 400, 200), 'binning': (2, 2)}, (200, 100), 109.75)])
def test_size_is_explained_by_scaling_binning_or_region(info, size, centre):
    found = intrinsics_from_camera_info(camera_info(**info), '', size)
    assert found.resized(*size).cx == pytest.approx(centre)


@pytest.mark.parametrize('size', [(640, 400), (1280, 720), (480, 640)])
def test_another_aspect_is_refused_with_both_sizes(size):
    with pytest.raises(DiffsegError, match=f'640x480 .* {size[0]}x{size[1]}: no scaling'):
        intrinsics_from_camera_info(camera_info(), '', size)


@pytest.mark.parametrize('model', ['', 'none', 'double_sphere', 'Inverse Brown Conrady'])
@pytest.mark.parametrize('distortion', [(), (0.0,) * 3, (0.0,) * 8])
def test_a_lens_without_distortion_is_a_pinhole(model, distortion):
    assert is_pinhole(intrinsics_from_camera_info(camera_info(d=distortion, model=model)))


@pytest.mark.parametrize(('model', 'usual', 'distortion'), [
    ('Brown Conrady', 'plumb_bob', D), ('PLUMB_BOB', 'plumb_bob', D),
    ('fisheye', 'equidistant', D[:4]), ('Kannala Brandt4', 'equidistant', (*D[:4], 0.0)),
    ('plumb_bob', 'plumb_bob', (*D, 0.0, 0.0, 0.0)),
    ('Rational-Polynomial', 'rational_polynomial', D + (0.1,) * 3)])
def test_lenses_are_known_by_other_names(model, usual, distortion):
    from diffseg_ros.geometry.camera import ray_table

    camera = Intrinsics(32, 24, 30, 30, 15, 11, distortion, model)
    count = {'plumb_bob': 5, 'equidistant': 4}.get(usual, 8)
    wanted = replace(camera, distortion=distortion[:count], distortion_model=usual)
    np.testing.assert_array_equal(ray_table(camera), ray_table(wanted))


@pytest.mark.parametrize('model', ['', 'none', 'double_sphere', 'Inverse Brown Conrady'])
def test_a_lens_of_unknown_meaning_is_refused_by_its_name(model):
    with pytest.raises(DiffsegError, match=f'distortion model {model!r}; supported are'):
        intrinsics_from_camera_info(camera_info(model=model))


@given(size=SIZES, scale=st.floats(0.1, 1))
def test_every_scaling_is_the_same_view(size, scale):
    scaled = tuple(max(8, round(scale * side)) for side in size)
    assume(min(scaled) > 8)
    assert same_view(size, scaled) and same_view(scaled, size)


@given(size=SIZES, factor=st.floats(1.1, 4))
def test_no_scaling_explains_a_cropped_side(size, factor):
    width, height = size
    assume(width >= 64 and height >= 64)
    assert not same_view((round(width * factor), height), size)
    assert not same_view((height, round(width * factor)), (height, width))


@given(size=SIZES, binning=st.integers(1, 4), offset=st.tuples(st.integers(0, 500),
                                                               st.integers(0, 500)))
def test_a_ray_keeps_its_pixel_through_region_and_binning(size, binning, offset):
    roi = (*offset, size[0] * binning, size[1] * binning)
    whole = (offset[0] + roi[2] + 7, offset[1] + roi[3] + 31)
    message = camera_info(d=(), size=whole, roi=roi, binning=(binning, binning))
    found = intrinsics_from_camera_info(message, '', size)
    assert (found.width, found.height) == size
    # The sensor's pixel at the middle of the binned pixel (u, v) sees the same ray.
    u, v = np.array(size) / 3
    x = offset[0] + (u + 0.5) * binning - 0.5
    y = offset[1] + (v + 0.5) * binning - 0.5
    assert (u - found.cx) / found.fx == pytest.approx((x - K[2]) / K[0], abs=1e-9)
    assert (v - found.cy) / found.fy == pytest.approx((y - K[5]) / K[4], abs=1e-9)


def test_camera_info_of_rectified_images_for_readers_of_k():
    message = camera_info_message(replace(INTRINSICS, distortion=D), 0, 'camera')
    message.p[0] = 7
    found = intrinsics_from_camera_info(rectified_camera_info(message))
    assert (found.fx, found.distortion) == (7, ())


def test_depth_of_another_view_is_refused():
    message = image_message(np.ones((90, 160), np.float32), 0, '/camera')
    assert registered_depth(message, (320, 180), 'camera', 0.001).shape == (90, 160)
    with pytest.raises(DiffsegError, match='unregistered depth: 160x90 with images of 160x120'):
        registered_depth(message, (160, 120), 'camera', 0.001)
    with pytest.raises(DiffsegError, match="frame_id is '/camera', that of the images 'other'"):
        registered_depth(message, (160, 90), 'other', 0.001)
