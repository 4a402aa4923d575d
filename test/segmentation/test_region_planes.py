"""Planes of regions: the closed form against LAPACK, and geometry of known truth."""

from __future__ import annotations

from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from diffseg_ros.segmentation.region_planes import (
    least_directions,
    plane_gaps,
    planes,
    point_moments,
)
from diffseg_ros.segmentation.token_points import token_points
from diffseg_ros.types import Frame, Intrinsics
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

FULL = [[0, 1, 2], [1, 3, 4], [2, 4, 5]]


def spread_of(extents: list[float], count: int = 200, seed: int = 0) -> np.ndarray:
    """Return (6, count) covariances of these standard deviations along random axes."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.standard_normal((count, 3, 3)))[0]
    matrix = np.einsum('nij,j,nkj->ikn', axes, np.square(extents), axes)
    return np.stack([matrix[row, column] for row in range(3) for column in range(row, 3)])


def excess(spread: np.ndarray) -> np.ndarray:
    """Return by how much the spread along the answers is above the least, over the largest."""
    matrix = np.moveaxis(spread[FULL], -1, 0)
    values = np.linalg.eigvalsh(matrix)
    along = np.einsum('in,nij,jn->n', least_directions(spread), matrix, least_directions(spread))
    return (along - values[:, 0]) / np.maximum(values[:, 2], np.finfo(float).tiny)


@pytest.mark.parametrize('extents', [
    [1, 2, 3], [0.001, 1, 1], [0, 1, 2], [1e-6, 0.01, 0.02], [0.01, 0.01, 1], [0, 0, 1],
    [1e-7, 1e-6, 1], [1, 1, 1], [1e-9, 2e-9, 4e-9], [1e3, 2e3, 1e4], [0.5, 0.5, 0.6]])
def test_least_directions_have_the_least_spread(extents: list[float]) -> None:
    spread = spread_of(extents)
    assert np.allclose(np.linalg.norm(least_directions(spread), axis=0), 1)
    assert np.abs(excess(spread)).max() < 1e-12


@pytest.mark.parametrize('extents', [[1, 2, 3], [0.001, 1, 1], [0, 1, 2], [1e-4, 0.01, 0.05]])
def test_least_directions_are_those_of_lapack(extents: list[float]) -> None:
    spread = spread_of(extents)
    theirs = np.linalg.eigh(np.moveaxis(spread[FULL], -1, 0))[1][:, :, 0]
    across = np.cross(least_directions(spread).T, theirs)
    assert np.linalg.norm(across, axis=1).max() < 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 40), st.integers(0, 9999), st.sampled_from([1e-5, 1e-2, 1.0, 50.0]))
def test_least_directions_of_random_points(count: int, seed: int, scale: float) -> None:
    points = np.random.default_rng(seed).standard_normal((count, 3)) * scale
    matrix = np.cov(points.T, bias=True)
    assert abs(excess(matrix[np.triu_indices(3)][:, None])[0]) < 1e-12


def test_without_spread_any_unit_direction_will_do() -> None:
    directions = least_directions(np.zeros((6, 4)))
    assert np.allclose(np.linalg.norm(directions, axis=0), 1)
    assert least_directions(np.zeros((6, 0))).shape == (3, 0)


def frame_of(depth: np.ndarray) -> Frame:
    height, width = depth.shape
    camera = Intrinsics(width, height, 50.0, 50.0, (width - 1) / 2, (height - 1) / 2)
    return Frame(np.zeros((height, width, 3), np.uint8), depth=depth, intrinsics=camera)


def graph_of(frame: Frame, regions: np.ndarray) -> RegionGraph:
    lab = np.zeros((*regions.shape, 3), np.float32)
    points = token_points(frame, *regions.shape)
    return region_graph(lab, regions, np.ones((1, 1, 1), np.float32), points)


def test_moments_are_sums_over_valid_points() -> None:
    random = np.random.default_rng(0)
    depth = random.uniform(0.5, 4, (24, 32)).astype(np.float32)
    depth[random.random(depth.shape) < 0.3] = np.nan
    depth[:4] = 0
    regions = random.integers(0, 6, depth.shape).astype(np.int32)
    regions[:4, :8] = 6
    points = token_points(frame_of(depth), 24, 32)
    moments = point_moments(points, regions, 8)
    points = points.astype(np.float64)
    for region in range(8):
        inside = points[(regions == region) & np.isfinite(points[..., 2])]
        x, y, z = inside.T
        assert moments[region] == pytest.approx([len(inside), *(values.sum() for values in (
            x, y, z, x * x, x * y, x * z, y * y, y * z, z * z))], abs=1e-12)
    assert not moments[6:].any()


def test_planes_of_a_corner_are_apart_and_of_one_wall_are_not() -> None:
    depth = np.full((40, 60), 2.0, np.float32)
    depth[:, 40:] = 2.5
    regions = np.zeros((40, 60), np.int32)
    regions[:, 20:40], regions[:, 40:] = 1, 2
    graph = graph_of(frame_of(depth), regions)
    centres, normals, known = planes(graph.moments)
    assert known.all() and np.allclose(np.abs(normals[2]), 1, atol=1e-6)
    assert np.allclose(centres[2], [2, 2, 2.5])
    gaps = dict(zip(map(tuple, graph.edges.tolist()), plane_gaps(graph.moments, graph.edges),
                    strict=True))
    assert gaps[0, 1] == pytest.approx(0, abs=1e-9)
    # What lies behind the other's plane counts 0.3.
    assert gaps[1, 2] == pytest.approx((1 + 0.3) / 2 * 0.5**2 / (2 * 2.5))


@pytest.mark.parametrize('slope', [0.1, 0.3])
def test_faces_of_one_thing_are_nearer_than_walls_of_a_corner(slope: float) -> None:
    across = np.abs(np.arange(60) - 29.5) / 50
    regions = (np.arange(60) >= 30).astype(np.int32)[None].repeat(40, axis=0)

    def gap(sign: int) -> float:
        # The depth of x = +-(z - 2) / slope, seen along the rays x = across * z.
        depth = np.broadcast_to(2 / (1 - sign * slope * across), (40, 60)).astype(np.float32)
        graph = graph_of(frame_of(depth.copy()), regions)
        centres = planes(graph.moments)[0]
        assert (planes(graph.moments)[1] * centres).sum(axis=0).max() < 0
        return float(plane_gaps(graph.moments, graph.edges)[0] * centres[2].mean()**2)

    edge, corner = gap(1), gap(-1)
    assert 0 < edge < 0.75 * corner


def test_a_slanted_plane_is_found() -> None:
    normal = np.array([0.6, 0.0, 0.8])
    rays = np.stack([(np.arange(60) - 29.5) / 50, np.zeros(60), np.ones(60)])
    depth = np.broadcast_to(1.6 / (normal @ rays), (40, 60)).astype(np.float32)
    found = planes(graph_of(frame_of(depth.copy()), np.zeros((40, 60), np.int32)).moments)[1]
    assert abs(normal @ found[:, 0]) == pytest.approx(1, abs=1e-9)


def test_regions_without_depth_have_no_plane() -> None:
    regions = np.zeros((40, 60), np.int32)
    regions[:, 30:] = 1
    graph = graph_of(frame_of(np.full((40, 60), np.nan, np.float32)), regions)
    assert plane_gaps(graph.moments, graph.edges).tolist() == [0.0]
    assert not planes(graph.moments)[2].any()
