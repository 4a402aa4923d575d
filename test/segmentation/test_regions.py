import cv2
from diffseg_ros.segmentation.region_merging import adaptive_merge
from diffseg_ros.types import Frame
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import noise, same_partition, segment
import torch


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


def features_of(rgb, seed=0):
    small = cv2.resize(rgb, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mixing = np.random.default_rng(seed).standard_normal((6, 3))
    return torch.from_numpy(np.einsum('cd,hwd->chw', mixing, small).astype(np.float32))


def count(rgb, tokens, depth=None, prior=None, **values):
    """Return the number of segments, of features that are not centred."""
    values = {'centre': False, **{f'regions__{name}': value for name, value in values.items()}}
    return len(segment(Frame(rgb, depth=depth), tokens, prior=prior, **values).embeddings)


def halves(right):
    """Return an image of two greys, and which half of the tokens shows which."""
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[:, 64:] = right
    sides = np.zeros((2, 24, 32), np.float32)
    sides[0, :, :16] = sides[1, :, 16:] = 1
    return rgb, sides


def test_more_granularity_never_gives_fewer_segments():
    rgb = cv2.GaussianBlur(noise(96, 128), (0, 0), 4)
    rgb = cv2.normalize(rgb, None, 0, 255, cv2.NORM_MINMAX)
    counts = [len(segment(Frame(rgb), features_of(rgb), granularity=level).embeddings)
              for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert counts == sorted(counts) and counts[-1] > counts[0]


def test_features_keep_apart_what_colours_would_join():
    rgb, sides = halves(94)
    features = torch.from_numpy(sides)
    assert count(rgb, features, scale=0.5) == 2
    assert count(rgb, features, scale=0.5, features=0.0) == 1


@pytest.mark.parametrize('cue', [{'depth_steps': 10.0}, {'geometry': 80.0}])
def test_depth_parts_what_colours_would_join(cue):
    rgb, _ = halves(94)
    depth = np.full((96, 128), 2.0, np.float32)
    depth[:, 64:] = 1.6
    off = {'depth_steps': 0.0, 'geometry': 0.0}
    features = torch.ones(2, 24, 32)
    assert count(rgb, features, depth, **off) == 1
    assert count(rgb, features, depth, **{**off, **cue}) == 2


def test_what_is_expected_decides_where_colours_do_not():
    rgb, sides = halves(100)
    features, weights = torch.ones(2, 24, 32), {'scale': 0.5, 'threshold': 0.3}
    assert count(rgb, features, prior=sides, **weights) == 2
    assert count(rgb, features, **weights) == 1
    assert count(rgb, features, prior=np.ones((1, 24, 32), np.float32), **weights) == 1
