import cv2
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.config import BackboneConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.segmentation.attention import (
    aggregate_attention,
    anchor_tokens,
    merge_attention,
    pool_attention,
    symmetric_divergence,
)
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from studies.agreement import adjusted_rand_index
from studies.reference_merging import (
    reference_aggregation,
    reference_labels,
    reference_merging,
)
import torch


def random_maps(height, width, seed, sharpness=1.0):
    """Return random distributions, (h, w, h, w) float64."""
    logits = np.random.default_rng(seed).standard_normal((height * width,) * 2) * sharpness
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.reshape(height, width, height, width)


def structured_maps(height, width, parts, seed, leak=0.05):
    """Return maps that attend to their own part of a random Voronoi image, and the parts."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, 1, (parts, 2)) * (height, width)
    cells = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 1, 2)
    truth = np.linalg.norm(cells - seeds, axis=2).argmin(axis=1)
    weights = np.where(truth[:, None] == truth, 1, leak) * rng.uniform(0.5, 1, (len(truth),) * 2)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.reshape(height, width, height, width), truth.reshape(height, width)


def winners(merged, height, width):
    """Return which of (K, h, w) maps holds most of each pixel, after bilinear upsampling."""
    return torch.nn.functional.interpolate(merged[None], (height, width), mode='bilinear',
                                           align_corners=False)[0].argmax(dim=0).numpy()


def both(maps, threshold=1.0, per_side=8):
    """Return the labels of the fast float32 form and of the literal float64 form."""
    height, width = maps.shape[:2]
    ours = merge_attention(torch.from_numpy(maps).float(), threshold, anchors_per_side=per_side)
    flat = maps.reshape(height * width, -1)
    literal = reference_merging(flat, anchor_tokens(height, width, per_side), threshold)
    return (winners(ours, 4 * height, 4 * width),
            reference_labels(literal.reshape(-1, height, width), 4 * height, 4 * width))


@pytest.mark.parametrize('parts', [1, 2, 5, 9])
def test_structured_maps_give_the_literal_partition(parts):
    for seed in range(3):
        maps, _ = structured_maps(12, 16, parts, seed)
        ours, literal = both(maps)
        assert len(np.unique(ours)) == len(np.unique(literal))
        assert adjusted_rand_index(ours, literal) >= 0.99


@given(seed=strategies.integers(0, 10_000), height=strategies.integers(1, 12),
       width=strategies.integers(2, 14), sharpness=strategies.floats(0.2, 3),
       threshold=strategies.floats(0.02, 4))
@settings(max_examples=60)
def test_random_maps_give_the_literal_partition(seed, height, width, sharpness, threshold):
    ours, literal = both(random_maps(height, width, seed, sharpness), threshold)
    assert adjusted_rand_index(ours, literal) >= 0.99


def test_captured_maps_give_the_literal_partition():
    image = np.zeros((96, 128, 3), np.uint8)
    cv2.circle(image, (40, 50), 30, (200, 60, 40), -1)
    cv2.rectangle(image, (80, 20), (120, 90), (40, 90, 220), -1)
    backbone = load_backbone(BackboneConfig(device='cpu', tokens=192), attention=True)
    maps = backbone.features_and_attention(image)[1]
    exact = reference_aggregation([item.double().numpy() for item in maps])
    np.testing.assert_allclose(aggregate_attention(maps).numpy(), exact, atol=1e-7)
    found = []
    for threshold in (0.005, 0.02, 0.08):
        ours, literal = both(exact, threshold, 16)
        assert adjusted_rand_index(ours, literal) >= 0.99
        found.append(len(np.unique(ours)))
    assert found == sorted(found, reverse=True) and found[0] >= 4


def test_parts_are_found_exactly():
    maps, truth = structured_maps(16, 20, 6, seed=4, leak=0.01)
    labels = winners(merge_attention(torch.from_numpy(maps).float()), 16, 20)
    assert adjusted_rand_index(labels, truth) == 1 and len(np.unique(labels)) == 6


def test_divergence_is_that_of_the_definition():
    one, other = random_maps(3, 5, 0).reshape(15, 15), random_maps(3, 5, 1).reshape(15, 15)
    found = symmetric_divergence(torch.from_numpy(one).float(), torch.from_numpy(other).float())
    for i, p in enumerate(one):
        for j, q in enumerate(other):
            expected = ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-4)


def test_aggregation_equals_the_map_by_map_form():
    maps = [random_maps(h, w, h) for h, w in ((12, 16), (6, 8), (3, 4))]
    ours = aggregate_attention([torch.from_numpy(item).float() for item in maps])
    np.testing.assert_allclose(ours.numpy(), reference_aggregation(maps), atol=1e-7)
    np.testing.assert_allclose(ours.sum(dim=(2, 3)).numpy(), 1, atol=1e-6)
    weighed = aggregate_attention([torch.from_numpy(maps[0]).float(),
                                   torch.full((3, 4, 3, 4), 1 / 12)])
    expected = 0.8 * maps[0] + 0.2 / (12 * 16)
    np.testing.assert_allclose(weighed.numpy(), expected, atol=1e-7)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(DiffsegError, match='3x4 and 8x8'):
        aggregate_attention([torch.ones(8, 8, 8, 8), torch.ones(3, 4, 3, 4)])
    with pytest.raises(DiffsegError, match='need attention maps'):
        aggregate_attention([])


def test_pooling_averages_queries_and_sums_keys():
    maps = torch.from_numpy(random_maps(4, 6, 0)).float()
    pooled = pool_attention(maps, 2, 3)
    expected = maps.view(2, 2, 3, 2, 2, 2, 3, 2).mean(dim=(1, 3)).sum(dim=(3, 5))
    torch.testing.assert_close(pooled, expected)
    assert pool_attention(maps, 4, 6) is maps
    torch.testing.assert_close(pool_attention(maps, 3, 5).sum(dim=(2, 3)), torch.ones(3, 5))


def test_anchors_are_the_published_grid():
    anchors = anchor_tokens(64, 64, 16)
    assert anchors[:16].tolist() == list(range(64 + 1, 64 + 62, 4)) and len(anchors) == 256
    assert anchor_tokens(3, 1, 16).tolist() == [0, 1, 2]
    assert anchor_tokens(1, 1, 16).tolist() == [0]


def test_constant_maps_are_one_segment():
    maps = torch.full((6, 8, 6, 8), 1 / 48)
    proposals = merge_attention(maps)
    torch.testing.assert_close(proposals, maps[0, :1])


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (7, 1)])
def test_single_tokens_and_rows(shape):
    ours, literal = both(random_maps(*shape, 3, 4.0), per_side=16)
    assert adjusted_rand_index(ours, literal) == 1


@pytest.mark.parametrize('value', [np.nan, np.inf, -0.1])
def test_unusable_values_are_refused(value):
    maps = torch.full((3, 4, 3, 4), 1 / 12)
    maps[1, 2, 0, 1] = value
    with pytest.raises(DiffsegError, match='NaN, infinity or negative'):
        merge_attention(maps)


def test_other_shapes_are_refused():
    with pytest.raises(DiffsegError, match='is needed'):
        merge_attention(torch.ones(3, 4, 4, 3))


def test_kmeans_moves_to_the_nearest_maps():
    maps, truth = structured_maps(12, 12, 4, seed=6, leak=0.4)
    tensor = torch.from_numpy(maps).float()
    plain = merge_attention(tensor, 0.1)
    refined = merge_attention(tensor, 0.1, kmeans_iterations=5)
    assert refined.shape == plain.shape

    def spread(proposals):
        return float(torch.cdist(tensor.flatten(0, 1).flatten(1), proposals.flatten(1))
                     .min(dim=1).values.square().sum())

    assert spread(refined) <= spread(plain)
    torch.testing.assert_close(refined.sum(dim=(1, 2)), torch.ones(len(refined)))
