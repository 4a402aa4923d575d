from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.affinity import geometry_distances, token_normals
from diffseg_ros.segmentation.cues import CutSettings
from diffseg_ros.segmentation.token_points import token_depth, token_points
from diffseg_ros.types import Frame
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scenes import frame_of, plane_depth

NONE = CutSettings(geometry=0.0)
CUES = ('geometry', 'depth', 'normals', 'distance')


def distances(image, height, width, **weights):
    return geometry_distances(frame_of(image), height, width, NONE.replace(**weights)).numpy()


@pytest.mark.parametrize('normal', [(0, 0, 1), (0.3, -0.2, 0.93), (0, 0.6, 0.8)])
@pytest.mark.parametrize('cue', ['geometry', 'normals'])
def test_tokens_of_one_plane_are_together(normal, cue):
    distance = distances(plane_depth(normal, 2.0), 60, 80, **{cue: 1.0})
    assert distance.shape == (4800, 4800)
    assert distance.max() < {'geometry': 1e-6, 'normals': 1e-3}[cue]


def test_distances_are_those_of_their_definitions():
    depth = plane_depth((0.3, -0.2, 0.93), 2.0)
    depth[:, 40:] = plane_depth((0, 0.6, 0.8), 1.5)[:, 40:]
    points = token_points(frame_of(depth), 12, 16)
    normals = token_normals(points).reshape(-1, 3)
    points = points.reshape(-1, 3)
    apart = points[:, None] - points
    scale = np.multiply.outer(points[:, 2], points[:, 2])
    expected = {
        'geometry': (np.einsum('ijc,ic->ij', apart, normals)**2
                     + np.einsum('ijc,jc->ij', apart, normals)**2) / (2 * scale),
        'depth': np.subtract.outer(np.log(points[:, 2]), np.log(points[:, 2]))**2,
        'normals': 1 - normals @ normals.T,
        'distance': (apart**2).sum(axis=-1) / scale}
    for cue in CUES:
        np.testing.assert_allclose(distances(depth, 12, 16, **{cue: 3.0}), 3 * expected[cue],
                                   atol=2e-5)
    together = distances(depth, 12, 16, geometry=200.0, depth=5.0, normals=2.0, distance=0.5)
    np.testing.assert_allclose(
        together, 200 * expected['geometry'] + 5 * expected['depth'] + 2 * expected['normals']
        + 0.5 * expected['distance'], rtol=1e-4, atol=1e-4)


def test_distance_of_parallel_planes_is_their_gap_over_depth():
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 1.5
    distance = distances(depth, 60, 80, geometry=1.0)
    left, right = 30 * 80 + 10, 30 * 80 + 70
    assert distance[left, right] == pytest.approx(0.5**2 / (2.0 * 1.5), rel=1e-3)
    assert distance[left, right] == pytest.approx(distance[right, left])


@pytest.mark.parametrize('cue', CUES)
@given(scale=strategies.floats(0.2, 10))
@settings(max_examples=10, deadline=None)
def test_scale_does_not_matter(cue, scale):
    depth = plane_depth((0, 0.6, 0.8), 2.0)
    depth[20:40, 30:50] -= 0.3
    near, far = (distances(depth * factor, 15, 20, **{cue: 1.0}) for factor in (1, scale))
    np.testing.assert_allclose(near, far, atol=2e-5)


@pytest.mark.parametrize('cue', CUES)
def test_missing_depth_leaves_the_decision_to_other_cues(cue):
    depth = plane_depth((0.3, -0.2, 0.93), 2.0)
    depth[:, 40:] = 1.0
    depth[:20, :20] = np.nan
    distance = distances(depth, 6, 8, **{cue: 1.0})
    assert (distance[0] == 0).all() and (distance[:, 0] == 0).all()
    assert distance[8 * 3 + 1, 8 * 3 + 6] > 0 and np.isfinite(distance).all()


def test_one_row_of_tokens_has_no_planes_but_depth():
    depth = np.full((60, 80), 2.0)
    depth[:, 40:] = 1.0
    assert not distances(depth, 1, 8, geometry=1.0, normals=1.0).any()
    assert distances(depth, 1, 8, depth=1.0)[0, 7] == pytest.approx(np.log(2)**2, rel=1e-5)


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
