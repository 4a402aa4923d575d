"""Sums and borders of regions against loops over pixels."""

from __future__ import annotations

from collections import Counter

from diffseg_ros.geometry.label_images import compact
from diffseg_ros.segmentation.region_graph import region_graph, RegionGraph
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest


def random_regions(height: int, width: int, most: int, seed: int) -> np.ndarray:
    numbers = np.random.default_rng(seed).integers(0, most, height * width).astype(np.int32)
    return compact(numbers).reshape(height, width)


def literal_borders(lab: np.ndarray, regions: np.ndarray) -> tuple[Counter, Counter]:
    """Return the pairs of pixels, and their summed contrast, of each pair of regions."""
    length, contrast = Counter(), Counter()
    for y, x in np.ndindex(regions.shape):
        for there in ((y, x + 1), (y + 1, x)):
            if there[0] < regions.shape[0] and there[1] < regions.shape[1]:
                pair = tuple(sorted((int(regions[y, x]), int(regions[there]))))
                if pair[0] != pair[1]:
                    length[pair] += 1
                    contrast[pair] += float(np.linalg.norm(lab[y, x] - lab[there]))
    return length, contrast


def assert_borders(graph: RegionGraph, length: Counter, contrast: Counter) -> None:
    pairs = [tuple(pair) for pair in graph.edges.tolist()]
    assert pairs == sorted(length)
    assert graph.length.tolist() == [length[pair] for pair in pairs]
    assert graph.contrast == pytest.approx([contrast[pair] for pair in pairs], rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 12), st.integers(0, 999))
def test_graph_is_what_loops_over_pixels_find(height: int, width: int, most: int,
                                              seed: int) -> None:
    regions = random_regions(height, width, most, seed)
    random = np.random.default_rng(seed)
    lab = random.random((height, width, 3), np.float32)
    graph = region_graph(lab, regions, np.ones((2, 3, 4), np.float32))
    inside = [regions == region for region in range(regions.max() + 1)]
    assert graph.size.tolist() == [np.count_nonzero(mask) for mask in inside]
    assert np.allclose(graph.colour, [lab[mask].sum(axis=0) for mask in inside])
    assert np.allclose(graph.features, graph.size[:, None])
    assert_borders(graph, *literal_borders(lab, regions))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 5), st.integers(0, 999))
def test_contracting_is_describing_the_larger_regions(height: int, width: int, most: int,
                                                      seed: int) -> None:
    regions = random_regions(height, width, 20, seed)
    random = np.random.default_rng(seed)
    lab = random.random((height, width, 3), np.float32)
    graph = region_graph(lab, regions, random.random((5, 3, 4), np.float32))
    group = compact(random.integers(0, most, len(graph.size)))
    merged = graph.contracted(group)
    assert_borders(merged, *literal_borders(lab, group[regions]))
    for region in range(group.max() + 1):
        for ours, parts in ((merged.size, graph.size), (merged.colour, graph.colour),
                            (merged.features, graph.features)):
            assert np.allclose(ours[region], parts[group == region].sum(axis=0))


def test_contracting_keeps_depth_and_expectation() -> None:
    graph = RegionGraph(np.ones(3), np.ones((3, 3)), np.ones((3, 2)), np.array([[0, 1], [1, 2]]),
                        np.ones(2), np.ones(2), np.arange(30.0).reshape(3, 10),
                        np.arange(6.0).reshape(3, 2))
    merged = graph.contracted(np.array([1, 0, 1], np.int32))
    assert merged.moments is not None and merged.expected is not None
    assert merged.moments[1].tolist() == (np.arange(10.0) * 2 + 20).tolist()
    assert merged.expected.tolist() == [[2, 3], [4, 6]]
    assert merged.edges.tolist() == [[0, 1]] and merged.length.tolist() == [2]


def test_features_are_bilinear_at_the_middle_of_a_region() -> None:
    # 4 x 4 pixels a token; the features are the token's column and row.
    rows, columns = np.mgrid[:3, :5].astype(np.float32)
    regions = np.zeros((12, 20), np.int32)
    regions[4:7, 6:11] = 1
    regions[:1, :1] = 2
    graph = region_graph(np.zeros((12, 20, 3), np.float32), regions, np.stack([columns, rows]))
    means = graph.features / graph.size[:, None]
    assert means[1] == pytest.approx([(8 + 0.5) / 4 - 0.5, (5 + 0.5) / 4 - 0.5])
    assert means[2] == pytest.approx([0, 0])


def test_contrast_counts_steps_in_depth_up_to_a_tenth() -> None:
    regions = np.array([[0, 0, 1, 1, 2, 2, 3, 3]] * 3, np.int32)
    lab = np.zeros((3, 8, 3), np.float32)
    lab[regions == 1, 0] = 0.5
    points = np.ones((3, 8, 3), np.float32)
    points[regions == 1, 2] = 1.05
    points[regions == 2, 2] = 2.0
    points[regions == 3, 2] = np.nan
    features = np.ones((1, 1, 1), np.float32)
    graph = region_graph(lab, regions, features, points, depth_steps=4.0)
    assert graph.edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert np.allclose(graph.contrast / graph.length, [0.5 + 0.2, 0.5 + 0.4, 0])
    plain = region_graph(lab, regions, features, points)
    assert np.allclose(plain.contrast / plain.length, [0.5, 0.5, 0])
