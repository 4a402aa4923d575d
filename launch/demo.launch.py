"""Show the node at work on a generated room: ros2 launch diffseg_ros demo.launch.py."""

from diffseg_ros.ros.launch_events import end_launch_on_failure
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('diffseg_ros')


def declare_arguments():
    """Return the arguments of the room, and other defaults for some of the node's."""
    return [
        DeclareLaunchArgument(
            'namespace', default_value='',
            description='namespace of the node, its topics and its /tf'),
        DeclareLaunchArgument(
            'frames', default_value='100',
            description='frames to render before the start; they are played in a loop at 10 Hz'),
        DeclareLaunchArgument(
            'seed', default_value='0', description='which room is rendered'),
        DeclareLaunchArgument(
            'params_file', default_value=PathJoinSubstitution([SHARE, 'config', 'demo.yaml']),
            description='ROS parameter file of the node'),
        DeclareLaunchArgument(
            'rviz', default_value='true', choices=['true', 'false'],
            description='show overlay, cloud and markers in RViz'),
        DeclareLaunchArgument(
            'fixed_frame', default_value='camera',
            description='fixed frame of RViz; map follows the camera where tf2_msgs is installed'),
    ]


def camera():
    """Return the camera that moves through the room."""
    return Node(
        package='diffseg_ros', executable='diffseg_play', output='screen',
        on_exit=end_launch_on_failure, namespace=LaunchConfiguration('namespace'),
        remappings=[('/tf', 'tf'), ('/tf_static', 'tf_static')],
        arguments=['--frames', LaunchConfiguration('frames'),
                   '--seed', LaunchConfiguration('seed'), '--loop', '0'])


def generate_launch_description():
    """Return camera and node; the node's own arguments hold here too."""
    return LaunchDescription([
        *declare_arguments(), camera(),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(
            PathJoinSubstitution([SHARE, 'launch', 'segmentation.launch.py'])))])
