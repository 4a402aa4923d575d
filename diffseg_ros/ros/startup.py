"""How a process of this package joins ROS; imported without ROS by launch files."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.config_files import config_file
from diffseg_ros.errors import DiffsegError

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""The variable of Fast DDS 2; Fast DDS 3 reads it too, with a warning."""
FAST_DDS_2 = ('humble', 'iron', 'jazzy')
"""ROS distributions with Fast DDS 2."""


def use_large_message_profile() -> Path | None:
    """
    Let Fast DDS use the package's profile for large messages, unless the user chose another.

    It holds for participants created afterwards. Returns the profile that was set, or None.
    """
    if os.environ.get(OLD_PROFILE_VARIABLE):
        return None
    profile = None
    if not os.environ.get(PROFILE_VARIABLE):
        profile = config_file('fastdds.xml')
        os.environ[PROFILE_VARIABLE] = str(profile)
    if os.environ.get('ROS_DISTRO') in FAST_DDS_2:
        os.environ[OLD_PROFILE_VARIABLE] = os.environ[PROFILE_VARIABLE]
    return profile


def own_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments that are not for ROS; raise DiffsegError if those for ROS are wrong."""
    from rclpy.utilities import remove_ros_args

    try:
        return remove_ros_args(arguments)
    except RuntimeError as error:
        raise _described(error) from error


def join_ros(arguments: list[str]) -> None:
    """
    Start rclpy with the profile for large messages.

    Signals are left to the caller: rclpy's own handlers would shut the context down before the
    last message is sent.

    Raises
    ------
    DiffsegError
        The ROS arguments, or the environment that ROS reads, are wrong.

    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    use_large_message_profile()
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise _described(error) from error


def _described(error: RuntimeError) -> DiffsegError:
    reason = ' '.join(str(error).split())
    if type(error).__name__ == 'UnknownROSArgsError':
        return DiffsegError(f'unknown arguments after --ros-args: {reason}; -r OLD:=NEW, '
                            '-p NAME:=VALUE, --params-file FILE and --log-level LEVEL are known')
    return DiffsegError(reason)
