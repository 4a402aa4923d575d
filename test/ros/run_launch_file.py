"""Does what `ros2 launch` does, without ros2cli: FILE name:=value..., until SIGINT."""

from __future__ import annotations

import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

if __name__ == '__main__':
    arguments = [tuple(word.split(':=', 1)) for word in sys.argv[2:]]
    service = LaunchService(argv=sys.argv[2:])
    service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)]))
    sys.exit(service.run())
