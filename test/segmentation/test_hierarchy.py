"""One frame at all granularities: the same segments as a run at each of them, and nested."""

import cv2
from diffseg_ros.types import Frame, Hierarchy
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scenes import noise, segment
import torch

LEVELS = np.linspace(0, 1, 11).tolist()


def scene(seed, height=96, width=128):
    """Return a frame of soft colours with depth, and features of it."""
    rgb = cv2.GaussianBlur(noise(height, width, seed), (0, 0), 6)
    rgb = cv2.normalize(rgb, None, 0, 255, cv2.NORM_MINMAX)
    depth = 1 + cv2.GaussianBlur(noise(height, width, seed + 1), (0, 0), 12)[..., 0] / 128
    features = torch.randn(8, 12, 16, generator=torch.Generator().manual_seed(seed))
    return Frame(rgb, depth=depth.astype(np.float32)), features


def numbers(labels):
    return np.unique(labels).tolist()


@pytest.mark.parametrize('most', [96, 7, 1])
@pytest.mark.parametrize('seed', range(3))
def test_a_level_is_what_a_run_at_that_granularity_gives(seed, most):
    frame, features = scene(seed)
    hierarchy = segment(frame, features, max_segments=most).hierarchy
    counts = set()
    for level in LEVELS:
        found = segment(frame, features, granularity=level, max_segments=most)
        assert np.array_equal(hierarchy.labels(level), found.labels)
        assert np.array_equal(found.hierarchy.regions, hierarchy.regions)
        counts.add(len(found.embeddings))
    assert len(counts) > 3 or most < 96


@pytest.mark.parametrize('seed', range(3))
def test_levels_are_nested_and_rise(seed):
    hierarchy = segment(*scene(seed)).hierarchy
    assert numbers(hierarchy.regions) == list(range(len(hierarchy.granularity) + 1))
    coarser = np.zeros_like(hierarchy.regions)
    for level in LEVELS:
        finer = hierarchy.labels(level)
        assert numbers(finer) == list(range(finer.max() + 1))
        assert len(np.unique(np.stack([finer, coarser]).reshape(2, -1), axis=1).T) \
            == finer.max() + 1
        coarser = finer


def test_a_region_that_wins_no_pixel_leaves_no_gap():
    image = cv2.medianBlur(noise(85, 45, 119), 3)  # found by random search
    found = segment(Frame(image), scene(0)[1], min_size=0.0, regions__scale=0.0,
                    regions__width=67)
    hierarchy = found.hierarchy
    assert numbers(hierarchy.regions) == list(range(len(hierarchy.granularity) + 1))
    assert np.array_equal(hierarchy.labels(0.5), found.labels)


@pytest.mark.parametrize('shape', [(2, 2), (40, 50)])
def test_a_plain_image_is_one_segment_at_every_level(shape):
    hierarchy = segment(Frame(np.full((*shape, 3), 90, np.uint8)), torch.ones(4, 3, 4)).hierarchy
    assert hierarchy.granularity.dtype == np.float32
    assert not hierarchy.labels(0.0).any()


def test_what_is_never_apart_stays_together_at_1():
    regions = np.array([[0, 1, 2]], np.int32)
    hierarchy = Hierarchy(regions, np.array([0.5, np.inf], np.float32))
    assert hierarchy.labels(0.49).tolist() == [[0, 0, 0]]
    assert hierarchy.labels(0.5).tolist() == hierarchy.labels(1.0).tolist() == [[0, 1, 1]]


@settings(max_examples=10)
@given(st.integers(0, 99))
def test_runs_repeat_to_the_bit(seed):
    frame, features = scene(seed, 48, 64)
    one, other = (segment(frame, features) for _ in range(2))
    for first, second in [(one.labels, other.labels), (one.confidence, other.confidence),
                          (one.embeddings, other.embeddings),
                          (one.hierarchy.regions, other.hierarchy.regions),
                          (one.hierarchy.granularity, other.hierarchy.granularity)]:
        assert first.tobytes() == second.tobytes()
