"""How a process of this package joins ROS; imported without ROS by launch files."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
import re
import shlex

from diffseg_ros.config_files import config_file
from diffseg_ros.errors import DiffsegError

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""The variable of Fast DDS 2; Fast DDS 3 reads it too, with a warning."""
FAST_DDS_2 = ('humble', 'iron', 'jazzy')
"""ROS distributions with Fast DDS 2."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_ROS_OPTIONS = ('-r', '--remap', '-p', '--param', '--params-file', '--log-level',
                '--enclave', '--log-config-file')


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


def keep_freed_memory() -> None:
    """
    Let glibc keep up to 256 MiB that is freed, for the whole process; no effect elsewhere.

    Images come and go many times a frame. Where they return to the kernel, new pages take about
    a tenth of the time of tracking.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if os.name == 'posix' else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**28)
        mallopt(_MMAP_THRESHOLD, 2**25)


def own_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments that are not for ROS; raise DiffsegError if those for ROS are wrong."""
    from rclpy.utilities import remove_ros_args

    try:
        return remove_ros_args(arguments)
    except RuntimeError as error:
        raise _described(error) from error


def check_ros_arguments(program: str, words: list[str]) -> None:
    """
    Refuse arguments for ROS that stand before --ros-args.

    Raises
    ------
    DiffsegError
        There are some, perhaps as ROS 1 or a launch file has them; the message gives the command
        line that was meant.

    """
    end = words.index('--ros-args') if '--ros-args' in words else len(words)
    own = next((place for place, word in enumerate(words[:end])
                if word in _ROS_OPTIONS or ':=' in word), end)
    meant: list[str] = []
    for before, word in zip(['', *words[own:end]], words[own:end]):
        meant += [word] if before in _ROS_OPTIONS or ':=' not in word else _as_ros_2(word)
    if meant:
        line = shlex.join([program, *words[:own], '--ros-args', *meant, *words[end + 1:]])
        raise DiffsegError(f'arguments for ROS follow --ros-args; write: {line}')


def _as_ros_2(assignment: str) -> list[str]:
    """Return what `NAME:=VALUE` without an option means: a parameter or a remapping."""
    from diffseg_ros.parameter_file import all_parameters, OF_EVERY_NODE

    name, value = assignment.split(':=', 1)
    known = {parameter for parameter, _, _ in all_parameters()}
    if name.startswith('_') and not name.startswith('__'):
        return ['-p', assignment[1:]]
    if name in known or name.split('.')[0] in OF_EVERY_NODE:
        return ['-p', assignment]
    if name == '__params':
        return ['--params-file', value]
    return ['-r', f'__node:={value}' if name == '__name' else assignment]


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
    # Where in its sources rcl found it helps nobody.
    reason = re.sub(r',? at \S+\.c:\d+', '', ' '.join(str(error).split()))
    if type(error).__name__ == 'UnknownROSArgsError':
        return DiffsegError(f'unknown arguments after --ros-args: {reason}; -r OLD:=NEW, '
                            '-p NAME:=VALUE, --params-file FILE and --log-level LEVEL are known')
    hint = '; write -r OLD:=NEW' if 'remap rule' in reason else ''
    return DiffsegError(f'{reason}{hint}')
