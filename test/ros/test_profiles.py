"""Each profile over real topics: exactly what its consumer reads, as the consumer subscribes."""

from __future__ import annotations

from collections.abc import Iterator
import csv

import cv2
from diffseg_ros.io.calibration import intrinsics_from_camera_info
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.messages import message_class  # noqa: E402
from grid_node import COLUMNS, FIRST_ID, grid_confidence, grid_labels, ROWS  # noqa: E402
from node_rig import own_domain, ROOT  # noqa: E402
from profile_rig import (  # noqa: E402
    FRAMES,
    HEIGHT,
    INTRINSICS,
    millimetres,
    photo,
    pixels,
    points,
    ProfileRig,
    stamp_of,
    WIDTH,
    write_recording,
)
from rclpy.qos import qos_profile_sensor_data, QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402

RELIABLE = QoSProfile(depth=10)
SENSOR_DATA = qos_profile_sensor_data
READS = {
    '/nav2/diffseg/labels': (Image, SENSOR_DATA),
    '/nav2/diffseg/confidence': (Image, SENSOR_DATA),
    '/nav2/diffseg/points': (PointCloud2, SENSOR_DATA),
    '/nvblox/camera_0/mask/image': (Image, RELIABLE),
    '/nvblox/camera_0/mask/camera_info': (CameraInfo, RELIABLE),
    '/hydra/semantic/image_raw': (Image, RELIABLE),
    '/kimera/semantic_pointcloud': (PointCloud2, RELIABLE),
    '/rtabmap/depth/image': (Image, RELIABLE),
    '/octomap/cloud_in': (PointCloud2, SENSOR_DATA)}
