"""Where the package's configuration files lie, in a source tree or installed."""

from __future__ import annotations

from pathlib import Path
import sys

from diffseg_ros.errors import DiffsegError

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


def _config_folders() -> list[Path]:
    package_root = Path(__file__).resolve().parents[1]
    share = Path('share', _PACKAGE, 'config')
    folders = [package_root / 'config']
    try:
        from ament_index_python.packages import get_package_share_directory
        folders.append(Path(get_package_share_directory(_PACKAGE), 'config'))
    except (ImportError, LookupError, OSError):
        # No index, or the package is not in it: installed by pip.
        pass
    # PREFIX/lib/python3.X/site-packages/diffseg_ros/config_files.py
    prefixes = [*package_root.parents[2:3], Path(sys.prefix)]
    return [*folders, *dict.fromkeys(prefix / share for prefix in prefixes)]
