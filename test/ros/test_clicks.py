"""Clicks over real topics: what is followed, what its outputs say, and why a click is refused."""

from __future__ import annotations

import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from geometry_msgs.msg import PointStamped, PoseStamped  # noqa: E402
from nav_msgs.msg import Odometry  # noqa: E402
from node_rig import depth, image, Rig, stamped, stamps  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, PointCloud2  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from target_node import PAINTED, painting, SIZE  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

NODE = (str(Path(__file__).with_name('target_node.py')),)
FOCAL, MIDDLE = 100.0, (63.5, 47.5)
NEAR, WALL = 1.2, 1.5
CAMERA_IN_ODOM = 0.5  # along x


class Session:
    """A node that sees the painting, and somebody who clicks."""

    def __init__(self, rig: Rig, *arguments: str) -> None:
        self.rig = rig
        self.client = rig.start('-p', 'tracking.keyframe_interval:=1', *arguments, program=NODE)
        self.number = -1
        node, qos = self.client.node, QoSProfile(depth=100)
        self.points = node.create_publisher(PointStamped, '/clicked_point', 10)
        self.pixels = node.create_publisher(PointStamped, '/diffseg/clicked_pixel', 10)
        self.odometry = node.create_publisher(Odometry, 'odom', 10)
        self.got: dict[str, list[Any]] = {}
        for name, kind in (('state', String), ('mask', Image), ('pose', PoseStamped),
                           ('cloud', PointCloud2)):
            self.got[name] = []
            node.create_subscription(kind, f'/diffseg/target/{name}', self.got[name].append, qos)
        self.markers: list[MarkerArray] = []
        node.create_subscription(MarkerArray, '/diffseg/markers', self.markers.append, qos)
        self.client.until(lambda: self.client.values.get('state') == 'active')
        self.client.ready(self.client.images, self.client.depths, self.client.infos,
                          self.points, self.pixels, self.odometry)

    def see(self, shown: tuple[str, ...] = tuple(PAINTED), *, with_depth: bool = True) -> None:
        """Send the next image, and wait for the target's mask in it."""
        self.number += 1
        client, number = self.client, self.number
        if with_depth:
            metres = np.full(SIZE[::-1], WALL, np.float32)
            for name in shown:
                metres[PAINTED[name][:2]] = NEAR
            for later in (0, 1):
                message = stamped(Odometry(child_frame_id='camera'), number + later, 'odom')
                message.pose.pose.position.x = CAMERA_IN_ODOM
                message.pose.pose.orientation.w = 1.0
                self.odometry.publish(message)
            client.infos.publish(stamped(CameraInfo(
                width=SIZE[0], height=SIZE[1], distortion_model='plumb_bob',
                k=[FOCAL, 0.0, MIDDLE[0], 0.0, FOCAL, MIDDLE[1], 0.0, 0.0, 1.0]),
                number, 'camera'))
            client.depths.publish(depth(number, metres=metres))
        message = image(number, size=SIZE)
        message.data = array.array('B', painting(shown).tobytes())
        client.images.publish(message)
        client.until(lambda: stamps(self.got['mask'])[-1:] == [number])

    def click(self, publisher: Any, place: tuple[float, float, float], frame_id: str = '',
              number: float | None = None) -> str:
        """Click, and return the line that the node logs."""
        before = len(self.answers)
        message = PointStamped()
        message.point.x, message.point.y, message.point.z = map(float, place)
        message.header.frame_id = frame_id
        if number is not None:
            stamped(message, number, frame_id)
        publisher.publish(message)
        self.client.until(lambda: len(self.answers) > before)
        return self.answers[-1]

    def click_pixel(self, name: str, number: float | None = None) -> str:
        x, y = middle(name)
        return self.click(self.pixels, (x, y, 0), number=number)

    @property
    def answers(self) -> list[str]:
        return [line for line in self.rig.log.splitlines() if 'followed: ' in line]

    @property
    def state(self) -> str:
        return self.got['state'][-1].data if self.got['state'] else ''

    @property
    def mask(self) -> np.ndarray:
        message = self.got['mask'][-1]
        assert message.encoding == 'mono8'
        return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)

    def shows(self, *names: str) -> bool:
        """Return whether the mask is these things, up to their rims."""
        truth = np.zeros(SIZE[::-1], bool)
        for name in names:
            truth[PAINTED[name][:2]] = True
        found = self.mask > 0
        assert set(np.unique(self.mask)) <= {0, 255}
        return bool((found & truth).sum() >= 0.9 * (found | truth).sum())


