"""A colour camera without depth, over real topics: what gives the scale gives clouds."""

from __future__ import annotations

import array
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from depth_node import FRAME  # noqa: E402
from diffseg_ros.ros.messages import image_message, make_header  # noqa: E402
from hall import CAMERA, HEIGHT  # noqa: E402
from node_rig import stamp_of  # noqa: E402
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField  # noqa: E402

NODE = str(Path(__file__).with_name('depth_node.py'))


class Camera:
    """Publishes one more image each time, until the node has processed it."""

    def __init__(self, client, depth: np.ndarray | None = None) -> None:
        self._client = client
        self.depth = depth
        self.sent = 0

    def send(self) -> None:
        client, header = self._client, make_header(stamp_of(self.sent), 'optical')
        labels = len(client.got['labels'])
        if self.depth is not None:
            client.depths.publish(image_message(self.depth, '32FC1', header))
        client.infos.publish(CameraInfo(
            header=header, width=CAMERA.width, height=CAMERA.height, k=[
                CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]))
        client.images.publish(image_message(FRAME.rgb, 'rgb8', header))
        client.until(lambda: len(client.got['labels']) > labels)
        self.sent += 1

    def until(self, condition) -> None:
        def met() -> bool:
            self.send()
            self._client.spin(0.1)
            return condition()
        self._client.until(met)


def lidar_message(stamp: int) -> PointCloud2:
    """Return true points of the hall, some of them NaN, in the camera's frame."""
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 120, 300), rng.integers(0, 160, 300)
    metres = FRAME.depth[rows, columns]
    points = np.stack([(columns - CAMERA.cx) / CAMERA.fx * metres,
                       (rows - CAMERA.cy) / CAMERA.fy * metres, metres], axis=1)
    points[::10] = np.nan
    message = PointCloud2(header=make_header(stamp, 'optical'), height=1, width=300, fields=[
        PointField(name=name, offset=4 * word, datatype=PointField.FLOAT32, count=1)
        for word, name in enumerate('xyz')], point_step=12, row_step=3600)
    message.data = array.array('B', points.astype('<f4').tobytes())
    return message


def newest_points(client) -> np.ndarray:
    message = client.got['points'][-1]
    assert [field.name for field in message.fields] == [
        'x', 'y', 'z', 'rgb', 'label', 'instance_id', 'confidence']
    assert message.point_step == 28
    return np.frombuffer(message.data, '<f4').reshape(message.height, message.width, 7)


def test_a_colour_camera_gives_clouds_as_soon_as_a_scale_is_known(rig):
    client = rig.start(
        '-p', 'depth.model:=hall', '-p', 'depth.sparse_topic:=lidar',
        '-p', 'tracking.keyframe_interval:=1', '-p', 'sync_timeout:=0.0', program=(NODE,))
    lidar = client.node.create_publisher(PointCloud2, 'lidar', 10)
    client.subscribe('labels', 'points', 'depth')
    client.ready(client.images, client.infos)
    camera = Camera(client)
    camera.until(lambda: 'no scale: the model gives relative depth' in client.sentence)
    assert client.sentence.startswith('masks without clouds')
    assert 'give depth.camera_height' in client.sentence and '/lidar: ' in client.sentence
    assert not client.got['points'] and not client.got['depth']
    assert client.values['depth.model'] == 'knowing' and client.count('fault.sparse_missing')

    assert client.set_parameter('depth.camera_height', HEIGHT)[0]
    camera.until(lambda: client.got['points'])
    camera.until(lambda: client.values['depth.scale_source'] == (
        'ground (camera taken as level)'))
    points = newest_points(client)
    assert np.median(np.abs(points[..., 2] / FRAME.depth - 1)) < 0.01
    assert (points[..., 6] > 0.5).all() and (points[..., 6] < 1).all()
    metres = np.frombuffer(client.got['depth'][-1].data, '<f4').reshape(120, 160)
    assert np.median(np.abs(metres / FRAME.depth - 1)) < 0.01

    def with_ranges() -> bool:
        lidar.publish(lidar_message(stamp_of(camera.sent)))
        return client.values['depth.scale_source'] == 'ranges'

    camera.until(with_ranges)
    assert client.values['depth.failed'] == '0'

    assert client.set_parameter('depth.in_points', False)[0]
    camera.until(lambda: 'depth.in_points is off' in client.sentence)
    clouds, images = len(client.got['points']), len(client.got['depth'])
    camera.until(lambda: len(client.got['depth']) > images)
    assert len(client.got['points']) == clouds


def test_depth_with_holes_is_filled_or_replaced_as_soon_as_that_is_asked_for(rig):
    client = rig.start('-p', 'depth.model:=hall', '-p', 'tracking.keyframe_interval:=2',
                       program=(NODE,))
    client.subscribe('labels', 'points')
    client.ready()
    holes = np.zeros(FRAME.depth.shape, bool)
    holes[20:60, 30:90] = True
    camera = Camera(client, np.where(holes, np.float32(np.nan), FRAME.depth))

    def predicted() -> np.ndarray:
        points = newest_points(client)
        metres, sure = points[..., 2], points[..., 6] == 1
        known = np.isfinite(metres)
        assert np.median(np.abs(metres / FRAME.depth - 1)[known]) < 0.01
        np.testing.assert_allclose(metres[sure & known], FRAME.depth[sure & known], rtol=1e-5)
        return known & ~sure

    for use, expected in (('missing', holes & False), ('fill', holes), ('always', holes | True),
                          ('fill', holes), ('missing', holes & False)):
        assert client.set_parameter('depth.use', use)[0]
        camera.until(lambda: client.got['points']
                     and np.array_equal(predicted(), expected))
    camera.depth = None
    camera.until(lambda: 'masks without clouds' in client.sentence)
    assert client.values['depth.failed'] == '0'
