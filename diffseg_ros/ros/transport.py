"""The transport profile that big messages need."""

from __future__ import annotations

import os
from pathlib import Path

from diffseg_ros.config_files import config_file

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'


def use_large_message_profile() -> Path | None:
    """
    Point Fast DDS at the package's profile, unless the user chose one.

    Takes effect for participants made afterwards: call it before `rclpy.init`. Returns the
    profile that was set, None where the user's own stays.
    """
    if os.environ.get(PROFILE_VARIABLE):
        return None
    profile = config_file('fastdds.xml')
    os.environ[PROFILE_VARIABLE] = str(profile)
    return profile
