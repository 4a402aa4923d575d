"""Bring the segmentation node up: ros2 launch diffseg_ros segmentation.launch.py."""

import os

from diffseg_ros.config_files import load_profile, profile_names
from diffseg_ros.ros.startup import FAST_DDS_2, OLD_PROFILE_VARIABLE, PROFILE_VARIABLE
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

CONFIG = PathJoinSubstitution([FindPackageShare('diffseg_ros'), 'config'])
FOLLOW_NAMESPACE = [('/tf', 'tf'), ('/tf_static', 'tf_static')]
SHOWN = ('overlay', 'labels', 'points', 'markers')
SWITCH = ['true', 'false']


def declare_arguments():
    """Return the arguments, each with its meaning."""
    return [
        DeclareLaunchArgument(
            'namespace', default_value='',
            description='namespace of the node, its topics and its /tf'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=SWITCH,
            description='take the time from /clock, as with a simulator or a bag'),
        DeclareLaunchArgument(
            'params_file', default_value='',
            description='ROS parameter file of the node, over the profile; config/default.yaml '
                        'has all parameters'),
        DeclareLaunchArgument(
            'profile', default_value='none', choices=['none', *profile_names()],
            description='package that takes the outputs: sets parameters and topic names for it'),
        DeclareLaunchArgument(
            'image_transport', default_value='', choices=['', 'raw', 'compressed'],
            description='how the colour images come; empty leaves it to the parameter files'),
        DeclareLaunchArgument(
            'depth_transport', default_value='', choices=['', 'raw', 'compressedDepth'],
            description='how the depth images come; empty leaves it to the parameter files'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=SWITCH,
            description='configure and activate the node at once; otherwise a lifecycle '
                        'manager or ros2 lifecycle does'),
        DeclareLaunchArgument(
            'use_respawn', default_value='false', choices=SWITCH,
            description='start the node again, after 2 s, when its process dies'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='lowest severity that is logged'),
        DeclareLaunchArgument(
            'rviz', default_value='false', choices=SWITCH,
            description='show overlay, cloud and markers in RViz'),
        DeclareLaunchArgument(
            'fixed_frame', default_value='camera_color_optical_frame',
            description='fixed frame of RViz; the frame_id of the images needs no TF at all'),
    ]


def start(context):
    """Return the node and, if wanted, RViz; /tf follows the namespace."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    parameters, remappings = [], list(FOLLOW_NAMESPACE)
    if value('profile') != 'none':
        profile = load_profile(value('profile'))
        parameters.append(str(profile.parameter_file))
        remappings += profile.remaps
    if value('params_file'):
        parameters.append(value('params_file'))
    parameters.append({name: value(name) == 'true' for name in ('use_sim_time', 'autostart')})
    parameters.append({name: value(name) for name in ('image_transport', 'depth_transport')
                       if value(name)})
    node = Node(
        package='diffseg_ros', executable='diffseg_node', name='diffseg',
        namespace=value('namespace'), output='screen',
        parameters=[item for item in parameters if item], remappings=remappings,
        respawn=value('use_respawn') == 'true', respawn_delay=2.0,
        arguments=['--ros-args', '--log-level', value('log_level')])
    return [rviz(value), node] if value('rviz') == 'true' else [node]


def rviz(value):
    """Return RViz, its topics in the node's namespace."""
    topics = [(f'/diffseg/{name}', f'diffseg/{name}') for name in SHOWN]
    return Node(
        package='rviz2', executable='rviz2', name='rviz', namespace=value('namespace'),
        output='screen', remappings=[*FOLLOW_NAMESPACE, *topics],
        parameters=[{'use_sim_time': value('use_sim_time') == 'true'}],
        arguments=['-d', PathJoinSubstitution([CONFIG, 'diffseg.rviz']),
                   '-f', value('fixed_frame')])


def transport_profile():
    """Return what gives every process the profile for large images, unless the user has one."""
    if os.environ.get(OLD_PROFILE_VARIABLE):
        return []
    own = os.environ.get(PROFILE_VARIABLE)
    profile = own or PathJoinSubstitution([CONFIG, 'fastdds.xml'])
    names = [] if own else [PROFILE_VARIABLE]
    if os.environ.get('ROS_DISTRO') in FAST_DDS_2:
        names.append(OLD_PROFILE_VARIABLE)
    return [SetEnvironmentVariable(name, profile) for name in names]


def generate_launch_description():
    """Return the description, with the transport profile that large images need."""
    return LaunchDescription([
        *declare_arguments(), *transport_profile(), OpaqueFunction(function=start)])
