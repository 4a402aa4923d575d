"""Floors, walls, ceilings and tables, and what stands on them, seen from anywhere."""

from depth_rooms import ball, box, CAMERA, CEILING, FLOOR, OBJECT, plane, room, TABLE, view, WALL
from diffseg_ros.segmentation.scene_objects import frame_objects, scene_objects
from diffseg_ros.segmentation.support_surfaces import find_surfaces, surface_normals
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import example, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings('error')
KINDS = [FLOOR, WALL, WALL, WALL, CEILING, TABLE, OBJECT, OBJECT, OBJECT]


def furnished(height):
    """Return a room with a table, on it a box and a ball, and a box beside it on the floor."""
    return [*room(height), box((-0.1, height - 0.68, 1.6), (1.2, 0.04, 0.8)),
            box((0, height - 0.8, 1.5), (0.2, 0.2, 0.2)), ball((-0.35, height - 0.82, 1.6), 0.12),
            box((0.8, height - 0.15, 1.7), (0.3, 0.3, 0.3))]


def found_in(frame):
    """Return the scene and the kind of each pixel."""
    scene = scene_objects(token_points(frame, *frame.rgb.shape[:2]), frame.intrinsics)
    kinds = np.array(['', *(kind.value for kind in scene.surfaces.kinds)])
    return scene, np.where(scene.labels >= 0, OBJECT, kinds[scene.surfaces.labels + 1])


@pytest.mark.parametrize('scale, height, pitch, roll', [
    (1, 1.0, -10, 0), (1, 1.6, -10, 20), (1, 1.6, 0, 0), (1, 0.9, 0, 10), (1, 1.0, 15, -20),
    (1, 1.3, 15, 0), (1, 1.0, 30, 20), (1, 1.6, 30, -20), (1, 1.3, 40, 0), (1, 1.6, 50, 10),
    (2, 1.6, 0, 0), (2, 1.6, 30, -20), (2, 1.6, 50, 20)])
def test_surfaces_have_their_names_and_things_stand_on_them(scale, height, pitch, roll):
    frame, truth = view(furnished(height), pitch=pitch, roll=roll, scale=scale)
    scene, kinds = found_in(frame)
    checked = 0
    for number, kind in enumerate(KINDS):
        pixels = truth == number
        if pixels.mean() < (0.03 if kind is OBJECT else 0.08):
            continue
        checked += 1
        assert (kinds[pixels] == kind).mean() > 0.7, (number, kind)
        labels = scene.labels if kind is OBJECT else scene.surfaces.labels
        one = np.bincount(labels[pixels & (labels >= 0)])
        assert one.max() > 0.7 * pixels.sum(), (number, kind)
    assert checked >= 2


def test_what_stands_on_the_floor_is_an_object_though_a_table_hides_its_foot():
    frame, truth = view(furnished(1.6), pitch=30, roll=20)
    assert (found_in(frame)[1][truth == 8] == OBJECT).mean() > 0.9


def test_a_ceiling_is_one_where_no_floor_is_in_view():
    _, kinds = found_in(view([plane(2, 3.0), plane(1, -1.0)], pitch=-10)[0])
    assert {*kinds.ravel()} <= {WALL, CEILING, ''}
    assert (kinds[:60] == CEILING).mean() > 0.9 and (kinds[150:] == WALL).mean() > 0.9


@pytest.mark.parametrize('things, kind', [
    ([plane(2, 2.0)], WALL), ([plane(1, 1.0)], FLOOR), ([plane(1, 1.0), plane(0, 1.2)], FLOOR)])
def test_surfaces_alone(things, kind):
    scene, kinds = found_in(view(things, pitch=0 if kind is WALL else 35)[0])
    assert kind in scene.surfaces.kinds and scene.labels.max() == -1
    assert (kinds == kind).mean() > 0.5


def test_planes_are_where_they_are():
    camera_above = 1.2
    frame, _ = view([plane(1, camera_above)], pitch=35)
    surfaces = find_surfaces(token_points(frame, 240, 320), frame.intrinsics)
    up = -np.cos(np.radians(35)), -np.sin(np.radians(35))
    assert surfaces.kinds == [FLOOR]
    np.testing.assert_allclose(surfaces.planes[0].normal, [0, *up], atol=0.005)
    assert surfaces.planes[0].offset == pytest.approx(-camera_above, abs=0.01)


