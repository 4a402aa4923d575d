"""A node in its own process on its own domain, and a client that talks to it."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from diffseg_ros.ros.startup import use_large_message_profile
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

ROOT = Path(__file__).resolve().parents[2]
STUB = str(Path(__file__).with_name('stub_node.py'))
WIDTH, HEIGHT = 64, 48
TIMEOUT = 120.0
START = 1_600_000_000_000_000_000
TYPES = {'labels': Image, 'confidence': Image, 'overlay': Image, 'camera_info': CameraInfo,
         'points': PointCloud2, 'depth': Image}


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """Yield a domain id that no other test on this machine uses meanwhile."""
    with contextlib.ExitStack() as stack:
        for domain in sorted(range(1, 100), key=lambda _: random.random()):
            path = Path(tempfile.gettempdir(), f'diffseg_test_domain_{domain}.lock')
            lock = stack.enter_context(path.open('w'))
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield domain
                return
        raise RuntimeError('all test domains are in use')


def image(number: int, *, frame_id: str = 'camera', encoding: str = 'rgb8',
          first_pixel: tuple[int, int, int] = (0, 0, 0),
          size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image:
    """Return a grey image whose stamp is `number` tenths of a second after START."""
    width, height = size
    pixels = np.full((height, width, 3), 100, np.uint8)
    pixels[0, 0] = first_pixel
    message = Image(width=width, height=height, encoding=encoding, step=width * 3,
                    data=array.array('B', pixels.tobytes()))
    return stamped(message, number, frame_id)


def depth(number: int, *, frame_id: str = 'camera', metres: np.ndarray | None = None) -> Image:
    """Return a depth image: 1.5 m in millimetres, or (H, W) `metres`."""
    pixels = np.full((HEIGHT, WIDTH), 1500, '<u2') if metres is None else metres.astype('<f4')
    height, width = pixels.shape
    message = Image(width=width, height=height, encoding='16UC1' if metres is None else '32FC1',
                    step=pixels.nbytes // height, data=array.array('B', pixels.tobytes()))
    return stamped(message, number, frame_id)


def camera_info(number: int, *, focal_length: float = 60.0) -> CameraInfo:
    """Return the calibration of the test camera."""
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model='plumb_bob',
                         k=[focal_length, 0.0, 31.5, 0.0, focal_length, 23.5, 0.0, 0.0, 1.0])
    return stamped(message, number, 'camera')


def stamped(message: Any, number: float, frame_id: str) -> Any:
    """Set the header and return the message."""
    seconds, nanoseconds = divmod(stamp_of(number), 10**9)
    message.header.stamp.sec, message.header.stamp.nanosec = seconds, nanoseconds
    message.header.frame_id = frame_id
    return message


def stamp_of(number: float) -> int:
    """Return the stamp of an image by its number."""
    return START + round(number * 100_000_000)


def stamps(messages: list[Any]) -> list[int]:
    """Return the numbers of the images that these outputs belong to."""
    times = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
             for message in messages]
    return [(time - START) // 100_000_000 for time in times]


class Client:
    """Publishes camera topics, collects what the node says."""

    def __init__(self, domain: int, *, reliable: bool = False) -> None:
        self._qos = QoSProfile(depth=100) if reliable else qos_profile_sensor_data
        use_large_message_profile()
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node('client', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.got: dict[str, list[Any]] = {}
        self._clients: dict[str, Any] = {}
        self.statuses: list[DiagnosticStatus] = []
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda m: self.statuses.extend(m.status), 50)
        self.images = self._publisher(Image, 'rgb/image_raw')
        self.depths = self._publisher(Image, 'depth_registered/image_rect')
        self.infos = self._publisher(CameraInfo, 'rgb/camera_info')

    def _publisher(self, kind: Any, topic: str) -> Any:
        return self.node.create_publisher(kind, topic, self._qos)

    def compressed_publisher(self) -> Any:
        return self._publisher(CompressedImage, 'rgb/image_raw/compressed')

    def subscribe(self, *names: str, namespace: str = '') -> None:
        topics = {name: f'/{namespace}/diffseg/{name}'.replace('//', '/') for name in names}
        for name, topic in topics.items():
            self.got[name] = []
            self.node.create_subscription(TYPES[name], topic, self.got[name].append,
                                          self._qos)
        self.until(lambda: all(map(self.node.count_publishers, topics.values())))

    def until(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
        """Spin until the condition holds; fail with the last diagnostics otherwise."""
        end = time.monotonic() + timeout
        while not (result := condition()):
            if time.monotonic() > end:
                raise AssertionError(f'not within {timeout} s; diagnostics: {self.sentence!r}, '
                                     f'{self.values}')
            self._executor.spin_once(timeout_sec=0.02)
        return result

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def ready(self, *publishers: Any) -> None:
        """Wait until the node hears the camera and its outputs reach this client."""
        publishers = publishers or (self.images, self.depths, self.infos)
        self.until(lambda: all(item.get_subscription_count() for item in publishers))
        # A writer may know its reader before the reader knows it, and best effort sends once.
        topics = {item.topic_name for item in publishers}
        self.until(lambda: topics <= set(self.values.get('inputs', '').split())
                   and set(self.got) <= set(self.values['outputs'].split()))

    def send(self, number: int, *, with_depth: bool = True, **options: Any) -> None:
        if with_depth:
            self.infos.publish(camera_info(number))
            self.depths.publish(depth(number))
        self.images.publish(image(number, **options))

    @property
    def sentence(self) -> str:
        return self.statuses[-1].message if self.statuses else ''

    @property
    def level(self) -> int:
        return self.statuses[-1].level[0]

    @property
    def values(self) -> dict[str, str]:
        return {item.key: item.value for item in self.statuses[-1].values} if self.statuses else {}

    def count(self, name: str) -> int:
        return int(self.values.get(name, 0))

    def settled(self, received: int) -> None:
        """Wait for diagnostics in which every image sent is accounted for."""
        self.until(lambda: self.count('received') == received and self.accounted())

    def accounted(self) -> bool:
        """Return whether the newest diagnostics know the fate of every image received."""
        return self.count('received') == sum(
            self.count(name) for name in ('processed', 'failed', 'idle', 'dropped'))

    def call(self, kind: Any, name: str, request: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, f'diffseg/{name}')
        client = self._clients[name]
        self.until(client.service_is_ready)
        future = client.call_async(request)
        self.until(future.done)
        return future.result()

    def transition(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, 'change_state', request).success

    def set_parameter(self, name: str, value: Any) -> tuple[bool, str]:
        request = SetParameters.Request(parameters=[Parameter(name, value=value)
                                                    .to_parameter_msg()])
        result, = self.call(SetParameters, 'set_parameters', request).results
        return result.successful, result.reason

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.shutdown()


RELIABLE = tuple(
    part for topic, role in (('/rgb/image_raw', 'subscription'),
                             ('/rgb/camera_info', 'subscription'),
                             ('/depth_registered/image_rect', 'subscription'))
    for setting in ('reliability:=reliable', 'depth:=100')
    for part in ('-p', f'qos_overrides.{topic}.{role}.{setting}')) + (
        '-p', 'output_reliability:=reliable', '-p', 'output_queue:=100')
"""Arguments of a node that loses nothing on the way, through its QoS overrides."""


class Rig:
    """Starts nodes on one domain and ends them."""

    def __init__(self, domain: int, folder: Path, *, reliable: bool = False) -> None:
        self.domain = domain
        self._reliable = RELIABLE if reliable else ()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log_file = folder / 'node.log'
        self.client = Client(domain, reliable=reliable)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, program: tuple[str, ...] = (STUB,),
              delay: float = 0) -> Client:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(self.domain), 'STUB_DELAY': str(delay),
                       'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
        with self.log_file.open('ab') as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, '--ros-args', *self._reliable, *arguments],
                env=environment, stdout=log, stderr=log)
        self.processes.append(self.process)
        return self.client

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code, spinning meanwhile for the last messages."""
        assert self.process is not None
        self.process.send_signal(number)
        self.client.until(lambda: self.process.poll() is not None)
        self.client.spin(0.1)
        return self.process.returncode

    def close(self) -> None:
        for process in self.processes:
            # Killed nodes leave shared memory behind that slows the next ones down.
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.client.close()
