"""Play a recording to the node: ros2 launch diffseg_ros replay.launch.py bag:=PATH."""

from diffseg_ros.ros.launch_events import end_launch_on_failure
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SEGMENTATION = PathJoinSubstitution(
    [FindPackageShare('diffseg_ros'), 'launch', 'segmentation.launch.py'])
NODE_TOPICS = {'rgb_topic': 'rgb/image_raw', 'camera_info_topic': 'rgb/camera_info',
               'depth_topic': 'depth_registered/image_rect'}
TRANSPORTS = {'rgb_topic': ('image_transport', 'compressed'),
              'depth_topic': ('depth_transport', 'compressedDepth')}


def declare_arguments():
    """Return the arguments that segmentation.launch.py does not have."""
    return [
        DeclareLaunchArgument(
            'bag', description='recording: .mcap, .db3 or a bag folder; a sequence folder too, '
                               'unless the player is rosbag2'),
        DeclareLaunchArgument(
            'rate', default_value='1.0', description='times the speed of the recording'),
        DeclareLaunchArgument(
            'loop', default_value='false', choices=['true', 'false'],
            description='begin again at the end, without end; each time is a new epoch'),
        DeclareLaunchArgument(
            'rgb_topic', default_value='',
            description='colour images in the recording, .../compressed for compressed ones; '
                        'empty: found by diffseg_play, rgb/image_raw with rosbag2'),
        DeclareLaunchArgument(
            'camera_info_topic', default_value='',
            description='their camera_info in the recording; empty: as with rgb_topic'),
        DeclareLaunchArgument(
            'depth_topic', default_value='',
            description='registered depth in the recording, .../compressedDepth for compressed '
                        'ones; empty: as with rgb_topic'),
        DeclareLaunchArgument(
            'player', default_value='diffseg_play', choices=['diffseg_play', 'rosbag2'],
            description='diffseg_play finds the topics itself and begins when the node listens; '
                        'rosbag2 plays all topics of the bag with ros2 bag play'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='true', choices=['true', 'false'],
            description='take the time from /clock, which the player publishes'),
    ]


def play(context):
    """Return the player, with the recording's topics turned into the node's."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    topics = {name: value(name) for name in NODE_TOPICS if value(name)}
    set_transports = [SetLaunchConfiguration(*TRANSPORTS[name]) for name, topic in topics.items()
                      if name in TRANSPORTS and topic.endswith(f'/{TRANSPORTS[name][1]}')]
    player = _own(value, topics) if value('player') == 'diffseg_play' else _rosbag(value, topics)
    return [*set_transports, player]


def _own(value, topics):
    names = [part for name, topic in topics.items()
             for part in (f'--{name.replace("_", "-")}', topic)]
    return Node(
        package='diffseg_ros', executable='diffseg_play', namespace=value('namespace'),
        output='screen', on_exit=end_launch_on_failure,
        remappings=[('/tf', 'tf'), ('/tf_static', 'tf_static')],
        arguments=[value('bag'), '--rate', value('rate'), '--clock', *names,
                   '--loop', '0' if value('loop') == 'true' else '1'])


def _rosbag(value, topics):
    namespace = value('namespace').strip('/')
    prefix = f'/{namespace}' if namespace else ''
    rules = []
    for name, own in NODE_TOPICS.items():
        topic = topics.get(name, f'/{own}')
        transport = TRANSPORTS.get(name, ('', '-'))[1]
        ending = f'/{transport}' if topic.endswith(f'/{transport}') else ''
        rules.append(f'{topic}:={prefix}/{own}{ending}')
    rules += [f'/{name}:={prefix}/{name}' for name in ('tf', 'tf_static')]
    return ExecuteProcess(
        cmd=['ros2', 'bag', 'play', value('bag'), '--rate', value('rate'), '--clock', '100',
             *(['--loop'] if value('loop') == 'true' else []), '--remap', *rules],
        output='screen', on_exit=end_launch_on_failure)


def generate_launch_description():
    """Return the node and the player; the node's own arguments hold here too."""
    return LaunchDescription([
        *declare_arguments(),
        DeclareLaunchArgument('namespace', default_value='',
                              description='namespace of the node, its topics and its /tf'),
        OpaqueFunction(function=play),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(SEGMENTATION))])
