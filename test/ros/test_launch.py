"""The launch files, by a stand-in for `launch`; test_launch_real.py runs them for real."""

from __future__ import annotations

from pathlib import Path
import re
from types import SimpleNamespace

from diffseg_ros.config_files import load_profile, profile_names
from diffseg_ros.ros.startup import OLD_PROFILE_VARIABLE, PROFILE_VARIABLE
from launch_stand_in import Launched
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'
SEGMENTATION, REPLAY, DEMO = (LAUNCH / f'{name}.launch.py'
                              for name in ('segmentation', 'replay', 'demo'))
COMMON = {'namespace', 'use_sim_time', 'params_file', 'profile', 'autostart', 'use_respawn',
          'log_level', 'rviz'}
TF = [('/tf', 'tf'), ('/tf_static', 'tf_static')]
SHIPPED = 'diffseg_ros/config/fastdds.xml'
OWN = {SEGMENTATION: COMMON | {'image_transport', 'depth_transport', 'fixed_frame'},
       REPLAY: {'bag', 'rate', 'loop', 'rgb_topic', 'camera_info_topic', 'depth_topic', 'player',
                'use_sim_time', 'namespace'},
       DEMO: {'namespace', 'frames', 'seed', 'params_file', 'rviz', 'fixed_frame'}}


@pytest.mark.parametrize('path', OWN, ids=lambda path: path.name)
def test_every_argument_is_described_and_has_a_default(path):
    declared = Launched(path, bag='x.mcap').declared
    assert set(declared) == OWN[path]
    for name, options in declared.items():
        assert len(options['description']) > 20, name
        assert ('default_value' in options) != (name == 'bag'), name


def test_what_a_file_includes_is_installed_beside_it():
    for path in (REPLAY, DEMO):
        included, = Launched(path, bag='x').named('IncludeLaunchDescription')
        source = included.arguments[0].arguments[0]
        assert Launched(path, bag='x').text(source) == 'diffseg_ros/launch/segmentation.launch.py'


def test_defaults_of_the_node():
    launched = Launched(SEGMENTATION)
    node = launched.node('diffseg_node')
    assert (node['name'], node['namespace'], node['respawn']) == ('diffseg', '', False)
    assert node['parameters'] == [{'use_sim_time': False, 'autostart': True}]
    assert node['remappings'] == TF
    assert node['arguments'] == ['--ros-args', '--log-level', 'info']
    assert len(launched.named('Node')) == 1


def test_arguments_reach_the_node():
    node = Launched(SEGMENTATION, namespace='left', use_sim_time='true', params_file='/my.yaml',
                    autostart='false', use_respawn='true', log_level='debug',
                    image_transport='compressed').node('diffseg_node')
    assert (node['namespace'], node['respawn']) == ('left', True)
    assert node['parameters'] == ['/my.yaml', {'use_sim_time': True, 'autostart': False},
                                  {'image_transport': 'compressed'}]
    assert node['arguments'][-1] == 'debug'


@pytest.mark.parametrize('name', profile_names())
def test_profile_goes_before_the_user_s_parameters(name):
    launched = Launched(SEGMENTATION, profile=name, params_file='/my.yaml')
    node = launched.node('diffseg_node')
    assert name in launched.declared['profile']['choices']
    assert node['parameters'][:2] == [str(load_profile(name).parameter_file), '/my.yaml']
    assert node['remappings'] == [*TF, *load_profile(name).remaps]


def profiles_set() -> dict[str, str]:
    """Return the environment variables that the launch file sets, all of them first."""
    launched = Launched(SEGMENTATION)
    variables = launched.named('SetEnvironmentVariable')
    assert launched.actions[:len(variables)] == variables
    return {variable.arguments[0]: launched.text(variable.arguments[1])
            for variable in variables}


@pytest.mark.parametrize(('distribution', 'own', 'old', 'expected'), [
    ('kilted', '', '', {PROFILE_VARIABLE: SHIPPED}),
    ('kilted', '/my.xml', '', {}),
    ('kilted', '', '/old.xml', {}),
    ('jazzy', '', '', {PROFILE_VARIABLE: SHIPPED, OLD_PROFILE_VARIABLE: SHIPPED}),
    ('jazzy', '/my.xml', '', {OLD_PROFILE_VARIABLE: '/my.xml'}),
    ('jazzy', '', '/old.xml', {})])
def test_transport_profile_is_set_unless_the_user_has_one(
        monkeypatch, distribution, own, old, expected):
    monkeypatch.setenv('ROS_DISTRO', distribution)
    monkeypatch.setenv(PROFILE_VARIABLE, own)
    monkeypatch.setenv(OLD_PROFILE_VARIABLE, old)
    assert profiles_set() == expected


def test_rviz_follows_the_namespace():
    launched = Launched(SEGMENTATION, rviz='true', namespace='left', fixed_frame='cam')
    rviz = launched.node('rviz2')
    assert (rviz['package'], rviz['namespace']) == ('rviz2', 'left')
    assert [launched.text(item) for item in rviz['arguments']] == [
        '-d', 'diffseg_ros/config/diffseg.rviz', '-f', 'cam']
    shown = {display['Topic']['Value'] for display in _displays() if 'Topic' in display}
    assert shown <= {source for source, _ in rviz['remappings']}
    assert all(f'/{target}' == source for source, target in rviz['remappings'])


