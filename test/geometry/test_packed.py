from clouds import KINECT, make_frame, numbered_labels  # noqa: I001
from diffseg_ros.geometry.labelled_cloud import labelled_cloud, reduced
from diffseg_ros.geometry.packed import pack_cloud, pack_points
from diffseg_ros.config import CloudConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.types import Frame
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest


def values_of(labels):
    return (labels % 60000 + 7).astype(np.uint16)


def assert_words_hold(words, cloud):
    """Compare words with the cloud, field by field."""
    floats = words.view(np.float32)
    np.testing.assert_array_equal(floats[..., :3], cloud.points)
    red, green, blue = np.moveaxis(cloud.rgb.astype(np.uint32), -1, 0)
    np.testing.assert_array_equal(words[..., 3], red * 65536 + green * 256 + blue)
    np.testing.assert_array_equal(words[..., 4], values_of(cloud.labels))
    np.testing.assert_array_equal(words[..., 5], words[..., 4])


@settings(max_examples=40)
@given(width=st.integers(2, 300), height=st.integers(2, 250),
       depth_size=st.none() | st.tuples(st.integers(1, 150), st.integers(1, 120)),
       label_scale=st.sampled_from([0.5, 1.0, 1.4]), distortion=st.sampled_from([(), KINECT]),
       flying=st.sampled_from([0.0, 0.2]), exclude=st.sampled_from([(), (0, 1, 5)]),
       reuse=st.booleans())
def test_words_are_those_of_the_cloud(width, height, depth_size, label_scale, distortion, flying,
                                      exclude, reuse):
    frame = make_frame(width, height, depth_size, distortion)
    size = max(1, int(height * label_scale)), max(1, int(width * label_scale))
    labels = (numbered_labels(*size) % 100 - 1).astype(np.int32)
    config = CloudConfig(max_depth=4.0, flying_pixels=flying)
    out = np.full((*size, 6), 12345, np.uint32) if reuse else None
    words = pack_points(frame, labels, values_of, config, exclude=exclude, out=out)
    assert words.dtype == np.uint32 and words.flags.c_contiguous
    assert (words is out) == reuse
    assert_words_hold(words, labelled_cloud(frame, labels, config, exclude=exclude))


@pytest.mark.parametrize('config', [CloudConfig(organised=False), CloudConfig(voxel_size=0.5),
                                    CloudConfig(organised=False, max_depth=0.1)])
def test_lists_hold_the_reduced_cloud(config):
    frame = make_frame()
    labels = (numbered_labels(48, 64) // 100).astype(np.int32)
    words = pack_points(frame, labels, values_of, config, out=np.zeros((48, 64, 6), np.uint32))
    cloud = reduced(labelled_cloud(frame, labels, config), config)
    assert words.shape == (len(cloud.labels), 6)
    assert_words_hold(words, cloud)


def test_memory_of_another_size_is_left_alone():
    frame = make_frame()
    labels = numbered_labels(48, 64)
    out = np.full((48, 63, 6), 9, np.uint32)
    words = pack_points(frame, labels, values_of, out=out)
    assert words.shape == (48, 64, 6) and (out == 9).all()
    cloud = labelled_cloud(frame, labels)
    assert_words_hold(pack_cloud(cloud, values_of(labels), out=words), cloud)


def test_invalid_points_keep_colour_and_label():
    frame = make_frame()
    frame = Frame(frame.rgb, depth=np.full((48, 64), np.nan, np.float32),
                  intrinsics=frame.intrinsics)
    labels = numbered_labels(48, 64)
    words = pack_points(frame, labels, values_of)
    assert np.isnan(words.view(np.float32)[..., :3]).all()
    assert_words_hold(words, labelled_cloud(frame, labels))


def test_missing_depth_is_named():
    frame = make_frame()
    with pytest.raises(DiffsegError, match='no depth'):
        pack_points(Frame(frame.rgb, intrinsics=frame.intrinsics), numbered_labels(48, 64),
                    values_of)
