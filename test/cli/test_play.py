"""diffseg_play sends recordings as they are, on the node's topics, and ends when told to."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from diffseg_ros.cli import convert, play
from diffseg_ros.io.base import TopicNames
from diffseg_ros.io.message_stream import open_stream
from diffseg_ros.io.messages import deserialise, header_stamp
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.synthetic.sequence_writer import render_sequence
import numpy as np
import pytest

TF = 'tf2_msgs/msg/TFMessage'


@pytest.fixture(scope='module')
def room(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('play') / 'room'
    list(render_sequence(folder, 3, 0))
    return folder


@pytest.fixture(scope='module')
def bag(room) -> Path:
    path = room.with_suffix('.mcap')
    assert convert.main([str(room), str(path)]) == 0
    return path


def test_bag_and_folder_give_the_same_messages(room, bag):
    lists = []
    for path in (room, bag):
        stream = open_stream(path, TopicNames())
        assert stream.topics['rgb/image_raw'] == 'sensor_msgs/msg/Image'
        assert stream.topics['/tf'] == TF
        messages = [(item.time, item.topic, item.data) for item in stream]
        assert messages == [(item.time, item.topic, item.data) for item in stream]
        lists.append(sorted(messages))
    assert lists[0] == lists[1]
    assert len(lists[0]) == 3 * 4


def test_messages_hold_the_images_and_their_stamps(room, bag):
    sequence = SequenceFolder(room)
    images = [item for item in open_stream(bag, TopicNames()) if item.topic == 'rgb/image_raw']
    for number, item in enumerate(images):
        frame = sequence.read(number).frame
        message = deserialise(item.data, 'sensor_msgs/msg/Image')
        assert header_stamp(item.data) == frame.stamp
        assert np.array_equal(message.data.reshape(frame.rgb.shape), frame.rgb)


def test_named_topics_take_the_node_s_names(bag):
    names = TopicNames(rgb='rgb/image_raw', depth='/rgb/no_such_depth')
    with pytest.raises(Exception, match='no_such_depth'):
        open_stream(bag, names)


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--rate', '0'], 'between 0.01 and 100'), (['--loop', '-1'], '0 .without end. or more'),
    (['--frames', '1'], '--frames 1: must be 2'), (['--seed', '-1'], '--seed -1'),
    (['a.mcap', '--seed', '3'], 'applies to the generated room'),
    (['/no/such.mcap'], 'no such file')])
def test_wrong_use_is_refused_in_one_line(arguments, words, capsys):
    assert play.main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(words, error)


@pytest.fixture
def domain() -> Iterator[int]:
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    sys.path.append(str(Path(__file__).parents[1] / 'ros'))
    from node_rig import own_domain

    with own_domain() as number:
        yield number


def start(domain: int, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-m', 'diffseg_ros.cli.play', *arguments], stderr=subprocess.PIPE,
        text=True, env={**os.environ, 'ROS_DOMAIN_ID': str(domain),
                        'PYTHONPATH': str(Path(__file__).parents[2])})


def test_every_message_arrives_twice_with_the_clock_and_in_the_namespace(bag, domain):
    from diffseg_ros.ros.startup import use_large_message_profile
    import rclpy
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CameraInfo, Image

    use_large_message_profile()
    context = rclpy.context.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('listener', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    got: dict[str, list] = {'rgb/image_raw': [], 'rgb/camera_info': [], 'clock': []}
    for name, kind in (('rgb/image_raw', Image), ('rgb/camera_info', CameraInfo)):
        node.create_subscription(kind, f'/robot/{name}', got[name].append, 50)
    node.create_subscription(Clock, '/clock', got['clock'].append, 1000)
    player = start(domain, str(bag), '--loop', '2', '--rate', '0.5', '--clock',
                   '--ros-args', '-r', '__ns:=/robot')
    end = time.monotonic() + 120
    while player.poll() is None and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    executor.spin_once(timeout_sec=0.1)
    assert player.wait(60) == 0
    assert player.stderr.read().count('messages, loop') == 2
    player.stderr.close()
    stamps = [message.header.stamp.nanosec for message in got['rgb/image_raw']]
    assert len(stamps) == 6 and stamps[:3] == stamps[3:] == sorted(stamps[:3])
    assert len(got['rgb/camera_info']) == 6
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in got['clock']]
    assert len(times) > 10 and sum(np.diff(times) < 0) == 1
    executor.shutdown()
    node.destroy_node()
    context.shutdown()


@pytest.mark.parametrize(('arguments', 'words'), [
    (['-r', 'rgb/image_raw:=9'], 'rgb/image_raw:=9'), (['--bogus'], "['--bogus']")])
def test_wrong_ros_arguments_are_refused_with_code_2(bag, domain, arguments, words):
    player = start(domain, str(bag), '--ros-args', *arguments)
    error = player.communicate(timeout=60)[1]
    assert player.returncode == 2
    assert error.splitlines()[-1].startswith('diffseg_play: ') and words in error
    assert 'Traceback' not in error


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_while_nobody_listens(bag, domain, number):
    player = start(domain, str(bag), '--loop', '0')
    time.sleep(3)
    player.send_signal(number)
    assert player.wait(60) in (0, 130, -number)
    player.stderr.close()
