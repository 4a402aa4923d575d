"""The node over real topics, in its own process, with a pipeline that needs no model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import cv2
from diffseg_ros.config import SegmentationConfig
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from node_rig import image, own_domain, ROOT, stamped, stamps  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from stub_node import MAGENTA  # noqa: E402

DEFAULT_LABEL = round(100 * SegmentationConfig().granularity)
"""What the stub pipeline labels all pixels with."""



def label_values(message) -> np.ndarray:
    return np.frombuffer(message.data, '<u2').reshape(message.height, message.width)


def test_every_output_of_every_frame_is_stamped_as_its_image(rig):
    client = rig.start()
    names = ['labels', 'confidence', 'overlay', 'camera_info', 'points']
    client.subscribe(*names)
    client.ready()
    for number in range(5):
        client.send(number)
        client.until(lambda: all(len(client.got[name]) == number + 1 for name in names))
    for name in names:
        assert stamps(client.got[name]) == [0, 1, 2, 3, 4]
        assert {message.header.frame_id for message in client.got[name]} == {'camera'}
    values = label_values(client.got['labels'][-1])
    assert (values[0] == 65535).all() and (values[1:] == DEFAULT_LABEL).all()
    client.settled(5)
    assert client.count('processed') == 5
    assert client.sentence.startswith('processing')
    assert {'latency.features.p50_ms', 'latency.total.p95_ms', 'age_at_publish.p95_ms', 'model',
            'model_kind', 'model_settings', 'device', 'epoch', 'input_rate_hz',
            'output_rate_hz'} <= set(client.values)


def test_without_depth_and_camera_info_masks_come_and_one_line_says_why(rig):
    client = rig.start()
    client.subscribe('labels', 'points', 'camera_info')
    client.ready()
    for number in range(8):
        client.send(number, with_depth=False)
        client.until(lambda: len(client.got['labels']) == number + 1)
    client.settled(8)
    assert client.got['points'] == client.got['camera_info'] == []
    reason = 'no depth on /depth_registered/image_rect and no camera_info on /rgb/camera_info'
    assert client.sentence.startswith('masks without clouds') and reason in client.sentence
    assert rig.log.count(reason) == 1


def test_depth_of_another_frame_is_refused_by_name(rig):
    client = rig.start()
    client.subscribe('labels', 'points')
    client.ready()
    for number in range(4):
        client.send(number, frame_id='other')
        client.until(lambda: len(client.got['labels']) == number + 1)
    client.settled(4)
    assert client.got['points'] == []
    assert 'unregistered depth' in client.sentence
    assert "'camera'" in client.sentence and "'other'" in client.sentence
    assert client.count('fault.depth_unregistered') == 4


def test_busy_node_takes_the_latest_frame_and_counts_the_rest(rig):
    client = rig.start(delay=0.15)
    client.subscribe('labels')
    client.ready()
    for number in range(40):
        client.send(number)
        client.spin(0.02)
    client.until(lambda: client.accounted() and 39 in stamps(client.got['labels'])
                 and client.count('processed') == len(client.got['labels']))
    assert client.count('received') == 40
    assert client.count('dropped') == client.count('dropped.superseded') > 0
    seen = stamps(client.got['labels'])
    assert len(seen) == client.count('processed') >= 2
    assert seen == sorted(set(seen)) and seen[-1] == 39


def test_broken_input_and_broken_stage_are_counted_named_and_survived(rig):
    client = rig.start()
    client.subscribe('labels')
    client.ready()
    client.send(0, encoding='nonsense')
    client.settled(1)
    assert client.level == 2
    assert "'nonsense' is not supported" in client.sentence
    assert '/rgb/image_raw' in client.sentence and 'rgb8' in client.sentence
    client.send(1, first_pixel=MAGENTA)
    client.settled(2)
    assert 'RuntimeError: magenta' in client.sentence
    short = image(2)
    short.data = short.data[:100]
    client.images.publish(short)
    client.settled(3)
    assert 'truncated' in client.sentence
    client.send(3)
    client.until(lambda: client.got['labels'])
    client.settled(4)
    assert (client.count('failed'), client.count('processed')) == (3, 1)
    assert client.sentence.startswith(('processing', 'masks'))
    assert 'truncated' in client.values['last_failure']


def test_live_change_is_applied_and_a_wrong_one_refused(rig):
    client = rig.start('-p', 'labels_encoding:=32SC1', '-p', 'segmentation.granularity:=0.3')
    client.subscribe('labels')
    client.ready()

    def label(number: int) -> int:
        client.send(number)
        client.until(lambda: stamps(client.got['labels'])[-1:] == [number])
        return np.frombuffer(client.got['labels'][-1].data, '<i4')[-1]

    assert label(0) == 30
    assert client.set_parameter('segmentation.granularity', 0.7) == (True, '')
    assert label(1) == 70
    accepted, reason = client.set_parameter('segmentation.granularity', 2.5)
    assert not accepted and 'segmentation.granularity' in reason and '1.0' in reason
    accepted, reason = client.set_parameter('segmentation.method', 'guess')
    assert not accepted and 'segmentation.method' in reason
    accepted, reason = client.set_parameter('backbone.model', 'other')
    assert not accepted and 'backbone.model: fixed while the node is configured' in reason
    assert label(2) == 70


def test_lifecycle_goes_round_and_ids_are_never_reused(rig):
    client = rig.start('-p', 'autostart:=false', '-p', 'labels_encoding:=32SC1')
    client.until(lambda: 'not configured' in client.sentence)
    for turn in range(3):
        assert client.transition('configure')
        assert client.transition('activate')
        client.subscribe('labels')
        client.ready()
        client.send(turn)
        client.until(lambda: client.got['labels'])
        values = np.frombuffer(client.got['labels'][-1].data, '<i4')
        assert values[-1] == DEFAULT_LABEL + 1000 * turn
        assert client.transition('deactivate')
        client.until(lambda: 'not active' in client.sentence)
        assert client.transition('cleanup')
    assert not client.transition('activate')
    client.settled(3)
    assert rig.stop() == 0


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_loading_is_reported_all_the_while_and_ended_by_a_signal(rig, number):
    client = rig.start('-p', 'backbone.model:=slow', '-p', 'diagnostics_period:=0.2')
    client.until(lambda: client.sentence == 'loading the model')
    reports = len(client.statuses)
    client.until(lambda: len(client.statuses) > reports + 3)
    begin = time.monotonic()
    assert rig.stop(number) == 0
    assert time.monotonic() - begin < 60  # the model loads for ten minutes
    assert client.sentence == 'shut down'
    assert 'configuring failed: stopped while the model was loading' in rig.log


def test_mask_that_is_not_there_is_not_called_a_model(rig):
    client = rig.start('-p', 'static_mask:=/no/such.png')
    client.until(lambda: 'not configured because: parameter static_mask: /no/such.png'
                 in client.sentence)
    assert client.level == 2 and 'model' not in client.sentence
    assert client.set_parameter('static_mask', '') == (True, '')
    assert client.transition('configure') and client.transition('activate')
    client.until(lambda: 'no image yet' in client.sentence)


def test_activation_that_fails_is_reported_with_its_reason(rig):
    client = rig.start('-p', 'qos_overrides./rgb/image_raw.subscription.reliability:=perhaps')
    client.until(lambda: 'not activated because: ' in client.sentence)
    assert client.level == 2 and 'perhaps' in client.sentence
    assert 'activating failed: ' in rig.log and 'perhaps' in rig.log
    assert not client.transition('activate')
    assert rig.stop() == 0
    assert client.sentence == 'shut down'


def test_reset_that_is_refused_changes_nothing(rig):
    client = rig.start('-p', 'autostart:=false')
    client.until(lambda: 'not configured' in client.sentence)
    response = client.call(Trigger, 'reset', Trigger.Request())
    assert not response.success and response.message == 'the node is unconfigured, not active'
    client.statuses.clear()
    client.until(lambda: client.sentence)
    assert client.count('epoch') == 0


def test_model_that_does_not_load_is_reported_and_can_be_tried_again(rig):
    client = rig.start('-p', 'backbone.model:=missing')
    client.until(lambda: 'model not loaded because: model missing' in client.sentence)
    assert client.level == 2
    assert 'model missing: it is not there' in rig.log
    assert not client.transition('configure')
    assert client.set_parameter('backbone.model', 'embedded') == (True, '')
    assert client.transition('configure')
    assert client.transition('activate')
    client.subscribe('labels')
    client.ready()
    client.send(0)
    client.until(lambda: client.got['labels'])


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('module', ['diffseg_ros.ros.node', 'diffseg_ros.pipeline'])
def test_signal_while_modules_are_imported_ends_without_a_traceback(number, module):
    script = f"""