REMOVED = FIRST_ID + 5
LABELS = grid_labels(HEIGHT, WIDTH)
VALID = millimetres() > 0
BODY = np.zeros((HEIGHT // 2, WIDTH // 2), bool)
BODY[-6:, :20] = True
BODY_SEEN = BODY.repeat(2, axis=0).repeat(2, axis=1)
"""Static mask, at half the size of the images and at theirs."""


@pytest.fixture(scope='module')
def got(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list]]:
    folder = tmp_path_factory.mktemp('profiles')
    write_recording(folder / 'recording.mcap')
    cv2.imwrite(str(folder / 'body.png'), BODY.astype(np.uint8) * 9)
    chosen = {'removal.ids': f'[{REMOVED}]'}
    with own_domain() as domain:
        rig = ProfileRig(domain, folder)
        try:
            for name in ('nav2', 'hydra', 'kimera'):
                rig.start(name, {})
            rig.start('octomap', chosen)
            for name in ('nvblox', 'rtabmap'):
                rig.start(name, {**chosen, 'static_mask': str(folder / 'body.png')})
            for topic, (kind, qos) in READS.items():
                rig.subscribe(topic, kind, qos)
            rig.play(folder / 'recording.mcap')
            yield rig.got
        finally:
            rig.close()


def words(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def test_every_message_has_exactly_the_stamp_and_frame_of_its_colour_image(got):
    for topic in READS:
        stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                  for message in got[topic]]
        assert stamps == [stamp_of(number) for number in range(FRAMES)], topic
        assert {message.header.frame_id for message in got[topic]} == {'optical'}, topic


def test_nav2_gets_a_class_mask_confidence_and_a_cloud_that_match_pixel_for_pixel(got):
    mask, confidence = got['/nav2/diffseg/labels'][-1], got['/nav2/diffseg/confidence'][-1]
    assert (mask.encoding, confidence.encoding) == ('mono8', 'mono8')
    values = pixels(mask, 'u1')
    assert np.array_equal(values, np.where(LABELS < 0, 255, 0))
    assert np.array_equal(pixels(confidence, 'u1'), grid_confidence(LABELS))
    message = got['/nav2/diffseg/points'][-1]
    cloud = points(message)
    assert cloud.shape == values.shape == (HEIGHT, WIDTH) and not message.is_dense
    assert np.array_equal(np.isfinite(cloud['z']), VALID)
    assert np.array_equal(cloud['label'], values)
    assert np.array_equal(cloud['rgb'], words(photo()))
    camera = INTRINSICS.resized(WIDTH, HEIGHT)
    rows, columns = np.nonzero(VALID)
    ahead = cloud[VALID]
    assert np.allclose(camera.fx * ahead['x'] / ahead['z'] + camera.cx, columns, atol=1e-3)
    assert np.allclose(camera.fy * ahead['y'] / ahead['z'] + camera.cy, rows, atol=1e-3)
    assert np.allclose(ahead['z'], millimetres()[VALID] / 1000)


LABEL_INFO = message_class('vision_msgs/msg/LabelInfo')


@pytest.mark.skipif(LABEL_INFO is None, reason='vision_msgs is not installed: it comes '
                    'with a ROS distribution, not from PyPI')
def test_label_info_is_latched(tmp_path):
    from node_rig import Rig
    from rclpy.qos import DurabilityPolicy

    with own_domain() as domain:
        rig = Rig(domain, tmp_path)
        try:
            client = rig.start()
            messages: list = []
            client.node.create_subscription(
                LABEL_INFO, 'diffseg/label_info', messages.append,
                QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
            client.until(lambda: messages)
            assert [(item.class_id, item.class_name) for item in messages[0].class_map] == [
                (0, 'segment')]
        finally:
            rig.close()


def test_nvblox_gets_a_mask_of_the_segment_and_the_robot_with_its_camera_info(got):
    mask = got['/nvblox/camera_0/mask/image'][-1]
    assert mask.encoding == 'mono8'
    assert np.array_equal(pixels(mask, 'u1'), np.where(BODY_SEEN | (LABELS == REMOVED), 255, 0))
    info = got['/nvblox/camera_0/mask/camera_info'][-1]
    assert (info.width, info.height) == (mask.width, mask.height) == (WIDTH, HEIGHT)
    assert intrinsics_from_camera_info(info) == INTRINSICS.resized(WIDTH, HEIGHT)


def test_hydra_gets_32_bit_labels_below_its_total_and_minus_one_for_none(got):
    messages = got['/hydra/semantic/image_raw']
    assert {message.encoding for message in messages} == {'32SC1'}
    values = [pixels(message, '<i4') for message in messages]
    assert np.array_equal(values[0] == -1, LABELS < 0)
    labelled = values[0][LABELS >= 0]
    assert labelled.min() >= 0 and labelled.max() < 128
    pairs = set(zip(labelled.tolist(), LABELS[LABELS >= 0].tolist(), strict=True))
    assert len(pairs) == len({value for value, _ in pairs}) == ROWS * COLUMNS
    assert all(np.array_equal(values[0], other) for other in values[1:])


def test_kimera_gets_points_in_the_colours_of_its_table(got):
    with (ROOT / 'config' / 'profiles' / 'kimera_labels.csv').open() as file:
        table = {tuple(int(row[name]) for name in ('red', 'green', 'blue')): int(row['id'])
                 for row in csv.DictReader(file)}
    cloud = points(got['/kimera/semantic_pointcloud'][-1]).ravel()
    assert len(cloud) == VALID.sum() and np.isfinite(cloud['z']).all()
    colours = np.stack([cloud['rgb'] >> 16, cloud['rgb'] >> 8 & 255, cloud['rgb'] & 255], axis=1)
    ids = np.array([table[tuple(colour)] for colour in colours.tolist()])
    assert np.array_equal(ids, cloud['label'])
    assert np.array_equal(ids == 0, LABELS[VALID] < 0)
    assert ids.max() <= 20
    assert len(set(zip(ids.tolist(), LABELS[VALID].tolist()))) == ROWS * COLUMNS + 1


def test_rtabmap_gets_depth_as_it_came_without_the_segment_and_the_robot(got):
    message = got['/rtabmap/depth/image'][-1]
    assert message.encoding == '16UC1'
    kept = ~(BODY_SEEN | (LABELS == REMOVED))
    assert np.array_equal(pixels(message, '<u2'), np.where(kept, millimetres(), 0))


def test_octomap_gets_a_dense_cloud_without_the_segment(got):
    message = got['/octomap/cloud_in'][-1]
    cloud = points(message).ravel()
    kept = VALID & (LABELS != REMOVED)
    assert message.is_dense and len(cloud) == kept.sum()
    assert np.allclose(cloud['z'], millimetres()[kept] / 1000)
    assert np.array_equal(cloud['label'] == 65535, LABELS[kept] < 0)
    assert set(cloud['label'].tolist()) == {65535, *range(FIRST_ID, REMOVED),
                                            *range(REMOVED + 1, FIRST_ID + ROWS * COLUMNS)}
