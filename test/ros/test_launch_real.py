"""The launch files run by the real launch, where it and the built package are installed."""

from __future__ import annotations

from collections.abc import Iterator
import importlib.util
import os
from pathlib import Path
import re
import signal
import subprocess
import sys

import pytest

if any(importlib.util.find_spec(name) is None for name in ('launch', 'launch_ros', 'rclpy')):
    pytest.skip('launch and launch_ros are not installed: they come with a ROS distribution, not '
                'from PyPI', allow_module_level=True)
from ament_index_python.packages import (  # noqa: E402
    get_package_share_directory,
    PackageNotFoundError,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from node_rig import Client, own_domain  # noqa: E402
from test_launch import DEMO, OWN, REPLAY, SEGMENTATION  # noqa: E402

try:
    INSTALLED = Path(get_package_share_directory('diffseg_ros'), 'launch')
except (PackageNotFoundError, LookupError):
    pytest.skip('diffseg_ros is not installed in a workspace: colcon build, then source it',
                allow_module_level=True)


class Launch:
    """A launch file that runs, and a client in its domain."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.client = Client(domain)
        self._domain = domain
        self._log = folder / 'launch.log'
        self.process: subprocess.Popen | None = None

    def start(self, name: str, *arguments: str) -> Client:
        with self._log.open('wb') as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name('run_launch_file.py')),
                 str(INSTALLED / name), *arguments], stdout=log, stderr=log,
                env={**os.environ, 'ROS_DOMAIN_ID': str(self._domain),
                     'PYTHONUNBUFFERED': '1'}, start_new_session=True)
        return self.client

    @property
    def log(self) -> str:
        return self._log.read_text()

    def pids(self, name: str) -> list[int]:
        return [int(pid) for pid in re.findall(
            rf'\[{name}-\d+\]: process started with pid \[(\d+)\]', self.log)]

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self.client.close()


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launch]:
    with own_domain() as domain:
        launch = Launch(domain, tmp_path)
        yield launch
        launch.close()


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.name)
def test_show_args_lists_every_argument_with_its_meaning(path):
    from launch import LaunchContext

    source = PythonLaunchDescriptionSource(str(INSTALLED / path.name))
    description = source.get_launch_description(LaunchContext())
    arguments = {item.name: item for item in description.get_launch_arguments()}
    assert set(arguments) == OWN[SEGMENTATION] | OWN[path]
    assert all(len(item.description) > 20 for item in arguments.values())


def test_node_comes_up_in_its_namespace_and_comes_back_when_killed(launched):
    client = launched.start(SEGMENTATION.name, 'namespace:=left', 'use_respawn:=true',
                            'profile:=nav2')
    client.until(lambda: client.values.get('state') == 'active')
    assert client.statuses[-1].name == 'left/diffseg: pipeline'
    assert '/left/rgb/image_raw' in client.sentence
    pid, = launched.pids('diffseg_node')
    os.kill(pid, signal.SIGKILL)
    client.until(lambda: len(launched.pids('diffseg_node')) == 2)
    client.statuses.clear()
    client.until(lambda: client.values.get('state') == 'active')
    assert launched.stop() == 0
    assert 'process has finished cleanly' in launched.log


def test_recording_is_replayed_in_a_loop(launched, tmp_path):
    from diffseg_ros.cli import convert
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    list(render_sequence(tmp_path / 'room', 8, 0))
    assert convert.main([str(tmp_path / 'room'), str(tmp_path / 'room.mcap')]) == 0
    client = launched.start(REPLAY.name, f'bag:={tmp_path}/room.mcap', 'loop:=true',
                            'namespace:=left')
    client.subscribe('labels', namespace='left')
    client.until(lambda: client.count('epoch') >= 2)
    assert client.got['labels']
    assert client.count('failed') == 0
    assert launched.stop() == 0


@pytest.mark.parametrize('name', ['no_such.mcap', 'file.txt'])
def test_recording_that_cannot_be_played_ends_the_launch_with_its_reason(launched, tmp_path,
                                                                        name):
    (tmp_path / 'file.txt').write_text('no recording')
    launched.start(REPLAY.name, f'bag:={tmp_path / name}')
    assert launched.process.wait(40) == 1
    assert f'diffseg_play: {tmp_path / name}: ' in launched.log
    assert re.search(r'diffseg_play-\d+ ended with exit code 2', launched.log)


def test_node_goes_on_when_a_recording_comes_to_its_end(launched, tmp_path):
    from diffseg_ros.synthetic.sequence_writer import render_sequence

    list(render_sequence(tmp_path / 'room', 4, 0))
    client = launched.start(REPLAY.name, f'bag:={tmp_path}/room')
    client.subscribe('labels')
    client.until(lambda: 'no more images' in client.sentence)
    assert client.got['labels'] and launched.process.poll() is None
    assert launched.stop() == 0


def test_demo_shows_labels(launched):
    client = launched.start(DEMO.name, 'rviz:=false', 'frames:=6')
    client.subscribe('labels', 'points')
    client.until(lambda: client.got['labels'] and client.got['points'])
    assert client.got['points'][0].header.frame_id == 'camera'
    assert launched.stop() == 0


def test_wrong_argument_is_refused_with_the_choices(launched):
    launched.start(SEGMENTATION.name, 'profile:=nothing')
    assert launched.process.wait(20) != 0
    assert 'nav2' in launched.log and 'not valid' in launched.log

