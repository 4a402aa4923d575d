"""What people write for the node, and beside whom it runs: each mistake is named in one line."""

from __future__ import annotations

from itertools import count
import os
import subprocess
import sys

from diffseg_ros.errors import DiffsegError
from diffseg_ros.ros.startup import check_ros_arguments
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from node_rig import camera_info, depth, image, own_domain, ROOT  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402


@pytest.mark.parametrize(('written', 'meant'), [
    ('rgb/image_raw:=/cam', '--ros-args -r rgb/image_raw:=/cam'),
    ('-r rgb/image_raw:=/cam', '--ros-args -r rgb/image_raw:=/cam'),
    ('--params-file x.yaml', '--ros-args --params-file x.yaml'),
    ('use_sim_time:=true', '--ros-args -p use_sim_time:=true'),
    ('labels_encoding:=mono8 a:=b', '--ros-args -p labels_encoding:=mono8 -r a:=b'),
    ('__name:=left _max_rate:=5.0', '--ros-args -r __node:=left -p max_rate:=5.0'),
    ('__params:=x.yaml', '--ros-args --params-file x.yaml'),
    ('-r a:=b --ros-args -p max_rate:=5.0', '--ros-args -r a:=b -p max_rate:=5.0'),
    ('--log-level debug', '--ros-args --log-level debug')])
def test_arguments_for_ros_before_ros_args_are_answered_with_the_line_meant(written, meant):
    with pytest.raises(DiffsegError, match='follow --ros-args') as refused:
        check_ros_arguments('diffseg_node', written.split())
    assert str(refused.value).endswith(f'write: diffseg_node {meant}')


@pytest.mark.parametrize('words', ['', '--help', '--ros-args -r a:=b -p c:=1', 'bag.mcap'])
def test_other_arguments_are_not_refused(words):
    check_ros_arguments('diffseg_node', words.split())


@pytest.mark.parametrize(('arguments', 'answer'), [
    (['rgb/image_raw:=/cam'], 'write: diffseg_node --ros-args -r rgb/image_raw:=/cam'),
    (['my bag.mcap'], 'my bag.mcap: the node takes camera topics, not files; run diffseg_play'),
    (['--ros-args', '-r', 'a=/b'], 'write -r OLD:=NEW'),
    (['--ros-args', '--params-file', '/dev/null/x.yaml'], 'give the path of a YAML file')])
def test_wrong_line_ends_the_node_with_one_line_and_code_2(arguments, answer):
    with own_domain() as domain:
        ended = subprocess.run([sys.executable, '-m', 'diffseg_ros.cli.node', *arguments],
                               capture_output=True, text=True, timeout=60,
                               env={**os.environ, 'ROS_DOMAIN_ID': str(domain),
                                    'PYTHONPATH': str(ROOT)})
    assert ended.returncode == 2
    assert answer in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_parameter_file_of_another_node_is_not_ignored_silently(rig, tmp_path):
    files = {name: tmp_path / f'{name}.yaml' for name in ('diffseg', 'diffseg_node')}
    for name, path in files.items():
        path.write_text(f'{name}:\n  ros__parameters: {{max_rate: 5.0}}\n')
        rig.start('--params-file', str(path))
    rig.client.until(lambda: f'{files["diffseg_node"]}: no settings for the node /diffseg: its '
                     'settings are for /diffseg_node; write' in rig.log)
    assert str(files['diffseg']) not in rig.log


def test_images_without_frame_id_are_named_where_clouds_are_wanted(rig):
    client = rig.start()
    client.subscribe('points')
    client.ready()
    numbers = count()

    def says(sentence: str) -> bool:
        number = next(numbers)
        client.infos.publish(camera_info(number))
        client.depths.publish(depth(number, frame_id=''))
        client.images.publish(image(number, frame_id=''))
        return sentence in client.sentence

    client.until(lambda: says('images on /rgb/image_raw have no frame_id'))
    assert client.level == 1


def test_namesake_is_named_until_it_ends(rig):
    client = rig.start('-p', 'diagnostics_period:=0.1')
    client.subscribe('labels')
    client.ready()
    numbers = count()

    def says(sentence: str) -> bool:
        client.send(next(numbers))
        return sentence in client.sentence

    client.until(lambda: says('processing'))
    other = rclpy.create_node('diffseg', context=client.context)
    client.until(lambda: says('another node is named /diffseg too'))
    assert client.level == 1
    other.destroy_node()
    client.until(lambda: says('processing') and client.level == 0)


def test_empty_domain_is_named():
    from diffseg_ros.ros.subscriptions import why_no_images

    with own_domain() as domain:
        context = Context()
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node('diffseg', context=context)
        assert 'is ROS_DOMAIN_ID the same' in why_no_images(node, '/rgb/image_raw', [])
        other = rclpy.create_node('camera', context=context)
        assert why_no_images(node, '/rgb/image_raw', []) == 'nobody publishes it'
        for each in (node, other):
            each.destroy_node()
        context.shutdown()
