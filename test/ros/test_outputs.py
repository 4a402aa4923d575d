"""Outputs for consumers over real topics: names, reliability, live changes, bad masks."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from grid_node import FIRST_ID, grid_labels  # noqa: E402
import moving_node  # noqa: E402
from node_rig import HEIGHT, stamps, WIDTH  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, PointCloud2  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

GRID_NODE = (str(Path(__file__).with_name('grid_node.py')),)
KEEPS_ALL = QoSProfile(depth=100)


def listen(client, kind, topic: str) -> list:
    got: list = []
    client.node.create_subscription(kind, topic, got.append, KEEPS_ALL)
    client.until(lambda: client.node.count_publishers(topic))
    return got


def test_removed_ids_change_while_the_node_runs(rig):
    client = rig.start(program=GRID_NODE)
    depths = listen(client, Image, '/diffseg/depth_filtered')
    markers = listen(client, MarkerArray, '/diffseg/markers')
    client.ready()
    for number, ids in enumerate([[0], [FIRST_ID + 2], [FIRST_ID, FIRST_ID + 1], [0]]):
        assert client.set_parameter('removal.ids', ids) == (True, '')
        client.send(number)
        client.until(lambda: len(depths) == len(markers) == number + 1)
        values = np.frombuffer(depths[-1].data, '<u2').reshape(HEIGHT, WIDTH)
        gone = np.isin(grid_labels(HEIGHT, WIDTH), ids)
        assert np.array_equal(values, np.where(gone, 0, 1500))
        shown = {item.text for item in markers[-1].markers if item.type == Marker.TEXT_VIEW_FACING}
        assert shown == {str(FIRST_ID + segment) for segment in range(12)}
    assert stamps(depths) == [0, 1, 2, 3]
    done, reason = client.set_parameter('removal.ids', [-4])
    assert not done and 'ids' in reason


def test_what_moves_or_moved_lately_is_removed_from_depth_mask_and_points(rig):
    client = rig.start('-p', 'removal.from_points:=true', program=(str(Path(
        moving_node.__file__)),))
    depths, masks = (listen(client, Image, f'/diffseg/{name}')
                     for name in ('depth_filtered', 'mask'))
    clouds = listen(client, PointCloud2, '/diffseg/points')
    markers = listen(client, MarkerArray, '/diffseg/markers')
    client.ready()
    labels = grid_labels(HEIGHT, WIDTH)
    for number, (seconds, ids) in enumerate([
            (0.0, []), (2.0, [moving_node.MOVING]),
            (3.5, [moving_node.MOVING, moving_node.MOVED])]):
        assert client.set_parameter('removal.moving', seconds) == (True, '')
        client.send(number)
        client.until(lambda: {len(got) for got in (depths, masks, clouds, markers)}
                     == {number + 1})
        gone = np.isin(labels, ids)
        depth = np.frombuffer(depths[-1].data, '<u2').reshape(HEIGHT, WIDTH)
        assert np.array_equal(depth, np.where(gone, 0, 1500))
        assert np.array_equal(np.frombuffer(masks[-1].data, np.uint8) > 0, gone.ravel())
        z = np.frombuffer(clouds[-1].data, '<f4').reshape(HEIGHT, WIDTH, -1)[..., 2]
        assert np.array_equal(np.isnan(z), gone)
        shown = [item for item in markers[-1].markers if item.ns == 'velocities']
        assert [arrow.id for arrow in shown] == [moving_node.MOVING]
    done, reason = client.set_parameter('removal.moving', -1.0)
    assert not done and 'removal.moving' in reason


def test_objects_come_by_themselves_and_surfaces_are_named(rig):
    client = rig.start(program=(str(Path(moving_node.__file__)),))
    images = listen(client, Image, '/diffseg/objects/labels')
    markers = listen(client, MarkerArray, '/diffseg/markers')
    client.ready()
    client.send(0)
    client.until(lambda: images and markers)
    labels = grid_labels(HEIGHT, WIDTH)
    things = np.isin(labels, [moving_node.THING, moving_node.MOVING])
    values = np.frombuffer(images[0].data, '<u2').reshape(HEIGHT, WIDTH)
    assert np.array_equal(values, np.where(things, labels, 65535)) and stamps(images) == [0]
    assert f'{moving_node.TABLE} table' in {item.text for item in markers[0].markers}


def test_transport_follows_its_image_s_new_name(best_effort_rig):
    client = best_effort_rig.start('-r', '~/labels:=/semantic/ids', '-p',
                                   'output_reliability:=reliable', program=GRID_NODE)
    compressed = listen(client, CompressedImage, '/semantic/ids/compressed')
    client.ready()
    numbers = count()
    client.until(lambda: client.send(next(numbers)) or compressed)
    assert compressed[0].format == '16UC1; png compressed '
    found = client.node.get_publishers_info_by_topic('/diffseg/points')
    assert [item.qos_profile.reliability for item in found] == [ReliabilityPolicy.RELIABLE]


def test_images_are_sensor_data_and_markers_reliable_by_default(best_effort_rig):
    client = best_effort_rig.start(program=GRID_NODE)
    for topic, wanted in (('labels', ReliabilityPolicy.BEST_EFFORT),
                          ('depth_filtered', ReliabilityPolicy.BEST_EFFORT),
                          ('markers', ReliabilityPolicy.RELIABLE)):
        client.until(lambda: client.node.count_publishers(f'/diffseg/{topic}'))
        found = client.node.get_publishers_info_by_topic(f'/diffseg/{topic}')
        assert [item.qos_profile.reliability for item in found] == [wanted], topic


def test_static_mask_that_is_missing_fails_configuring_with_the_reason(rig):
    client = rig.start('-p', 'static_mask:=/nowhere/body.png', program=GRID_NODE)
    client.until(lambda: '/nowhere/body.png: cannot be read' in client.sentence)


def test_what_is_for_people_has_a_rate_of_its_own(rig):
    client = rig.start('-p', 'view_rate:=5.0', program=GRID_NODE)
    client.subscribe('labels')
    overlays = listen(client, Image, '/diffseg/overlay')
    markers = listen(client, MarkerArray, '/diffseg/markers')
    client.ready()
    for number in range(5):
        client.send(number)
        client.until(lambda: stamps(client.got['labels'])[-1:] == [number])
    client.settled(5)
    client.until(lambda: len(overlays) == len(markers) == 3)
    assert stamps(overlays) == [0, 2, 4]
