from diffseg_ros.depth.base import DepthKind
from diffseg_ros.depth.ground import align_to_ground, known_from_ground
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest
from spoiled_depth import predict

CAMERA = Intrinsics(96, 72, 80.0, 80.0, 47.5, 35.5)
HEIGHT = 1.2
RELATIVE = [DepthKind.AFFINE, DepthKind.INVERSE]


def tilted(degrees, roll=0.0):
    """Return where up is for a camera that looks down by an angle."""
    pitch, roll = np.deg2rad([degrees, roll])
    return np.array([np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])


def plane_depth(up, height):
    """Return the depth of a horizontal plane, NaN above the horizon, and 6 m where farther."""
    rows, columns = np.mgrid[:72, :96]
    x, y = (columns - 47.5) / 80, (rows - 35.5) / 80
    fall = -(up[0] * x + up[1] * y + up[2])
    depth = np.where(fall > 0, height / np.where(fall > 0, fall, 1), np.inf)
    return np.minimum(depth, 6).astype(np.float32)


@pytest.mark.parametrize('lens', [(), (-0.35, 0.15, 0.001, -0.001, -0.03)])
def test_points_of_the_ground_are_a_camera_height_below(lens):
    from diffseg_ros.geometry.camera import ray_table
    camera = Intrinsics(320, 240, 260.0, 260.0, 160.0, 120.0, lens)
    up = tilted(25, 10)
    known = known_from_ground(camera, (240, 320), HEIGHT, up)
    x, y = (table[known.rows, known.columns] for table in np.broadcast_arrays(*ray_table(camera)))
    points = known.metres[:, None] * np.stack([x, y, np.ones_like(x)], axis=1)
    np.testing.assert_allclose(points @ up, -HEIGHT, rtol=1e-4)
    assert 1000 < len(known.metres) <= 128**2 and known.metres.dtype == np.float32
    assert np.linalg.norm(points, axis=1).max() <= HEIGHT / np.sin(np.deg2rad(15)) + 1e-3


@pytest.mark.parametrize('kind', RELATIVE)
@pytest.mark.parametrize('up', [tilted(30), tilted(40, 20)])
def test_ground_with_things_on_it_gives_the_scale(kind, up):
    depth = plane_depth(up, HEIGHT)
    depth[30:60, 10:30], depth[45:72, 60:75] = 1.0, np.float32(0.8)
    values = predict(depth, kind, 2.0, 0.3, 0.02)
    found = align_to_ground(values, kind, CAMERA, HEIGHT, up)
    assert found.scale == pytest.approx(2, rel=0.02)
    # The direction of up alone counts.
    assert align_to_ground(values, kind, CAMERA, HEIGHT, 3 * up).scale == pytest.approx(
        found.scale)


@pytest.mark.parametrize('up', [tilted(-60), tilted(-20), -tilted(90), np.full(3, np.nan)])
def test_without_ground_in_view_nothing_is_known(up):
    known = known_from_ground(CAMERA, (72, 96), HEIGHT, up)
    assert [len(part) for part in known] == [0, 0, 0]
    values = predict(plane_depth(tilted(30), HEIGHT), DepthKind.AFFINE, 2.0, 0.3)
    assert align_to_ground(values, DepthKind.AFFINE, CAMERA, HEIGHT, up) is None


@pytest.mark.parametrize('height', [0.0, -1.0, np.nan])
def test_without_a_height_nothing_is_known(height):
    assert not len(known_from_ground(CAMERA, (72, 96), height, tilted(30)).metres)


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_wall_or_clutter_is_not_taken_for_the_ground(kind):
    up = tilted(30)
    rng = np.random.default_rng(0)
    wall = np.tile(np.linspace(2, 3, 96, dtype=np.float32), (72, 1))
    clutter = np.kron(rng.uniform(0.6, 2, (9, 12)), np.ones((8, 8))).astype(np.float32)
    for depth in (wall, clutter):
        assert align_to_ground(predict(depth, kind, 2.0, 0.3, 0.02), kind, CAMERA, HEIGHT,
                               up) is None


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_table_is_not_taken_for_the_ground_where_the_ground_is_in_view(kind):
    up = tilted(35)
    depth = plane_depth(up, HEIGHT)
    table = plane_depth(up, HEIGHT - 0.75)
    depth[20:, 25:] = table[20:, 25:]
    assert align_to_ground(predict(depth, kind, 2.0, 0.3, 0.01), kind, CAMERA, HEIGHT, up) is None


@pytest.mark.parametrize('kind', RELATIVE)
def test_a_table_at_a_wall_is_not_taken_for_the_ground(kind, monkeypatch):
    up = tilted(35)
    table = plane_depth(up, HEIGHT - 0.75)
    # It stands at a wall.
    depth = np.minimum(table, np.float32(0.85))
    values = predict(depth, kind, 2.0, 0.3, 0.01)
    assert align_to_ground(values, kind, CAMERA, HEIGHT, up) is None
    monkeypatch.setattr('diffseg_ros.depth.ground._LEAST_FAR', 0)
    assert align_to_ground(values, kind, CAMERA, HEIGHT, up) is not None
