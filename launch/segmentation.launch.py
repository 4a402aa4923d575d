"""Bring the segmentation node up: ros2 launch diffseg_ros segmentation.launch.py."""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

CONFIG = PathJoinSubstitution([FindPackageShare('diffseg_ros'), 'config'])
PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'


def declare_arguments():
    """Return the arguments, each with its meaning."""
    return [
        DeclareLaunchArgument(
            'namespace', default_value='',
            description='namespace of the node, its topics and its /tf'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', choices=['true', 'false'],
            description='take the time from /clock, as with a simulator or a bag'),
        DeclareLaunchArgument(
            'params_file', default_value=PathJoinSubstitution([CONFIG, 'default.yaml']),
            description='ROS parameter file of the node'),
        DeclareLaunchArgument(
            'autostart', default_value='true', choices=['true', 'false'],
            description='configure and activate the node at once; otherwise a lifecycle '
                        'manager or ros2 lifecycle does'),
        DeclareLaunchArgument(
            'use_respawn', default_value='false', choices=['true', 'false'],
            description='start the node again when its process dies'),
        DeclareLaunchArgument(
            'log_level', default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='lowest severity that is logged'),
    ]


def segmentation_node():
    """Return the node; /tf follows the namespace."""
    return Node(
        package='diffseg_ros', executable='diffseg_node', name='diffseg',
        namespace=LaunchConfiguration('namespace'), output='screen',
        parameters=[
            LaunchConfiguration('params_file'),
            {'use_sim_time': ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool),
             'autostart': ParameterValue(LaunchConfiguration('autostart'), value_type=bool)}],
        remappings=[('/tf', 'tf'), ('/tf_static', 'tf_static')],
        respawn=LaunchConfiguration('use_respawn'), respawn_delay=2.0,
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')])


def generate_launch_description():
    """Return the description, with the transport profile that large images need."""
    profile = [] if os.environ.get(PROFILE_VARIABLE) else [SetEnvironmentVariable(
        PROFILE_VARIABLE, PathJoinSubstitution([CONFIG, 'fastdds.xml']))]
    return LaunchDescription([*declare_arguments(), *profile, segmentation_node()])
