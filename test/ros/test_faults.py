"""
Faults on a robot, over real topics: one node in its own process meets them one after the other.

Nothing between these tests is reset but the node's parameters: that each passes shows that the
node survived those before.
"""

from __future__ import annotations

from collections.abc import Iterator

from diffseg_ros.config import SegmentationConfig
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from nav_msgs.msg import Odometry  # noqa: E402
from node_rig import (  # noqa: E402
    camera_info,
    Client,
    depth,
    HEIGHT,
    image,
    own_domain,
    Rig,
    stamped,
    stamps,
    WIDTH,
)
from sensor_msgs.msg import Image  # noqa: E402
from stub_node import BROKEN, MAGENTA, RED, WHITE  # noqa: E402

DEFAULT = SegmentationConfig().granularity


class Session:
    """The node that all tests share, and a clock that never goes back by itself."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.client: Client = rig.start('-p', 'diagnostics_period:=0.1')
        self.number = self.sent = 0
        self._before: dict[str, str] = {}
        self.odometry = self.client.node.create_publisher(Odometry, 'odom', 10)
        self.client.subscribe('labels', 'points', 'overlay')
        self.client.ready(self.client.images, self.client.depths, self.client.infos,
                          self.odometry)

    def begin(self) -> None:
        """Recover, and remember the counters."""
        self.recover()
        self.settle()
        self._before = self.client.values
        for messages in self.client.got.values():
            messages.clear()

    def recover(self) -> None:
        """Send good frames until depth is waited for again, and one gets its cloud."""
        for _ in range(10):
            number = self.frame()
            if self.client.sentence.startswith('processing'):
                self.cloud(number)
                return
        raise AssertionError(f'no cloud of ten good frames: {self.client.sentence}')

    def next(self, step: int = 1) -> int:
        self.number += step
        return self.number

    def good(self) -> int:
        """Send a complete frame and wait for its cloud."""
        number = self.next()
        self.client.send(number)
        self.sent += 1
        self.cloud(number)
        self.client.until(lambda: number in stamps(self.client.got['labels']))
        return number

    def cloud(self, number: int) -> None:
        """Wait for the cloud of a frame."""
        self.client.until(lambda: stamps(self.client.got['points'])[-1:] == [number])

    def frame(self, *, pixels=None, depth_image=None, info=None) -> int:
        """Send a frame with some of its messages replaced; wait until it is accounted for."""
        number = self.next()
        if info is not False:
            self.client.infos.publish(info(number) if info else camera_info(number))
        if depth_image is not False:
            self.client.depths.publish(depth_image(number) if depth_image else depth(number))
        self.send(pixels(number) if pixels else image(number))
        self.settle()
        return number

    def send(self, message: Image) -> None:
        """Send an image as it is."""
        self.client.images.publish(message)
        self.sent += 1

    def settle(self) -> None:
        """Wait for diagnostics that account for everything sent, and for the labels."""
        self.client.settled(self.sent)
        self.client.until(lambda: len(self.client.got['labels']) == self.rise('processed'))

    def rise(self, name: str) -> int:
        """Return by how much a counter rose since `begin`."""
        return self.client.count(name) - int(self._before.get(name, 0))


@pytest.fixture(scope='module')
def node(tmp_path_factory) -> Iterator[Session]:
    with own_domain() as domain:
        rig = Rig(domain, tmp_path_factory.mktemp('faults'), reliable=True)
        yield Session(rig)
        assert rig.process.poll() is None, rig.log
        assert rig.stop() == 0
        rig.close()


@pytest.fixture
def session(node: Session) -> Iterator[Session]:
    node.begin()
    yield node
    for name, value in (('segmentation.granularity', DEFAULT), ('sync_slop', 0.0),
                        ('max_rate', 0.0)):
        assert node.client.set_parameter(name, value) == (True, '')
    node.recover()
    assert node.client.sentence


@pytest.mark.parametrize(('pixel', 'words'), [
    (MAGENTA, 'RuntimeError: magenta'), (WHITE, 'Error: '),
    (RED, 'GPU out of memory; lower backbone.tokens')])
def test_exception_in_a_stage_is_counted_named_and_survived(session, pixel, words):
    bad = session.frame(pixels=lambda number: image(number, first_pixel=pixel))
    assert words in session.client.values['last_failure']
    if pixel != RED:
        # Loading what raises this takes longer than the node waits for images in silence.
        assert session.client.level == 2 and words in session.client.sentence
    good = session.good()
    session.settle()
    assert (session.rise('failed'), session.rise('processed')) == (1, 1)
    assert session.rise('fault.gpu_out_of_memory') == (pixel == RED)
    assert words in session.client.values['last_failure']
    assert stamps(session.client.got['labels']) == [good] != [bad]


def test_settings_that_cannot_be_applied_cost_one_frame(session):
    assert session.client.set_parameter('segmentation.granularity', BROKEN) == (True, '')
    session.frame()
    assert 'settings refused' in session.client.sentence
    session.frame()
    assert session.client.set_parameter('segmentation.granularity', DEFAULT) == (True, '')
    session.good()
    assert session.rise('failed') == 1


def test_epoch_that_begins_in_trouble_begins_with_the_next_frame(session):
    assert session.client.set_parameter('segmentation.granularity', BROKEN) == (True, '')
    session.frame()
    epoch = session.client.count('epoch')
    session.next(-20)
    session.frame()
    assert 'reset refused' in session.client.sentence
    assert session.client.set_parameter('segmentation.granularity', DEFAULT) == (True, '')
    session.frame()
    assert session.client.sentence.startswith('processing')
    assert session.client.count('epoch') == epoch + 1
    assert session.rise('failed') == 2


def test_uncalibrated_camera_costs_the_cloud_and_is_named(session):
    number = session.frame(info=lambda number: camera_info(number, focal_length=0.0))
    assert '/rgb/camera_info' in session.client.sentence and 'K is 0' in session.client.sentence
    assert stamps(session.client.got['labels']) == [number]
    assert session.client.got['points'] == []
    assert session.rise('fault.camera_info_unusable') == 1


def test_nan_intrinsics_cost_the_cloud_and_are_named(session):
    session.frame(info=lambda number: camera_info(number, focal_length=float('nan')))
    assert 'NaN' in session.client.sentence
    assert session.client.got['points'] == [] and len(session.client.got['labels']) == 1


def test_depth_stamped_otherwise_is_reported_in_milliseconds(session):
    session.frame(depth_image=lambda number: depth(number - 0.07))
    assert 'is stamped -7.0 ms from the images' in session.client.sentence
    assert 'sync_slop allows 0.0 ms' in session.client.sentence
    assert session.client.got['points'] == [] and len(session.client.got['labels']) == 1
    assert session.rise('fault.depth_missing') == 1


def test_depth_that_no_slop_reaches_is_told_to_be_stamped(session):
    def unstamped(number: float) -> Image:
        message = depth(number)
        message.header.stamp.sec = message.header.stamp.nanosec = 0
        return message

    for _ in range(3):
        session.frame(depth_image=unstamped)
    assert session.client.sentence.endswith('ms from the images; both must set header.stamp, and '
                                            'by the same clock')
    assert session.rise('fault.depth_missing') == 3 and session.rig.log.count('same clock') == 1


def test_depth_stamped_otherwise_is_taken_within_the_slop(session):
    assert session.client.set_parameter('sync_slop', 0.01) == (True, '')
    for shift in (-0.07, 0.07, 0.0):
        number = session.frame(depth_image=lambda number, shift=shift: depth(number + shift))
        session.cloud(number)
    session.frame(depth_image=lambda number: depth(number - 0.3))
    assert 'sync_slop allows 10.0 ms' in session.client.sentence
    assert len(session.client.got['points']) == 3 and len(session.client.got['labels']) == 4


def points_of(session: Session, number: int) -> np.ndarray:
    session.cloud(number)
    message = session.client.got['points'][-1]
    words = np.frombuffer(message.data, '<f4').reshape(message.height, message.width, 6)
    return words[..., :3]


def test_nan_zero_and_infinite_depth_are_invalid_points(session):
    metres = np.full((HEIGHT, WIDTH), 2.0)
    metres[10], metres[20], metres[30] = 0.0, np.nan, np.inf
    number = session.frame(depth_image=lambda number: depth(number, metres=metres))
    points = points_of(session, number)
    assert np.isnan(points[[10, 20, 30]]).all()
    assert np.isfinite(np.delete(points, [10, 20, 30], axis=0)).all()


def test_depth_without_any_valid_pixel_is_not_an_empty_room(session):
    number = session.frame(depth_image=lambda number: depth(
        number, metres=np.zeros((HEIGHT, WIDTH))))
    assert np.isnan(points_of(session, number)).all()
    assert session.rise('processed') == 1


@pytest.mark.parametrize('scale', [0.5, 2])
def test_depth_of_another_size_is_aligned(session, scale):
    height, width = int(HEIGHT * scale), int(WIDTH * scale)
    metres = np.ones((height, width))
    metres[:, width // 2:] = 3.0
    number = session.frame(depth_image=lambda number: depth(number, metres=metres))
    cloud = points_of(session, number)
    assert stamps(session.client.got['points']) == [number]
    half = cloud.shape[1] // 2
    assert np.allclose(cloud[:, :half - 1, 2], 1) and np.allclose(cloud[:, half + 1:, 2], 3)
    assert np.nanmax(np.abs(cloud[..., 0] / cloud[..., 2])) < 0.54


def test_missing_camera_info_is_replaced_by_the_last(session):
    session.cloud(session.frame(info=False))


@pytest.mark.parametrize('encoding', ['nonsense', '', '32FC1', 'rgb8; drop'])
def test_wrong_encoding_is_refused_with_the_supported_ones(session, encoding):
    number = session.frame(pixels=lambda number: image(number, encoding=encoding))
    assert session.client.level == 2
    assert repr(encoding) in session.client.sentence and 'rgb8' in session.client.sentence
    assert '/rgb/image_raw' in session.client.sentence
    assert all(number not in stamps(messages) for messages in session.client.got.values())
    assert session.rise('failed') == 1


NO_DEPTH = ("/depth_registered/image_rect: image encoding 'rgb8' is not supported as a depth "
            'image; supported are 16SC1, 16UC1, 32FC1, 64FC1, mono16; this is a colour image')


@pytest.mark.parametrize(('shift', 'frame_id'), [(0, 'camera'), (-0.3, 'camera'), (0, 'other')])
def test_colour_on_the_depth_topic_is_named_with_the_supported_encodings(session, shift,
                                                                         frame_id):
    logged = session.rig.log.count(NO_DEPTH)
    for _ in range(5):
        session.frame(depth_image=lambda number: image(number + shift, frame_id=frame_id))
    assert NO_DEPTH in session.client.sentence
    assert session.rise('fault.depth_unusable') == 5 == session.rise('processed')
    assert session.rise('fault.depth_missing') == session.rise('fault.depth_unregistered') == 0
    assert session.rig.log.count(NO_DEPTH) == logged + 1
    assert session.client.got['points'] == [] and len(session.client.got['labels']) == 5


def test_second_reason_for_no_clouds_is_logged_too(session):
    logged = session.rig.log.count(NO_DEPTH)
    for _ in range(3):
        session.frame(depth_image=False)
    assert 'masks go on without clouds: no depth on' in session.rig.log
    for _ in range(6):
        session.frame(depth_image=image)
    assert session.rig.log.count(NO_DEPTH) == logged + 1


def test_depth_on_the_image_topic_is_named_with_the_supported_encodings(session):
    words = "/rgb/image_raw: image encoding '16UC1' is not supported as a colour image"
    for _ in range(3):
        session.frame(pixels=depth)
    assert session.client.level == 2 and words in session.client.sentence
    assert 'this is depth: name the topic of the colour images' in session.client.sentence
    assert session.client.sentence.endswith('(of a thermal camera: set its driver to mono16)')
    assert session.rise('failed') == 3 and session.rig.log.count(words) == 1


def test_images_of_a_new_size_are_taken_in_midstream(session):
    for size in ((32, 24), (640, 480), (1, 1), (2, 1000), (WIDTH, HEIGHT)):
        session.frame(pixels=lambda number, size=size: image(number, size=size))
    sizes = [(message.width, message.height) for message in session.client.got['labels']]
    assert sizes == [(32, 24), (640, 480), (2, 1000), (WIDTH, HEIGHT)]
    assert session.rise('failed') == 1 and session.rise('processed') == 4
    assert '1x1' in session.client.values['last_failure']


def test_stamps_of_zero_and_of_the_far_future_are_used(session):
    epoch = session.client.count('epoch')
    far = 10**9
    for number in (far, 0):
        message = stamped(image(0), number, 'camera')
        if number == 0:
            message.header.stamp.sec, message.header.stamp.nanosec = 0, 0
        session.send(message)
        session.settle()
    assert session.rise('processed') == 2
    assert session.client.count('epoch') == epoch + 1
    assert stamps(session.client.got['labels'])[0] == far


@pytest.mark.parametrize('zero', [False, True])
def test_same_stamp_on_every_image_is_named(session, zero):
    message = image(session.good())
    if zero:
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    session.settle()
    for _ in range(6):
        session.send(message)
        session.settle()
    session.client.until(lambda: 'carry the same stamp: the camera driver must set header.stamp'
                         in session.client.sentence)
    assert session.rise('dropped.duplicate') == 6 - zero


def test_images_out_of_order_are_late(session):
    number = session.good()
    for step in range(1, 4):
        session.send(image(number - step))
    session.settle()
    assert session.rise('dropped.late') + session.rise('dropped.duplicate') == 3


def test_two_clocks_on_one_topic_are_named_until_one_of_them_ends(session):
    first = session.next()
    for step in range(5):
        for number in (first + 1000 + step, first + step):
            session.send(image(number))
            session.settle()
    session.client.until(lambda: 'does more than one publisher use this topic?'
                         in session.client.sentence)
    assert session.client.level == 1
    assert session.rise('processed') == 10
    session.next(4)
    for _ in range(10):
        session.frame()
    assert session.client.sentence.startswith('processing')


def test_rate_limit_leaves_frames_out_by_their_stamps(session):
    assert session.client.set_parameter('max_rate', 5) == (True, '')
    for _ in range(20):
        session.frame()
    # 10 Hz in, 5 Hz out.
    assert session.rise('processed') == 10 and session.rise('dropped.rate_limit') == 10
    steps = np.diff(stamps(session.client.got['labels']))
    assert (steps == 2).all()


def test_odometry_of_the_camera_is_taken_as_its_motion(session):
    def odometry(number: float, child: str) -> Odometry:
        message = stamped(Odometry(child_frame_id=child), number, 'odom')
        message.pose.pose.position.x = number / 10
        message.pose.pose.orientation.w = 1.0
        return message

    assert session.client.values['camera_motion'].startswith('none: neither TF nor odometry')
    for child, words in (('base_link', "none: odometry moves 'base_link'"),
                         ('camera', 'odometry')):
        def seen(child: str = child, words: str = words) -> bool:
            for step in (0.5, 1.5):
                session.odometry.publish(odometry(session.number + step, child))
            session.frame()
            return session.client.values['camera_motion'].startswith(words)

        session.client.until(seen)
