from diffseg_ros.segmentation.small_segments import remove_small_segments
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from scipy import ndimage


def connected_patches(labels):
    """Return the patches of each label, numbered from 0, and how many there are."""
    patches, count = np.zeros(labels.shape, int), 0
    for kind in np.unique(labels):
        inside, found = ndimage.label(labels == kind)
        patches[inside > 0] = inside[inside > 0] + count - 1
        count += found
    return patches, count


def test_a_small_patch_goes_to_the_neighbour_of_the_longest_border():
    labels = np.zeros((20, 30), np.int32)
    labels[:, 15:] = 1
    labels[8:11, 14:18] = 2
    # 5 sides of pixels are towards 0, 9 towards 1.
    assert (remove_small_segments(labels, 13) == np.where(labels == 2, 1, labels)).all()
    assert (remove_small_segments(labels, 12) == labels).all()


def test_only_the_small_patch_of_a_label_goes():
    labels = np.zeros((20, 30), np.int32)
    labels[2:12, 2:12] = 3
    labels[15, 20:22] = 3
    cleaned = remove_small_segments(labels, 4)
    assert (cleaned[2:12, 2:12] == 3).all() and cleaned[15, 20] == 0
    assert (remove_small_segments(labels, 2) == labels).all()


def test_small_patches_join_until_they_are_large_enough():
    labels = np.arange(600, dtype=np.int32).reshape(20, 30)
    sizes = np.bincount(remove_small_segments(labels, 25).ravel())
    assert sizes[sizes > 0].min() >= 25
    assert len(np.unique(remove_small_segments(labels, 1e9))) == 1


@pytest.mark.parametrize('shape', [(1, 1), (1, 9), (9, 1)])
def test_smallest_images(shape):
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    assert (remove_small_segments(labels, 0) == labels).all()
    assert len(np.unique(remove_small_segments(labels, 100))) == 1


@given(seed=strategies.integers(0, 10_000), least=strategies.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_no_patch_is_left_that_is_too_small_and_large_ones_keep_their_label(seed, least):
    labels = np.random.default_rng(seed).integers(0, 3, (16, 24), np.int32)
    cleaned = remove_small_segments(labels, least)
    patches, count = connected_patches(cleaned)
    assert count == 1 or np.bincount(patches.ravel()).min() >= least
    before, _ = connected_patches(labels)
    largest = before == np.bincount(before.ravel()).argmax()
    assert (cleaned[largest] == labels[largest]).all() or np.count_nonzero(largest) < least
