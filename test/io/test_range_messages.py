"""Ranges of clouds and scans, by themselves and in bags."""

from types import SimpleNamespace

from bag_recipes import image, message, record, START, transform
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.transforms import TransformTree
from diffseg_ros.io.bag import MessagePairing
from diffseg_ros.io.bag_reader import BagReader, choose_topics
from diffseg_ros.io.base import BagSettings, TopicNames
from diffseg_ros.io.messages import header, typestore
from diffseg_ros.io.range_messages import decode_ranges, LASER_SCAN, POINT_CLOUD, RANGE_TYPES
from diffseg_ros.io.source import open_source
import numpy as np
import pytest

POINTS = np.random.default_rng(0).normal(0, 3, (12, 3))


def cloud(kind='<f4', names='xyz', stamp=START, frame_id='lidar'):
    """Return points 4 bytes into 40 bytes each, in 3 rows of 4 with 8 bytes of padding."""
    size = np.dtype(kind).itemsize
    data = np.zeros((3, 168), np.uint8)
    for row in range(3):
        for column in range(4):
            values = POINTS[row * 4 + column].astype(kind)
            start = 40 * column + 4
            data[row, start:start + 3 * size] = values.view(np.uint8)
    field = typestore().types['sensor_msgs/msg/PointField']
    fields = [field(name, 4 + size * place, 7 if size == 4 else 8, 1)
              for place, name in enumerate(names)]
    return typestore().types[POINT_CLOUD](
        header(stamp, frame_id), 3, 4, fields, kind.startswith('>'), 40, 168, data.ravel(), False)


def scan():
    return typestore().types[LASER_SCAN](
        header(START, 'laser'), 0.0, np.pi, np.pi / 2, 0.0, 0.1, 0.2, 5.0,
        np.array([1, 2, 3, 9, np.nan, 0.1], np.float32), np.zeros(0, np.float32))


@pytest.mark.parametrize('kind', ['<f4', '<f8', '>f4'])
def test_points_of_a_cloud_are_read(kind):
    np.testing.assert_allclose(decode_ranges(cloud(kind)), POINTS, rtol=1e-6)


def test_points_of_a_scan_lie_in_its_plane():
    np.testing.assert_allclose(decode_ranges(scan()), [[1, 0, 0], [0, 2, 0], [-3, 0, 0]],
                               atol=1e-6)


@pytest.mark.parametrize('farthest', [0.0, float('nan')])
def test_a_scan_without_valid_ranges_is_named(farthest):
    item = scan()
    item.range_max = farthest
    with pytest.raises(DiffsegError, match=f'range_min is 0.2 and its range_max {farthest:g}'):
        decode_ranges(item)


def test_scans_may_turn_either_way_and_their_limits_are_valid():
    item = scan()
    item.angle_min, item.angle_increment, item.range_max = np.pi, -np.pi / 2, np.inf
    item.ranges = np.float32([1, 2, 0.2, np.inf, -np.inf, 0])
    item.intensities = np.ones(6, np.float32)
    np.testing.assert_allclose(decode_ranges(item), [[-1, 0, 0], [0, 2, 0], [0.2, 0, 0]],
                               atol=1e-6)


def test_invalid_points_are_left_out_and_a_cloud_may_be_empty():
    item = cloud()
    item.data[4:8] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    assert len(decode_ranges(item)) == 11
    item.height = 0
    assert decode_ranges(item).shape == (0, 3)


@pytest.mark.parametrize(('change', 'reason'), [
    ({'data': np.zeros(100, np.uint8)}, 'truncated'), ({'point_step': 8}, 'truncated'),
    ({'fields': []}, 'its fields are none; x, y and z')])
def test_a_cloud_that_cannot_be_read_is_named(change, reason):
    item = SimpleNamespace(**{**vars(cloud()), **change})
    with pytest.raises(DiffsegError, match=reason):
        decode_ranges(item)


def test_frames_of_a_bag_have_the_ranges_of_the_nearest_message(tmp_path):
    items = [transform(1.0, 0, 'camera', 'lidar', '/tf_static')]
    items += [image(number, 100 * number) for number in range(4)]
    items += [message('/lidar', 100 * number + 30, lambda stamp: cloud(stamp=stamp))
              for number in range(3)]
    path = record(tmp_path / 'bag.mcap', *items)
    source = open_source(path, settings=BagSettings(sparse_topic='lidar'))
    frames = list(source)
    for frame in frames[:4]:
        np.testing.assert_allclose(frame.ranges, POINTS + (1, 0, 0), rtol=1e-5)
    assert next(iter(open_source(path))).ranges is None


def test_the_motion_of_the_robot_since_the_ranges_is_undone(tmp_path):
    items = [transform(0.0, 0, 'base', 'camera', '/tf_static'),
             transform(1.0, 0, 'base', 'lidar', '/tf_static')]
    items += [transform(time / 100, time, 'odom', 'base') for time in range(0, 301, 50)]
    items += [image(1, 100), image(2, 200),
              message('/lidar', 50, lambda stamp: cloud(stamp=stamp))]
    path = record(tmp_path / 'bag.mcap', *items)
    frames = list(open_source(path, settings=BagSettings(sparse_topic='lidar')))
    for frame, metres in zip(frames, (0.5, -0.5), strict=True):
        np.testing.assert_allclose(frame.ranges, POINTS + (metres, 0, 0), rtol=1e-5, atol=1e-6)


def test_ranges_are_kept_no_longer_than_they_are_needed(tmp_path):
    items = [item for number in range(60) for item in (
        image(number, 100 * number),
        message('/lidar', 100 * number + 30, lambda stamp: cloud(stamp=stamp)))]
    with BagReader(record(tmp_path / 'bag.mcap', *items)) as reader:
        topics = choose_topics(reader, TopicNames()).with_ranges('/lidar', RANGE_TYPES,
                                                                 reader.topics)
        pairing = MessagePairing(topics, None, TransformTree())
        kept = [len(pairing._ranges) for _ in pairing.pair(reader.messages(topics.streamed))]
    assert len(kept) == 60 and max(kept) < 20


def test_what_a_bag_lacks_of_ranges_is_said(tmp_path):
    items = [image(0, 0), image(1, 180), image(2, 1000),
             message('/lidar', 0, lambda stamp: cloud(stamp=stamp))]
    path = record(tmp_path / 'bag.mcap', *items)
    source = open_source(path, settings=BagSettings(sparse_topic='/lidar'))
    assert all(frame.ranges is None for frame in source)
    lines = ' | '.join(source.warnings)
    assert "no transform from 'lidar' to the camera 'camera' (2 of 3 frames)" in lines
    assert ('/lidar: nothing within 200 ms of the image, the nearest is -1000 ms off (1 of 3 '
            'frames)') in lines
    source = open_source(path, settings=BagSettings(sparse_topic='/rgb/image_raw'))
    assert 'no topic /rgb/image_raw of type sensor_msgs/msg/PointCloud2' in ' '.join(
        source.warnings)
