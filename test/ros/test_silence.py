"""Why no image comes: what the graph says about those who publish."""

from __future__ import annotations

import re

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from node_rig import image  # noqa: E402
from rclpy.qos import qos_profile_sensor_data, QoSProfile  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402


def test_each_cause_is_named_and_the_right_publisher_ends_the_silence(rig):
    rig.client.node.destroy_publisher(rig.client.images)
    client = rig.start(
        '-p', 'diagnostics_period:=0.1', '-p', 'segmentation.taw:=1.0',
        '-p', 'qos_overrides./rgb/image_raw.subscription.reliability:=reliable')
    node = client.node
    client.until(lambda: ' s: nobody publishes it' in client.sentence)
    client.until(lambda: re.search(r'WARN.* no image yet on /rgb/image_raw for \d s: nobody '
                                   'publishes it', rig.log))
    elsewhere = [node.create_publisher(Image, name, 1)
                 for name in ('/cam/color', '/cam/aligned_depth')]
    client.until(lambda: 'nobody publishes it; images are on /cam/color, /cam/aligned_depth'
                 in client.sentence)
    wrong = node.create_publisher(CompressedImage, 'rgb/image_raw', 1)
    client.until(lambda: 'client publishes it as sensor_msgs/msg/CompressedImage; Image is '
                 'needed, see image_transport' in client.sentence)
    node.destroy_publisher(wrong)
    weak = node.create_publisher(Image, 'rgb/image_raw', qos_profile_sensor_data)
    client.until(lambda: 'client publishes it with another QoS' in client.sentence)
    assert 'reliab' in client.sentence.lower()
    node.destroy_publisher(weak)
    right = node.create_publisher(Image, 'rgb/image_raw', QoSProfile(depth=5))
    client.until(lambda: '1 publish it but send nothing' in client.sentence)
    client.until(lambda: client.level == 1)
    client.ready(right)
    right.publish(image(0))
    client.until(lambda: 'idle: nobody subscribes' in client.sentence)
    assert 'unknown parameters are ignored: segmentation.taw' in rig.log
    for publisher in (*elsewhere, right):
        node.destroy_publisher(publisher)
