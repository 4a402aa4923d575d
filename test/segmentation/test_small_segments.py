from diffseg_ros.segmentation.small_segments import connected_patches, without_specks
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scipy import ndimage


@given(seed=strategies.integers(0, 10_000), height=strategies.integers(1, 20),
       width=strategies.integers(1, 20), kinds=strategies.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_patches_are_the_connected_components(seed, height, width, kinds):
    labels = np.random.default_rng(seed).integers(0, kinds, (height, width), np.int32)
    patches, count = connected_patches(labels)
    expected = sum(ndimage.label(labels == kind)[1] for kind in range(kinds))
    assert count == expected == len(np.unique(patches))
    for patch in range(count):
        inside = patches == patch
        assert ndimage.label(inside)[1] == 1 and len(set(labels[inside].tolist())) == 1


def test_a_speck_goes_to_the_neighbour_of_the_longest_border():
    labels = np.zeros((20, 30), np.int32)
    labels[:, 15:] = 1
    labels[8:11, 14:18] = 2
    # 5 sides of pixels are towards 0, 9 towards 1.
    assert (without_specks(labels, 13) == np.where(labels == 2, 1, labels)).all()
    assert (without_specks(labels, 12) == labels).all()


def test_only_the_small_patch_of_a_label_goes():
    labels = np.zeros((20, 30), np.int32)
    labels[2:12, 2:12] = 3
    labels[15, 20:22] = 3
    cleaned = without_specks(labels, 4)
    assert (cleaned[2:12, 2:12] == 3).all() and cleaned[15, 20] == 0
    assert (without_specks(labels, 2) == labels).all()


def test_specks_among_specks_join_until_they_are_large_enough():
    labels = np.arange(600, dtype=np.int32).reshape(20, 30)
    sizes = np.bincount(without_specks(labels, 25).ravel())
    assert sizes[sizes > 0].min() >= 25
    assert len(np.unique(without_specks(labels, 1e9))) == 1


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1)])
def test_smallest_images(shape):
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    assert (without_specks(labels, 0) == labels).all()
    assert len(np.unique(without_specks(labels, 100))) == 1


@given(seed=strategies.integers(0, 10_000), least=strategies.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_no_patch_is_left_that_is_too_small_and_large_ones_keep_their_label(seed, least):
    labels = np.random.default_rng(seed).integers(0, 3, (16, 24), np.int32)
    cleaned = without_specks(labels, least)
    patches, count = connected_patches(cleaned)
    assert count == 1 or np.bincount(patches.ravel()).min() >= least
    before, _ = connected_patches(labels)
    largest = before == np.bincount(before.ravel()).argmax()
    assert (cleaned[largest] == labels[largest]).all() or np.count_nonzero(largest) < least