def test_replay_plays_with_the_names_of_the_recording():
    launched = Launched(REPLAY, bag='my.mcap', rate='2.0', loop='true', namespace='left',
                        rgb_topic='/cam/color/compressed', depth_topic='/cam/depth')
    player = launched.node('diffseg_play')
    assert player['namespace'] == 'left' and player['remappings'] == TF
    assert player['arguments'] == [
        'my.mcap', '--rate', '2.0', '--clock', '--rgb-topic', '/cam/color/compressed',
        '--depth-topic', '/cam/depth', '--loop', '0']
    transport, = launched.named('SetLaunchConfiguration')
    assert transport.arguments == ('image_transport', 'compressed')
    assert launched.actions[-1].kind == 'IncludeLaunchDescription'
    assert launched.context.values['use_sim_time'] == 'true'


def test_replay_with_rosbag2():
    process, = Launched(REPLAY, bag='my_bag', player='rosbag2', namespace='left',
                        depth_topic='/cam/depth/compressedDepth').named('ExecuteProcess')
    command = process.options['cmd']
    assert command[:6] == ['ros2', 'bag', 'play', 'my_bag', '--rate', '1.0']
    assert '--loop' not in command
    assert command[command.index('--remap') + 1:] == [
        '/rgb/image_raw:=/left/rgb/image_raw', '/rgb/camera_info:=/left/rgb/camera_info',
        '/cam/depth/compressedDepth:=/left/depth_registered/image_rect/compressedDepth',
        '/tf:=/left/tf', '/tf_static:=/left/tf_static']


def test_player_understands_what_the_launch_files_give_it():
    from diffseg_ros.cli.play import _parser

    for path in (REPLAY, DEMO):
        launched = Launched(path, bag='my.mcap', rgb_topic='/a', camera_info_topic='/b',
                            depth_topic='/c')
        words = [launched.text(item) for item in launched.node('diffseg_play')['arguments']]
        arguments = _parser().parse_args(words)
        assert arguments.loop == (1 if path == REPLAY else 0)
        assert (arguments.source is None) == (path == DEMO)


@pytest.mark.parametrize(('path', 'values', 'kind'), [
    (REPLAY, {'bag': 'x.mcap'}, 'Node'), (DEMO, {}, 'Node'),
    (REPLAY, {'bag': 'x.mcap', 'player': 'rosbag2'}, 'ExecuteProcess')])
def test_player_that_fails_ends_the_launch_and_one_that_is_done_does_not(path, values, kind):
    player, = Launched(path, **values).named(kind)
    on_exit = player.options['on_exit']
    running = SimpleNamespace(is_shutdown=False)
    ended = SimpleNamespace(process_name='diffseg_play-1', returncode=0)
    assert on_exit(ended, running) is None
    for code in (2, -11):
        ended.returncode = code
        assert on_exit(ended, SimpleNamespace(is_shutdown=True)) is None
        with pytest.raises(RuntimeError, match=f'diffseg_play-1 ended with exit code {code}, '):
            on_exit(ended, running)


def test_demo_shows_the_room_in_the_frame_of_its_images():
    from diffseg_ros.io.sequence_folder import CAMERA_FRAME

    values = Launched(DEMO).context.values
    assert (values['rviz'], values['fixed_frame']) == ('true', CAMERA_FRAME)
    assert values['params_file'] == 'diffseg_ros/config/demo.yaml'


def test_named_configuration_files_exist():
    named = {name for path in OWN for name in re.findall(r"'([\w.]+\.(?:yaml|xml|rviz))'",
                                                         path.read_text())}
    assert {'fastdds.xml', 'diffseg.rviz', 'demo.yaml'} <= named
    assert all((ROOT / 'config' / name).is_file() for name in named)


def _displays() -> list[dict]:
    document = yaml.safe_load((ROOT / 'config' / 'diffseg.rviz').read_text())
    return document['Visualization Manager']['Displays']


def test_rviz_shows_overlay_cloud_by_label_and_markers_of_a_bare_camera():
    document = yaml.safe_load((ROOT / 'config' / 'diffseg.rviz').read_text())
    manager = document['Visualization Manager']
    assert manager['Global Options']['Fixed Frame'].endswith('optical_frame')
    assert manager['Views']['Current']['Target Frame'] == '<Fixed Frame>'
    kinds = {(item['Class'].rpartition('/')[2], item.get('Topic', {}).get('Value'))
             for item in _displays() if item['Enabled']}
    assert {('Image', '/diffseg/overlay'), ('PointCloud2', '/diffseg/points'),
            ('MarkerArray', '/diffseg/markers')} <= kinds
    cloud = next(item for item in _displays() if item['Name'] == 'Cloud by label')
    assert (cloud['Channel Name'], cloud['Color Transformer']) == ('label', 'Intensity')
    names = [item['Name'] for item in _displays()]
    assert len(set(names)) == len(names)


def test_rviz_asks_for_no_better_qos_than_the_node_offers():
    topics = [item['Topic'] for item in _displays() if 'Topic' in item]
    assert len(topics) == 4
    assert all(topic['Reliability Policy'] == 'Best Effort'
               and topic['Durability Policy'] == 'Volatile' for topic in topics)