def middle(name: str) -> tuple[float, float]:
    rows, columns, _ = PAINTED[name]
    return (columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2


def point(name: str, metres: float = NEAR) -> tuple[float, float, float]:
    """Return the middle of a thing in the camera's optical frame."""
    x, y = middle(name)
    return (x - MIDDLE[0]) / FOCAL * metres, (y - MIDDLE[1]) / FOCAL * metres, metres


@pytest.fixture
def session(rig: Rig) -> Session:
    return Session(rig)


def test_a_click_on_a_pixel_is_followed_in_every_output_and_cleared(session):
    answer = session.click_pixel('mug')
    assert 'not followed: no image was processed yet' in answer
    for _ in range(4):
        session.see()
    assert session.state == 'none' and not session.mask.any() and not session.got['pose']
    answer = session.click_pixel('mug')
    assert 'pixel (31.5, 55.5) followed: the target is segment ' in answer
    session.client.until(lambda: session.state == 'tracked')
    session.see()
    assert session.shows('mug')
    session.client.until(lambda: stamps(session.got['pose'])[-1:] == [session.number])
    pose = session.got['pose'][-1]
    assert pose.header.frame_id == 'camera'
    place = pose.pose.position
    assert (place.x, place.y, place.z) == pytest.approx(point('mug'), abs=0.02)
    session.client.until(lambda: stamps(session.got['cloud'])[-1:] == [session.number])
    cloud = session.got['cloud'][-1]
    words = np.frombuffer(cloud.data, '<u4').reshape(cloud.width, 6)
    assert cloud.height == 1 and cloud.width == np.count_nonzero(session.mask)
    np.testing.assert_allclose(words.view('<f4')[:, 2], NEAR, atol=1e-3)
    assert len(np.unique(words[:, 4])) == 1
    session.client.until(lambda: any(marker.ns == 'target' and marker.text == 'target'
                                     for marker in session.markers[-1].markers))
    values = session.client.until(
        lambda: session.client.values.get('target_state') == 'tracked' and session.client.values)
    assert values['target_ids'] == str(words[0, 4])

    assert 'the target is segment' in session.click_pixel('lid')
    session.see()
    assert session.shows('mug', 'lid')
    answer = session.client.call(Trigger, 'clear_target', Trigger.Request())
    assert answer.success and answer.message.endswith('followed no longer')
    session.client.until(lambda: session.state == 'none')
    session.see()
    assert not session.mask.any() and session.state == 'none'
    session.client.until(lambda: session.client.values.get('target_ids') == '')
    answer = session.client.call(Trigger, 'clear_target', Trigger.Request())
    assert (answer.success, answer.message) == (True, 'nothing was followed')


def test_points_are_followed_in_the_camera_and_in_the_world_or_refused_with_a_reason(session):
    session.see(with_depth=False)
    answer = session.click(session.points, point('box'), 'camera')
    assert 'without camera_info' in answer
    for _ in range(3):
        session.see()
    answer = session.click(session.points, point('box'), 'camera')
    assert 'followed: the target is segment' in answer and answer.count(';') == 0
    session.see()
    assert session.shows('box')
    x, y, z = point('mug')
    assert 'the target is' in session.click(session.points, (x + CAMERA_IN_ODOM, y, z), 'odom')
    session.see()
    assert session.shows('box', 'mug')
    x, y, z = point('lid', NEAR - 0.5)
    answer = session.click(session.points, (x, y, z), 'camera')
    assert 'the target is' in answer and '0.50 m behind the point' in answer
    for place, frame, reason in (
            ((0, 0, -1), 'camera', 'it is behind the camera'),
            ((9, 0, 1), 'camera', 'it is outside the image'),
            ((0, 0, 1), 'moon', "no transform leads from 'moon' to the camera 'camera'"),
            ((float('nan'), 0, 1), 'camera', 'NaN')):
        answer = session.click(session.points, place, frame)
        assert 'not followed: ' in answer and reason in answer
    answer = session.click(session.pixels, (500, 3, 0))
    assert 'pixel (500, 3) is outside the image, which has 128x96 pixels' in answer
    session.see()
    assert session.shows('box', 'mug', 'lid')


def test_a_target_that_left_is_hidden_or_lost_and_found_again(session):
    for _ in range(4):
        session.see()
    session.click_pixel('box')
    session.see()
    assert session.shows('box')
    states = []
    for _ in range(8):
        session.see(('mug', 'lid'))
        session.client.until(lambda: len(session.got['state']) > session.number)
        states.append(session.state)
        assert not session.mask.any()
    assert states[0] == 'hidden' and states[-1] == 'lost'
    for _ in range(3):
        session.see()
    assert session.state == 'tracked' and session.shows('box')


def test_a_click_is_on_the_image_of_its_stamp(session):
    for _ in range(3):
        session.see()
    before = session.number
    for _ in range(3):
        session.see(('mug', 'lid'))
    assert 'the target is segment' in session.click_pixel('box', before)
    session.see(('mug', 'lid'))
    assert not session.mask.any() and session.state == 'hidden'
    for _ in range(3):
        session.see()
    assert session.shows('box')
    assert 'the target is segment' in session.click_pixel('mug', session.number)
    session.see()
    assert session.shows('box', 'mug')


def test_a_new_epoch_follows_nothing(session):
    for _ in range(3):
        session.see()
    session.click_pixel('mug')
    session.see()
    assert session.shows('mug')
    assert session.client.call(Trigger, 'reset', Trigger.Request()).success
    session.see()
    assert session.state == 'none' and not session.mask.any()
