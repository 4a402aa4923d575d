from diffseg_ros.errors import DiffsegError
from diffseg_ros.frame import Frame, Intrinsics
from diffseg_ros.segmentation.geometry import (
    plane_distances,
    token_depth,
    token_normals,
    token_points,
)
import numpy as np
import pytest

CAMERA = Intrinsics(80, 60, 70.0, 70.0, 39.5, 29.5)


def frame_of(depth):
    return Frame(np.zeros((60, 80, 3), np.uint8), depth=depth.astype(np.float32),
                 intrinsics=CAMERA)


def plane_depth(normal, offset):
    """Return the depth image of the plane normal . x = offset."""
    y, x = np.mgrid[:60, :80]
    rays = np.stack([(x - CAMERA.cx) / CAMERA.fx, (y - CAMERA.cy) / CAMERA.fy,
                     np.ones((60, 80))], axis=-1)
    return offset / (rays @ np.asarray(normal))


@pytest.mark.parametrize('normal', [(0, 0, 1), (0.3, -0.2, 0.93), (0, 0.6, 0.8)])
def test_tokens_of_one_plane_are_together(normal):
    frame = frame_of(plane_depth(normal, 2.0))
    distance = plane_distances(frame, 60, 80).numpy()
    assert distance.shape == (4800, 4800) and distance.max() < 1e-6
    normals = token_normals(token_points(frame, 60, 80))
    np.testing.assert_allclose(np.abs(normals @ np.asarray(normal)),
                               np.linalg.norm(normal), atol=1e-2)


def test_distance_of_parallel_planes_is_their_gap_over_depth():
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 1.5
    distance = plane_distances(frame_of(depth), 60, 80).numpy()
    left, right = 30 * 80 + 10, 30 * 80 + 70
    assert distance[left, right] == pytest.approx(0.5**2 / (2.0 * 1.5), rel=1e-3)
    assert distance[left, right] == pytest.approx(distance[right, left])


def test_scale_does_not_matter():
    depth = plane_depth((0, 0.6, 0.8), 2.0)
    depth[20:40, 30:50] -= 0.3
    near, far = (plane_distances(frame_of(depth * scale), 30, 40).numpy() for scale in (1, 3))
    np.testing.assert_allclose(near, far, atol=1e-5)


def test_missing_depth_leaves_the_decision_to_other_cues():
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 1.0
    depth[:20, :20] = np.nan
    distance = plane_distances(frame_of(depth), 6, 8).numpy()
    assert (distance[0] == 0).all() and (distance[:, 0] == 0).all()
    assert distance[8 * 3 + 1, 8 * 3 + 6] > 0 and np.isfinite(distance).all()


def test_normals_at_an_edge_belong_to_one_side():
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 1.0
    normals = token_normals(token_points(frame_of(depth), 60, 80))
    np.testing.assert_allclose(np.abs(normals[..., 2]), 1, atol=1e-5)


def test_token_depth_is_the_mean_of_valid_pixels():
    depth = np.full((4, 4), 3, np.float32)
    depth[0, 0] = np.nan
    depth[:2, 2:] = np.nan
    tokens = token_depth(depth, 2, 2)
    assert tokens[0, 0] == pytest.approx(3) and np.isnan(tokens[0, 1])


def test_one_row_of_tokens_has_no_planes():
    assert not plane_distances(frame_of(np.full((60, 80), 2.0)), 1, 8).any()


def test_depth_is_needed():
    with pytest.raises(DiffsegError, match='needs a depth image'):
        plane_distances(Frame(np.zeros((60, 80, 3), np.uint8)), 6, 8)
