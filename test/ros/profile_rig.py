"""One node per profile, each in its process and namespace; a recording played to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from diffseg_ros.config_files import load_profile
from diffseg_ros.io.bag_reader import BagReader
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import camera_info_message, image_message
from diffseg_ros.ros.startup import use_large_message_profile
from diffseg_ros.types import Intrinsics
from node_rig import ROOT
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

WIDTH, HEIGHT, FRAMES = 96, 64, 4
CAMERA = {'/rgb/camera_info': CameraInfo, '/depth_registered/image_rect': Image,
          '/rgb/image_raw': Image}
INTRINSICS = Intrinsics(2 * WIDTH, 2 * HEIGHT, 180.0, 181.0, 95.5, 63.5)
"""At twice the size of the images, as a driver that scales only its images reports them."""
_START = 1_700_000_000_012_345_678
_PERIOD = 100_000_000
_GRID_NODE = Path(__file__).with_name('grid_node.py')
_TIMEOUT = 120.0


def stamp_of(number: int) -> int:
    """Return the stamp (ns) of a frame of the recording."""
    return _START + number * _PERIOD


def photo() -> np.ndarray:
    """Return the (HEIGHT, WIDTH, 3) uint8 picture of every frame."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def millimetres() -> np.ndarray:
    """Return (HEIGHT, WIDTH) uint16 depth with holes and no two rows alike."""
    depth = 900 + np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) // 7
    depth[5::9, 3::8] = 0
    return depth


def write_recording(path: Path) -> None:
    """Write the bag that is played."""
    with BagWriter(path) as writer:
        for number in range(FRAMES):
            stamp = stamp_of(number)
            messages = (camera_info_message(INTRINSICS, stamp, 'optical'),
                        image_message(millimetres(), stamp, 'optical'),
                        image_message(photo(), stamp, 'optical'))
            for topic, message in zip(CAMERA, messages, strict=True):
                writer.write(topic, message, stamp)


def pixels(message: Image, dtype: str) -> np.ndarray:
    """Return the (H, W) pixels of an image."""
    assert message.step == message.width * np.dtype(dtype).itemsize
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def points(message: PointCloud2) -> np.ndarray:
    """Return the (H, W) points of a cloud, with its fields by name."""
    dtype = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'),
                      ('label', '<u4'), ('instance_id', '<u4')])
    assert [(field.name, field.offset) for field in message.fields] == [
        (name, dtype.fields[name][1]) for name in dtype.names]
    assert (message.point_step, message.row_step) == (24, 24 * message.width)
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


class ProfileRig:
    """Starts the nodes, subscribes as their consumers do and keeps what comes."""

    def __init__(self, domain: int, folder: Path) -> None:
        self._domain = domain
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        use_large_message_profile()
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node('consumers', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.got: dict[str, list[Any]] = {}
        self._values: dict[str, dict[str, str]] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._take, 50)

    def start(self, name: str, parameters: Mapping[str, str], namespace: str = '') -> None:
        """Start the node of a profile, in the namespace of its name; the camera's is the root."""
        namespace = namespace or name
        arguments = ['-r', f'__ns:=/{namespace}']
        for topic in CAMERA:
            arguments += ['-r', f'{topic[1:]}:={topic}',
                          '-p', f'qos_overrides.{topic}.subscription.reliability:=reliable']
        profile = load_profile(name)
        arguments += ['--params-file', str(profile.parameter_file)]
        for source, target in profile.remaps:
            arguments += ['-r', f'{source}:={target}']
        for key, value in parameters.items():
            arguments += ['-p', f'{key}:={value}']
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(self._domain),
                       'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'}
        with (self._folder / f'{namespace}.log').open('wb') as log:
            self._processes[namespace] = subprocess.Popen(
                [sys.executable, str(_GRID_NODE), '--ros-args', *arguments], env=environment,
                stdout=log, stderr=log)

    def subscribe(self, topic: str, kind: Any, qos: QoSProfile) -> None:
        """Subscribe to a full topic name."""
        self.got[topic] = []
        self.node.create_subscription(kind, topic, self.got[topic].append, qos)

    def play(self, recording: Path) -> None:
        """Publish the recording frame by frame, each when the one before came out everywhere."""
        publishers = {topic: self.node.create_publisher(kind, topic, 10)
                      for topic, kind in CAMERA.items()}
        self._until(lambda: all(publisher.get_subscription_count() == len(self._processes)
                                for publisher in publishers.values()))
        self._until(lambda: all(self.node.count_publishers(topic) for topic in self.got))
        # A writer may know its reader before the reader knows it, and best effort sends once.
        self._until(lambda: len(self._values) == len(self._processes)
                    and all(set(CAMERA) <= set(values['inputs'].split())
                            for values in self._values.values())
                    and len(self.got) == sum(len(values['outputs'].split())
                                             for values in self._values.values()))
        with BagReader(recording) as bag:
            played = 0
            for topic, _, data in bag.messages(CAMERA):
                publishers[topic].publish(bytes(data))
                played += 1
                if played % len(CAMERA) == 0:
                    frames = played // len(CAMERA)
                    self._until(lambda: all(len(messages) == frames
                                            for messages in self.got.values()))

    def _take(self, diagnostics: DiagnosticArray) -> None:
        for status in diagnostics.status:
            self._values[status.name] = {item.key: item.value for item in status.values}

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _TIMEOUT
        while not condition():
            dead = [name for name, process in self._processes.items()
                    if process.poll() is not None]
            if dead or time.monotonic() > end:
                counts = {topic: len(messages) for topic, messages in self.got.items()}
                raise AssertionError(f'ended: {dead}; messages: {counts}; logs: {self._logs()}')
            self._executor.spin_once(timeout_sec=0.02)

    def _logs(self) -> Sequence[str]:
        return [f'{name}: {(self._folder / name).with_suffix(".log").read_text()[-800:]}'
                for name in self._processes]

    def close(self) -> None:
        """End every node."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.shutdown()
