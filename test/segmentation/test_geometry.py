from depth_scenes import frame_of, plane_depth
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.geometry import (
    token_depth,
    token_normals,
    token_points,
)
from diffseg_ros.types import Frame
import numpy as np
import pytest


@pytest.mark.parametrize('normal', [(0, 0, 1), (0.3, -0.2, 0.93), (0, 0.6, 0.8)])
def test_normals_are_those_of_the_plane(normal):
    normals = token_normals(token_points(frame_of(plane_depth(normal, 2.0)), 60, 80))
    np.testing.assert_allclose(np.abs(normals @ np.asarray(normal)),
                               np.linalg.norm(normal), atol=1e-2)


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


def test_one_row_of_tokens_has_no_normals():
    assert np.isnan(token_normals(token_points(frame_of(np.full((60, 80), 2.0)), 1, 8))).all()


def test_depth_is_needed():
    with pytest.raises(DiffsegError, match='need a depth image'):
        token_points(Frame(np.zeros((60, 80, 3), np.uint8)), 6, 8)
