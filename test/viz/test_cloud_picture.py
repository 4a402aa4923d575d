from diffseg_ros.viz.cloud_picture import BACKGROUND, fit_view, render_cloud, View
import numpy as np
import pytest

STRAIGHT = View(centre=(0.0, 0.0, 2.0), distance=2.0, yaw=0.0, pitch=0.0)


def make_wall(z, size, colour, step=0.01):
    axis = np.arange(-size, size, step, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3)
    return points, np.tile(np.array(colour, np.uint8), (len(points), 1))


@pytest.mark.parametrize('near_first', [True, False])
def test_near_wall_hides_the_far_one(near_first):
    walls = [make_wall(1.5, 0.2, (255, 0, 0)), make_wall(3.0, 1.0, (0, 0, 255))]
    order = walls if near_first else walls[::-1]
    points, colours = (np.concatenate(parts) for parts in zip(*order, strict=True))
    image = render_cloud(points, colours, 200, 160, view=STRAIGHT)
    middle, side = image[80, 100], image[80, 40]
    assert middle[0] > 150 and middle[2] == 0
    assert side[2] > 100 and side[0] == 0
    assert (image[2, 2] == BACKGROUND).all()


def test_surface_has_no_holes_and_the_expected_size():
    points, colours = make_wall(2.0, 0.5, (0, 200, 0), step=0.012)
    image = render_cloud(points, colours, 320, 240, view=STRAIGHT)
    rows, columns = np.nonzero((image != BACKGROUND).any(axis=-1))
    assert missing(image) == 0
    # 1 m at 2 m distance with a focal length of 1.1 * 240 pixels.
    assert np.ptp(columns) == pytest.approx(1.1 * 240 / 2, abs=4)
    assert np.ptp(rows) == pytest.approx(1.1 * 240 / 2, abs=4)


def missing(image):
    """Return how many background pixels lie inside the drawn rectangle."""
    drawn = (image != BACKGROUND).any(axis=-1)
    rows, columns = np.nonzero(drawn)
    inside = drawn[rows.min():rows.max() + 1, columns.min():columns.max() + 1]
    return int(np.count_nonzero(~inside))


@pytest.mark.parametrize('size', [(640, 480), (200, 400), (64, 64)])
def test_default_view_shows_nearly_all_points(size):
    rng = np.random.default_rng(5)
    points = rng.uniform([-2, -1, 1], [2, 1, 5], (20000, 3)).astype(np.float32)
    view = fit_view(points, *size)
    seen = (points - np.float32(view.centre)) @ view.rotation.T + [0, 0, view.distance]
    pixels = seen[:, :2] / seen[:, 2:] * 1.1 * min(size)
    inside = (np.abs(pixels) <= np.array(size) / 2).all(axis=1) & (seen[:, 2] > 0)
    assert 0.97 < inside.mean()
    assert np.abs(pixels[inside]).max(axis=0) @ [1 / size[0], 1 / size[1]] > 0.4


def test_view_moves_the_camera_up_and_to_the_right():
    view = View(centre=(0.0, 0.0, 2.0), distance=2.0, yaw=30.0, pitch=20.0)
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-6)
    position = np.array(view.centre) - view.rotation.T @ [0.0, 0.0, view.distance]
    assert position[0] > 0.5 and position[1] < -0.5 and position[2] < 1.0


@pytest.mark.parametrize('points', [np.empty((0, 3)), np.full((10, 3), np.nan)])
def test_nothing_to_see_is_an_empty_picture(points):
    image = render_cloud(points.astype(np.float32), np.zeros((len(points), 3), np.uint8), 40, 30)
    assert image.shape == (30, 40, 3) and (image == BACKGROUND).all()


def test_points_behind_the_camera_and_outside_are_ignored():
    points = np.array([[0, 0, -5], [900, 0, 2], [0, -900, 2], [0, 0, 2], [np.nan] * 3],
                      np.float32)
    colours = np.array([[9, 9, 9]] * 3 + [[0, 200, 0]] + [[9, 9, 9]], np.uint8)
    image = render_cloud(points, colours, 40, 30, view=STRAIGHT)
    drawn = image[(image != BACKGROUND).any(axis=-1)]
    assert len(drawn) == 9 and (drawn[:, 1] > 100).all()
