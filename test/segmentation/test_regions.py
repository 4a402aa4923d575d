from dataclasses import replace

import cv2
from diffseg_ros.config import SegmentationConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.boundary_refinement import sharpened
from diffseg_ros.segmentation.region_graph import region_graph
from diffseg_ros.segmentation.region_merging import adaptive_merge, nearest_merge
from diffseg_ros.segmentation.region_segments import region_segments
from diffseg_ros.segmentation.superpixels import compact, gradient_basins, lab_image
from diffseg_ros.types import Frame
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy import ndimage


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def chain(weights):
    edges = np.stack([np.arange(len(weights)), np.arange(len(weights)) + 1], axis=1)
    return edges, np.array(weights, float)


def plain_merge(size, edges, weight, scale):
    """Felzenszwalb and Huttenlocher's merging as they wrote it, on all edges."""
    group, inner, size = np.arange(len(size)), np.zeros(len(size)), np.array(size, float)
    for edge in np.argsort(weight, kind='stable'):
        first, second = group[edges[edge]]
        if first == second:
            continue
        if weight[edge] <= min(inner[first] + scale / size[first],
                               inner[second] + scale / size[second]):
            group[group == second] = first
            size[first] += size[second]
            inner[first] = weight[edge]
    return group


def same_partition(first, second):
    pairs = {(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)}
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 9))
def test_basins_are_numbered_without_gaps_and_connected(height, width, seed):
    basins = gradient_basins(noise(height, width, seed).astype(np.float32) / 255)
    assert basins.dtype == np.int32
    assert np.array_equal(np.unique(basins), np.arange(basins.max() + 1))
    for number in range(basins.max() + 1):
        assert ndimage.label(basins == number, np.ones((3, 3)))[1] == 1


def test_a_flat_image_is_one_basin_and_a_ridge_parts_two():
    flat = np.full((20, 30, 3), 0.5, np.float32)
    assert gradient_basins(flat).max() == 0
    flat[:, 15:] = 0.9
    basins = gradient_basins(flat)
    assert set(np.unique(basins[:, :13])).isdisjoint(np.unique(basins[:, 17:]))


def test_lab_image_keeps_small_photos_and_shrinks_large_ones():
    assert lab_image(noise(30, 40), 320).shape == (30, 40, 3)
    assert lab_image(noise(480, 640), 320).shape == (240, 320, 3)
    white = lab_image(np.full((8, 8, 3), 255, np.uint8), 320)
    assert np.allclose(white, [1, 0, 0], atol=1e-3)


def test_compact_keeps_groups():
    assert compact(np.array([7, 3, 7, 9])).tolist() == [1, 0, 1, 2]


def test_graph_knows_sizes_borders_and_contrast():
    regions = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.int32)
    lab = np.zeros((3, 3, 3), np.float32)
    lab[regions == 1, 0] = 0.5
    graph = region_graph(lab, regions, np.ones((2, 1, 1), np.float32))
    assert graph.size.tolist() == [4, 2, 3]
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert graph.length.tolist() == [2, 2, 1]
    assert np.allclose(graph.contrast, [1, 0, 0.5])
    assert np.allclose(graph.colour[1], [1, 0, 0]) and np.allclose(graph.features[2], [3, 3])
    merged = graph.contracted(np.array([0, 1, 0], np.int32))
    assert merged.size.tolist() == [7, 2] and merged.edges.tolist() == [[0, 1]]
    assert merged.length.tolist() == [3] and np.allclose(merged.contrast, [1.5])


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(0, 99), st.floats(0.01, 20))
def test_adaptive_merge_on_a_tree_is_the_published_rule(count, seed, scale):
    random = np.random.default_rng(seed)
    edges = np.stack([[random.integers(0, node) for node in range(1, count)],
                      np.arange(1, count)], axis=1)
    weight = random.random(count - 1)
    size = random.integers(1, 20, count).astype(float)
    ours = adaptive_merge(size, edges, weight, scale, 0)
    assert same_partition(ours, plain_merge(size, edges, weight, scale))


def test_adaptive_merge_absorbs_what_is_small_across_its_weakest_border():
    edges, weight = chain([0.9, 0.3])
    group = adaptive_merge(np.array([50.0, 2.0, 50.0]), edges, weight, 0.0, 10)
    assert group[1] == group[2] != group[0]
    assert len(set(adaptive_merge(np.array([5.0, 2.0, 5.0]), edges, weight, 0.0, 100))) == 1


def colour_cost(graph):
    means = graph.colour / graph.size[:, None]
    return np.abs(means[graph.edges[:, 0]] - means[graph.edges[:, 1]]).sum(axis=1)


def stripes(levels):
    regions = np.repeat(np.arange(len(levels), dtype=np.int32), 4)[None].repeat(4, axis=0)
    lab = np.zeros((*regions.shape, 3), np.float32)
    lab[..., 0] = np.array(levels, np.float32)[regions]
    return region_graph(lab, regions, np.ones((1, 1, 1), np.float32))


