"""Messages hold what the result holds, bit for bit."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
from diffseg_ros.config import CloudConfig, PipelineConfig, RemovalConfig
from diffseg_ros.io.messages import (
    decode_colour,
    decode_depth,
    intrinsics_from_camera_info,
)
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.types import Frame, Intrinsics
from diffseg_ros.viz.colours import label_palette
import numpy as np
import pytest

messages = pytest.importorskip('diffseg_ros.ros.messages', reason='rclpy is not installed',
                               exc_type=ImportError)
STAMP = 1_700_000_000_123_456_789
HEIGHT, WIDTH = 48, 64


def result(depth: bool = True, intrinsics: bool = True) -> SimpleNamespace:
    random = np.random.default_rng(0)
    metres = random.uniform(0.5, 4, (HEIGHT, WIDTH)).astype(np.float32)
    metres[::5, ::7] = np.nan
    frame = Frame(
        random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), STAMP, 'optical',
        metres if depth else None,
        Intrinsics(WIDTH, HEIGHT, 60.0, 61.0, 31.5, 23.5, (0.1, 0, 0, 0, 0)) if intrinsics
        else None)
    labels = random.integers(-1, 9, (HEIGHT, WIDTH)).astype(np.int32)
    labels[labels == 0] = 9
    confidence = random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    return SimpleNamespace(frame=frame, labels=labels, confidence=confidence)


def points_of(message) -> np.ndarray:
    dtype = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'),
                      ('label', '<u4'), ('instance_id', '<u4')])
    assert message.point_step == dtype.itemsize
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def headers(message) -> list:
    """Return the header of a message, or of every marker in it."""
    return ([message.header] if hasattr(message, 'header')
            else [marker.header for marker in message.markers])


def test_every_output_has_the_stamp_and_frame_of_its_image():
    made = messages.result_messages(result(), messages.OUTPUT_TYPES, LabelEncoder())
    assert set(made) == set(messages.OUTPUT_TYPES)
    for name, message in made.items():
        assert isinstance(message, messages.OUTPUT_TYPES[name])
        for header in headers(message):
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == STAMP, name
            assert header.frame_id == 'optical', name


def test_only_wanted_outputs_are_made():
    assert set(messages.result_messages(result(), {'labels'}, LabelEncoder())) == {'labels'}


@pytest.mark.parametrize(('depth', 'intrinsics', 'missing'), [
    (False, True, {'points', 'markers', 'depth_filtered'}),
    (True, False, {'points', 'markers', 'camera_info'})])
def test_nothing_is_made_that_would_mean_no_data(depth, intrinsics, missing):
    made = messages.result_messages(result(depth, intrinsics), messages.OUTPUT_TYPES,
                                    LabelEncoder())
    assert set(made) == set(messages.OUTPUT_TYPES) - missing - {'detections_3d'}


def test_what_goes_by_size_is_not_made_without_sizes():
    config = PipelineConfig(removal=RemovalConfig(max_size=2.0))
    made = messages.result_messages(result(intrinsics=False), messages.OUTPUT_TYPES,
                                    LabelEncoder(), config)
    assert not {'mask', 'depth_filtered'} & set(made)
    assert {'mask', 'depth_filtered'} <= set(messages.result_messages(
        result(), messages.OUTPUT_TYPES, LabelEncoder(), config))


@pytest.mark.parametrize(('encoding', 'dtype', 'unlabelled'), [
    ('16UC1', '<u2', 65535), ('mono8', 'u1', 255), ('32SC1', '<i4', -1)])
def test_cloud_and_label_image_carry_the_same_values(encoding, dtype, unlabelled):
    given = result()
    made = messages.result_messages(given, ['labels', 'points'], LabelEncoder(encoding))
    image, cloud = made['labels'], points_of(made['points'])
    values = np.frombuffer(image.data, dtype).reshape(image.height, image.width)
    assert (image.encoding, image.step) == (encoding, WIDTH * np.dtype(dtype).itemsize)
    assert np.array_equal(values == unlabelled, given.labels == -1)
    assert np.array_equal(values.astype(np.int64) % 2**32, cloud['label'])
    assert np.array_equal(cloud['label'], cloud['instance_id'])


def test_cloud_is_organised_with_nan_holes_and_the_photo_s_colours():
    given = result()
    message = messages.result_messages(given, ['points'], LabelEncoder())['points']
    cloud = points_of(message)
    assert (message.height, message.width, message.is_dense) == (HEIGHT, WIDTH, False)
    assert message.row_step == WIDTH * message.point_step
    assert [field.name for field in message.fields] == list(cloud.dtype.names)
    holes = np.isnan(given.frame.depth)
    for axis in 'xyz':
        assert np.array_equal(np.isnan(cloud[axis]), holes)
    assert np.array_equal(cloud['z'][~holes], given.frame.depth[~holes])
    red, green, blue = (given.frame.rgb[..., channel].astype(np.uint32) for channel in range(3))
    assert np.array_equal(cloud['rgb'], red << 16 | green << 8 | blue)


@pytest.mark.parametrize('encoding', ['16UC1', 'mono8'])
def test_compressed_labels_are_the_labels(encoding):
    made = messages.result_messages(result(), ['labels', 'labels/compressed'],
                                    LabelEncoder(encoding))
    compressed, raw = made['labels/compressed'], made['labels']
    assert compressed.format == f'{encoding}; png compressed '
    pixels = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.tobytes() == raw.data.tobytes()


def test_32_bit_labels_are_not_compressed():
    assert 'labels/compressed' not in messages.result_messages(
        result(), messages.OUTPUT_TYPES, LabelEncoder('32SC1'))


def test_removed_segments_leave_depth_and_points_and_make_the_mask():
    given = result()
    given.frame.depth[:, ::9] = 70.0
    config = PipelineConfig(removal=RemovalConfig(ids=(3, 5, 99), from_points=True))
    made = messages.result_messages(given, ['depth_filtered', 'mask', 'points'], LabelEncoder(),
                                    config)
    chosen = np.isin(given.labels, [3, 5])
    wanted = np.where(chosen, np.nan, given.frame.depth)
    assert made['depth_filtered'].encoding == '32FC1'
    assert np.array_equal(decode_depth(made['depth_filtered']), wanted, equal_nan=True)
    assert np.array_equal(points_of(made['points'])['z'], wanted, equal_nan=True)
    mask = np.frombuffer(made['mask'].data, np.uint8).reshape(HEIGHT, WIDTH)
    assert made['mask'].encoding == 'mono8'
    assert np.array_equal(mask, np.where(chosen, 255, 0))


def test_points_keep_removed_segments_unless_told_otherwise():
    given = result()
    config = PipelineConfig(removal=RemovalConfig(ids=(3,)))
    message = messages.result_messages(given, ['points'], LabelEncoder(), config)['points']
    assert np.array_equal(points_of(message)['z'], given.frame.depth, equal_nan=True)


def test_dense_cloud_has_the_valid_points_only():
    given = result()
    config = PipelineConfig(cloud=CloudConfig(organised=False))
    message = messages.result_messages(given, ['points'], LabelEncoder(), config)['points']
    valid = np.isfinite(given.frame.depth)
    assert (message.height, message.width, message.is_dense) == (1, valid.sum(), True)
    cloud = points_of(message)[0]
    assert np.array_equal(cloud['z'], given.frame.depth[valid])
    assert np.array_equal(cloud['label'], given.labels[valid].astype(np.uint16))


@pytest.mark.parametrize(('encoding', 'unlabelled'), [('16UC1', -1), ('mono8', 0), ('32SC1', -1)])
def test_points_can_take_the_colour_of_their_label(encoding, unlabelled):
    encoder = LabelEncoder(encoding, unlabelled)
    given = result()
    message = messages.result_messages(given, ['points'], encoder,
                                       points_colour='label')['points']
    cloud = points_of(message)
    none = given.labels == -1
    assert (cloud['rgb'][none] == 0xFFFFFF).all()
    red, green, blue = (label_palette()[cloud['label'][~none]].astype(np.uint32)).T
    assert np.array_equal(cloud['rgb'][~none] & 0xFFFFFF, red << 16 | green << 8 | blue)


def test_memory_of_a_published_cloud_is_used_again():
    first = messages.result_messages(result(), ['points'], LabelEncoder())['points']
    memory = first.data
    second = messages.result_messages(result(), ['points'], LabelEncoder(), reuse=first)['points']
    assert second.data is memory


def test_camera_info_is_that_of_the_label_image():
    given = result()
    message = messages.result_messages(given, ['camera_info'], LabelEncoder())['camera_info']
    assert intrinsics_from_camera_info(message) == given.frame.intrinsics


def test_image_message_reads_back():
    pixels = result().frame.rgb[:, ::-1]
    message = messages.image_message(pixels, 'rgb8', messages.header_of(1, 'x'))
    assert np.array_equal(decode_colour(message), pixels)
