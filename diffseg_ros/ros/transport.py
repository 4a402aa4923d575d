"""Where the package's configuration lies, and the transport profile that big messages need."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from diffseg_ros.errors import DiffsegError

PROFILE_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
_PACKAGE = 'diffseg_ros'


def config_file(name: str) -> Path:
    """
    Return a file of the package's `config` folder, in a source tree or installed.

    Raises
    ------
    DiffsegError
        It is in none of the places where installations put it.

    """
    places = list(_config_folders())
    for folder in places:
        if (folder / name).is_file():
            return folder / name
    raise DiffsegError(f'{name}: not found in {", ".join(map(str, places))}; install the '
                       'package again')


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


def _config_folders() -> list[Path]:
    package_root = Path(__file__).resolve().parents[2]
    share = Path('share', _PACKAGE, 'config')
    folders = [package_root / 'config']
    try:
        from ament_index_python.packages import get_package_share_directory
        folders.append(Path(get_package_share_directory(_PACKAGE), 'config'))
    except (ImportError, LookupError, OSError):
        # No index, or the package is not in it: installed by pip.
        pass
    # PREFIX/lib/python3.X/site-packages/diffseg_ros/ros/transport.py
    prefixes = [*package_root.parents[2:3], Path(sys.prefix)]
    return [*folders, *dict.fromkeys(prefix / share for prefix in prefixes)]