import os, sys
import rclpy
from diffseg_ros.cli.node import main

class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Finder())
sys.exit(main(['--ros-args', '--log-level', 'fatal']))
"""
    with own_domain() as domain:
        ended = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True,
                               timeout=60, env={**os.environ, 'ROS_DOMAIN_ID': str(domain),
                                                'PYTHONPATH': str(ROOT)})
    assert (ended.returncode, ended.stderr) == (0, '')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_node_with_code_0_and_a_last_report(rig, number):
    client = rig.start(delay=0.3)
    client.subscribe('labels')
    client.ready()
    for frame in range(5):
        client.send(frame)
    client.until(lambda: client.got['labels'])
    assert rig.stop(number) == 0
    assert client.sentence == 'shut down'
    client.settled(5)


def test_without_subscribers_images_are_idle(rig):
    client = rig.start()
    client.until(lambda: client.images.get_subscription_count())
    client.until(lambda: 'no image yet on /rgb/image_raw' in client.sentence)
    client.spin(0.3)
    for number in range(5):
        client.send(number)
        client.spin(0.02)
    client.settled(5)
    assert client.count('idle') == 5
    assert 'idle: nobody subscribes' in client.sentence


def test_clock_jump_reset_and_enable(rig):
    client = rig.start()
    client.subscribe('labels')
    client.ready()
    for number in (50, 51, 10, 11):
        client.send(number)
        client.until(lambda: stamps(client.got['labels'])[-1:] == [number])
    client.settled(4)
    assert client.count('epoch') == 1
    response = client.call(Trigger, 'reset', Trigger.Request())
    assert response.success and 'epoch 2' in response.message
    client.send(10)
    client.until(lambda: len(client.got['labels']) == 5)
    assert client.call(SetBool, 'enable', SetBool.Request(data=False)).success
    client.send(12)
    client.settled(6)
    assert client.count('dropped.disabled') == 1 and 'disabled' in client.sentence
    assert client.call(SetBool, 'enable', SetBool.Request(data=True)).success
    client.send(13)
    client.until(lambda: stamps(client.got['labels'])[-1] == 13)


def test_compressed_images_are_taken(rig):
    client = rig.start('-p', 'image_transport:=compressed')
    client.subscribe('labels')
    camera = client.compressed_publisher()
    client.ready(camera)
    data = cv2.imencode('.jpg', np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
    camera.publish(stamped(CompressedImage(format='jpeg', data=data), 3, 'camera'))
    client.until(lambda: client.got['labels'])
    assert (client.got['labels'][0].width, client.got['labels'][0].height) == (40, 30)
    assert stamps(client.got['labels']) == [3]


@pytest.mark.parametrize(('arguments', 'reason'), [
    (('-p', 'segmentation.granularity:=9.0'), 'segmentation.granularity'),
    (('-p', 'segmentation.granularity:=high'), 'segmentation.granularity'),
    (('-p', 'labels_encoding:=mono16'), 'choose one of 16UC1, mono8, 32SC1'),
    (('--params-file', '/nowhere.yaml'), '/nowhere.yaml'),
    (('--bogus',), "unknown arguments after --ros-args: ['--bogus']; -r OLD:=NEW")])
def test_wrong_start_is_refused_in_one_line_with_code_2(rig, arguments, reason):
    rig.start(*arguments)
    assert rig.process.wait(60) == 2
    assert reason in rig.log
    assert len(rig.log.strip().splitlines()) == 1
