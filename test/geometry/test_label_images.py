from diffseg_ros.geometry.label_images import (
    compact,
    distinct_labels,
    label_borders,
    renumber,
    resize_labels,
)
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from skimage.segmentation import find_boundaries


@pytest.mark.parametrize('size', [(7, 5), (3, 11), (13, 8), (640, 480), (1, 1)])
def test_resize_labels_takes_the_pixel_under_each_centre(size):
    image = np.arange(7 * 13, dtype=np.float32).reshape(7, 13)
    height, width = size
    rows = np.floor((np.arange(height) + 0.5) * 7 / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * 13 / width).astype(int)
    np.testing.assert_array_equal(resize_labels(image, height, width),
                                  image[np.ix_(rows, columns)])


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9),
       st.sampled_from([(-1, 4), (0, 3), (7, 9), (-2**31, 2**31 - 1), (10**6, 10**6 + 5)]))
def test_numbering_equals_numpy(seed, height, width, span):
    labels = np.random.default_rng(seed).integers(*span, (height, width)).astype(np.int32)
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(distinct_labels(labels), values)
    np.testing.assert_array_equal(compact(labels), inverse.reshape(labels.shape))
    seen = labels.ravel()[np.sort(first)].tolist()
    np.testing.assert_array_equal(renumber(labels), np.vectorize(seen.index)(labels))


def test_nothing_has_no_labels():
    nothing = np.zeros((0, 4), np.int32)
    assert [len(result) for result in (distinct_labels(nothing), compact(nothing),
                                       renumber(nothing))] == [0, 0, 0]


def test_borders_equal_scikit_image():
    labels = np.random.default_rng(0).integers(-1, 2, (12, 15)).astype(np.int32)
    np.testing.assert_array_equal(label_borders(labels, both_sides=True),
                                  find_boundaries(labels, connectivity=1, mode='thick'))
    borders = label_borders(labels)
    assert not borders[0, 0]
    for row, column in np.argwhere(borders)[:20]:
        near = [labels[row - 1, column]] if row else []
        near += [labels[row, column - 1]] if column else []
        assert any(label != labels[row, column] for label in near)
