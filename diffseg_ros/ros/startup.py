"""How a process of this package joins ROS."""

from __future__ import annotations

from diffseg_ros.errors import DiffsegError
from diffseg_ros.ros.transport import use_large_message_profile
import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args


def own_arguments(arguments: list[str]) -> list[str]:
    """
    Return the arguments that are not for ROS.

    Raises
    ------
    DiffsegError
        Those for ROS are wrong.

    """
    try:
        return remove_ros_args(arguments)
    except RuntimeError as error:
        raise _described(error) from error


def join_ros(arguments: list[str]) -> None:
    """
    Start rclpy with the profile for large messages; signals are left to the caller.

    rclpy's own handlers would shut the context down before the last message is out.

    Raises
    ------
    DiffsegError
        The ROS arguments, or the environment that ROS reads, are wrong.

    """
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
