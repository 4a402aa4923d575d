"""The transport profile that big messages need."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.config_files import config_file

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
OLD_PROFILE_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
"""What Fast DDS 2 reads; with Fast DDS 3 it still works, with a warning."""
FAST_DDS_2 = ('humble', 'iron', 'jazzy')
"""ROS distributions that come with Fast DDS 2."""


def use_large_message_profile() -> Path | None:
    """
    Point Fast DDS at the package's profile, unless the user chose one.

    Takes effect for participants made afterwards: call it before `rclpy.init`. Returns the
    profile that was set, None where the user's own stays.
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
