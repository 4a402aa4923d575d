"""Any camera_info is a camera that sees what the formulas say, or refused in one line."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.camera import project, ray_table
from diffseg_ros.io.calibration import intrinsics_from_camera_info
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

ANY = st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, math.nan, math.inf, 3e38, 1e-300])
MODELS = ('plumb_bob', 'rational_polynomial', 'equidistant', 'Brown Conrady', 'fisheye', '',
          'none', 'double_sphere')
SMALL = st.floats(-0.02, 0.02)
COUNTS = {'plumb_bob': (0, 4, 5), 'rational_polynomial': (0, 8, 12), 'equidistant': (0, 4)}
TOPICS = st.sampled_from(['image_raw', 'image_rect_color'])


def camera_info(size, k, p, d, model, binning=(0, 0), roi=(0, 0, 0, 0)):
    return SimpleNamespace(
        width=size[0], height=size[1], k=k, p=p, d=d, distortion_model=model,
        binning_x=binning[0], binning_y=binning[1], roi=SimpleNamespace(
            x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3]))


def values(count, numbers=ANY):
    return st.lists(numbers, min_size=count, max_size=count)


@settings(max_examples=300, deadline=None)
@given(k=values(9), p=values(12), d=st.lists(ANY, max_size=14), model=st.sampled_from(MODELS),
       sensor=st.tuples(st.integers(0, 60), st.integers(0, 60)), topic=TOPICS,
       binning=st.tuples(st.integers(0, 70), st.integers(0, 3)),
       roi=st.tuples(*[st.integers(0, 60)] * 4), scale=st.integers(1, 3),
       image=st.none() | st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_nonsense_is_refused_in_one_line_or_computed_with(k, p, d, model, sensor, topic, binning,
                                                          roi, scale, image):
    size = image or tuple(scale * max(1, side) for side in sensor)
    try:
        camera = intrinsics_from_camera_info(
            camera_info(sensor, k, p, d, model, binning, roi), topic, size)
    except DiffsegError as refused:
        text = str(refused)
        assert '\n' not in text and ('camera intrinsics: ' in text or re.search(
            rf'\d+x\d+ with images of {size[0]}x{size[1]}: no scaling', text))
        return
    with np.errstate(all='ignore'):
        rays = ray_table(camera.resized(*size))
    assert np.broadcast_shapes(*(table.shape for table in rays)) == (size[1], size[0])


def seen(point, k, d, model):
    """Return column and row at which a sensor sees a point, by the formulas of the models."""
    x, y = point[0] / point[2], point[1] / point[2]
    r2 = x * x + y * y
    if model == 'equidistant':
        theta = math.atan(math.sqrt(r2))
        bent = theta * (1 + sum(c * theta ** (2 * n) for n, c in enumerate(d, 1)))
        factor = bent / math.sqrt(r2) if r2 and d else 1
        x, y = x * factor, y * factor
    elif d:
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = [*d, *[0.0] * (12 - len(d))]
        factor = ((1 + k1 * r2 + k2 * r2**2 + k3 * r2**3)
                  / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3))
        x, y = (x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2**2,
                y * factor + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2**2)
    return k[0] * x + k[2], k[4] * y + k[5]


@st.composite
def cameras(draw):
    """Return size, K, P, D and model of a camera, binning, a region, the image and the topic."""
    binning = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    step = [max(1, value) for value in binning]
    part = [draw(st.integers(20, 40)) * value for value in step]
    offset = [draw(st.integers(0, 20)) for _ in range(2)]
    size = [offset[axis] + part[axis] + draw(st.integers(0, 20)) for axis in range(2)]
    roi = (*offset, *part) if draw(st.booleans()) else (0, 0, 0, 0)
    if not roi[2]:
        offset, part, size = [0, 0], part, part
    k, p = ([draw(st.floats(0.8, 2)) * max(size), 0, draw(st.floats(0.4, 0.6)) * size[0],
             0, draw(st.floats(0.8, 2)) * max(size), draw(st.floats(0.4, 0.6)) * size[1], 0, 0, 1]
            for _ in range(2))
    model = draw(st.sampled_from(sorted(COUNTS)))
    d = draw(values(draw(st.sampled_from(COUNTS[model])), SMALL))
    scale = draw(st.sampled_from([1, 2]))
    image = [scale * part[axis] // step[axis] for axis in range(2)]
    return (size, k, [*p[:3], 0, *p[3:6], 0, *p[6:], 0], d, model, binning, roi, offset, step,
            scale, image)


@settings(deadline=None)
@given(camera=cameras(), topic=TOPICS, kind=st.sampled_from(['both', 'no K', 'no P']),
       place=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)), z=st.floats(0.3, 9))
def test_a_point_is_seen_where_the_formulas_say(camera, topic, kind, place, z):
    size, k, p, d, model, binning, roi, offset, step, scale, image = camera
    message = camera_info(size, [0.0] * 9 if kind == 'no K' else k,
                          [0.0] * 12 if kind == 'no P' else p, d, model, binning, roi)
    found = intrinsics_from_camera_info(message, topic, tuple(image)).resized(*image)
    by_p = kind != 'no P' and (kind == 'no K' or 'rect' in topic)
    matrix = [*p[:3], *p[4:7], *p[8:11]] if by_p else k
    lens = () if by_p or 'rect' in topic else d
    # A point near the given place of the image, whatever the lens does.
    point = np.array([((offset[axis] + place[axis] * image[axis] * step[axis] / scale)
                       - matrix[2 + 3 * axis]) / matrix[4 * axis] for axis in range(2)] + [1]) * z
    sensor = seen(point, matrix, lens if any(lens) or model == 'equidistant' else (), model)
    wanted = [((sensor[axis] - offset[axis] + 0.5) / step[axis]) * scale - 0.5
              for axis in range(2)]
    got = project(*(np.float32([value]) for value in point), found)
    assert [float(value[0]) for value in got] == pytest.approx(wanted, abs=0.05)