def test_normals_of_a_plane():
    frame, _ = view([plane(1, 1.0)], pitch=40, roll=10)
    normals = surface_normals(token_points(frame, 240, 320)[..., 2], frame.intrinsics)
    assert normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-5)
    noiseless = np.tile(1 / np.linspace(0.4, 1, 240, dtype=np.float32)[:, None], (1, 320))
    exact = surface_normals(noiseless, CAMERA)[20:-20, 20:-20]
    assert np.ptp(exact, axis=(0, 1)).max() < 1e-3 and (exact[..., 2] < 0).all()


def test_kinds_of_segments():
    frame, truth = view(furnished(1.3), pitch=30)
    scene, _ = found_in(frame)
    kinds = scene.kinds((truth + 1).astype(np.int32))
    seen = {number: kinds[number + 1] for number in np.unique(truth) if number >= 0}
    assert {number: kind for number, kind in seen.items() if number in (0, 1, 5, 6, 7)} == {
        0: FLOOR, 1: WALL, 5: TABLE, 6: OBJECT, 7: OBJECT}
    half = np.zeros(truth.shape, np.int32)
    half[truth == 0] = 2
    large = half.repeat(2, axis=0).repeat(2, axis=1)
    assert scene.kinds(half) == scene.kinds(large) and scene.kinds(half)[1:] == ('', FLOOR)


SPECIAL = np.array([-1, 0, np.inf, -np.inf, np.nan, 0.01, 1, 65, 100, 1e-40, 3e38], np.float32)


def filled(value):
    return lambda shape, random: np.full(shape, value, np.float32)


def one_pixel(shape, random):
    depth = np.full(shape, np.nan, np.float32)
    depth[shape[0] // 2, shape[1] // 2] = 1
    return depth


def holes(shape, random):
    return np.where(random.random(shape) < 0.4, np.nan, random.random() + 0.5).astype(np.float32)


DEPTHS = [*map(filled, SPECIAL), one_pixel, holes,
          lambda shape, random: random.choice(SPECIAL, shape),
          lambda shape, random: (5 * random.random(shape)).astype(np.float32),
          lambda shape, random: np.exp(random.normal(0, 9, shape)).astype(np.float32)]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([(2, 2), (3, 5), (2, 40), (40, 2), (12, 16), (60, 80)]),
       st.sampled_from(DEPTHS), st.sampled_from([(1, 1), (2, 1), (0.5, 2)]), st.integers(0, 99),
       st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
       st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
@example((240, 320), DEPTHS[6], (1, 1), 0, (1, 1), (0.5, 0.5))
def test_any_depth_and_camera(size, depth_of, larger, seed, focal, middle):
    (height, width), random = size, np.random.default_rng(seed)
    shape = tuple(max(1, round(side * by)) for side, by in zip(size, larger, strict=True))
    camera = Intrinsics(width, height, focal[0] * width, focal[1] * width, middle[0] * width,
                        middle[1] * height)
    frame = Frame(np.zeros((height, width, 3), np.uint8), depth=depth_of(shape, random),
                  intrinsics=camera)
    points = token_points(frame, height, width)
    labels, surfaces = scene_objects(points, camera)
    assert labels.shape == surfaces.labels.shape == size
    assert labels.dtype == surfaces.labels.dtype == np.int32
    assert {*np.unique(labels)} | {-1} == {*range(-1, labels.max() + 1)}
    assert len(surfaces.kinds) == len(surfaces.planes) > surfaces.labels.max()
    unknown = np.isnan(points[..., 2])
    assert (labels[unknown] == -1).all() and (surfaces.labels[unknown] == -1).all()
    assert not ((labels >= 0) & (surfaces.labels >= 0)).any()
    again = frame_objects(frame)
    assert again.dtype == np.int32 and (again == frame_objects(frame)).all()
    assert (again == labels).all()