def test_nearest_merge_stops_at_the_threshold():
    graph = stripes([0, 0.1, 0.5, 0.55, 1])
    assert nearest_merge(graph, colour_cost, 0.2, 99).tolist() == [0, 0, 1, 1, 2]
    assert nearest_merge(graph, colour_cost, 0.0, 99).tolist() == [0, 1, 2, 3, 4]
    assert nearest_merge(graph, colour_cost, 9.0, 99).tolist() == [0] * 5


@pytest.mark.parametrize('most', [1, 2, 3, 4])
def test_nearest_merge_keeps_the_number_of_regions(most):
    group = nearest_merge(stripes([0, 0.1, 0.5, 0.55, 1]), colour_cost, 0.0, most)
    assert group.max() + 1 == most


def test_sharpened_straightens_a_ragged_border_along_the_edge():
    rgb = np.zeros((80, 120, 3), np.uint8)
    rgb[:, 60:] = 200
    truth = (rgb[..., 0] > 0).astype(np.int32)
    starts = 30 + np.random.default_rng(0).integers(-1, 2, 40)
    coarse = (np.arange(60) >= starts[:, None]).astype(np.int32)
    before = cv2.resize(coarse, (120, 80), interpolation=cv2.INTER_NEAREST)
    labels, margin = sharpened(rgb, coarse)
    assert np.count_nonzero(labels != truth) < np.count_nonzero(before != truth) / 3
    assert margin.shape == (80, 120) and margin.min() >= 0 and margin.max() <= 1
    assert (margin[:, :40] == 1).all()


def test_sharpened_leaves_one_segment_alone():
    labels, margin = sharpened(noise(20, 30), np.zeros((10, 15), np.int32))
    assert not labels.any() and (margin == 1).all()


def scene():
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[20:70, 10:60] = (200, 60, 60)
    rgb[20:70, 70:120] = (60, 60, 200)
    return rgb


def features_of(rgb, seed=0):
    small = cv2.resize(rgb, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mixing = np.random.default_rng(seed).standard_normal((6, 3))
    return np.einsum('cd,hwd->chw', mixing, small).astype(np.float32)


def test_more_granularity_never_gives_fewer_segments():
    rgb = cv2.GaussianBlur(noise(96, 128), (0, 0), 4)
    rgb = cv2.normalize(rgb, None, 0, 255, cv2.NORM_MINMAX)
    counts = [region_segments(Frame(rgb), features_of(rgb),
                              SegmentationConfig(granularity=level))[0].max() + 1
              for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert counts == sorted(counts) and counts[-1] > counts[0]


def test_features_keep_apart_what_colours_would_join():
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[:, 64:] = 94
    features = np.zeros((2, 24, 32), np.float32)
    features[0, :, :16] = features[1, :, 16:] = 1
    config = SegmentationConfig(region_scale=0.5)
    with_features = region_segments(Frame(rgb), features, config)[0]
    without = region_segments(Frame(rgb), features,
                              SegmentationConfig(region_scale=0.5, region_features=0.0))[0]
    assert with_features.max() == 1 and without.max() == 0


@pytest.mark.parametrize('cue', ['region_steps', 'region_geometry'])
def test_depth_parts_what_colours_would_join(cue):
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[:, 64:] = 94
    depth = np.full((96, 128), 2.0, np.float32)
    depth[:, 64:] = 1.6
    frame, features = Frame(rgb, depth=depth), np.ones((2, 24, 32), np.float32)
    off = SegmentationConfig(region_steps=0.0, region_geometry=0.0)
    weighed = replace(off, **{cue: 5.0 if cue == 'region_steps' else 80.0})
    assert region_segments(frame, features, off)[0].max() == 0
    assert region_segments(frame, features, weighed)[0].max() == 1


def test_what_is_expected_decides_where_colours_do_not():
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[:, 64:] = 100
    prior = np.zeros((2, 24, 32), np.float32)
    prior[0, :, :16] = prior[1, :, 16:] = 1
    features = np.ones((2, 24, 32), np.float32)
    config = SegmentationConfig(region_scale=0.5, region_threshold=0.02, region_colour=0.5)
    apart = region_segments(Frame(rgb), features, config, prior)[0]
    afresh = region_segments(Frame(rgb), features, config)[0]
    one = region_segments(Frame(rgb), features, config, np.ones((1, 24, 32), np.float32))[0]
    assert apart.max() == 1 and afresh.max() == 0 and one.max() == 0


def test_nan_in_features_is_refused():
    features = features_of(scene())
    features[0, 0, 0] = np.nan
    with pytest.raises(DiffsegError, match='NaN'):
        region_segments(Frame(scene()), features, SegmentationConfig())


@pytest.mark.parametrize('shape', [(2, 2), (2, 50), (50, 2), (3, 700)])
def test_tiny_and_narrow_photos_are_labelled_completely(shape):
    labels, confidence, means = region_segments(
        Frame(noise(*shape)), np.ones((3, 2, 2), np.float32), SegmentationConfig())
    assert labels.shape == confidence.shape == shape
    assert labels.min() >= 0 and labels.max() < len(means)


def test_a_constant_photo_is_one_segment_of_full_confidence():
    labels, confidence, means = region_segments(
        Frame(np.full((60, 80, 3), 77, np.uint8)), np.ones((3, 6, 8), np.float32),
        SegmentationConfig())
    assert not labels.any() and (confidence == 1).all() and means.shape == (1, 3)
