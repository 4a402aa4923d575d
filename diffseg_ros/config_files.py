"""The package's configuration files, and the profiles for consumers of the node's outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import sys

from diffseg_ros.errors import DiffsegError
import yaml

_PACKAGE = 'diffseg_ros'
_REMAPS = '.remaps.yaml'


def config_file(name: str) -> Path:
    """
    Return a file of the package's `config` folder, in a source tree or installed.

    Raises
    ------
    DiffsegError
        It is in none of the places where installations put it.

    """
    folders = _config_folders()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise DiffsegError(f'{name}: not found in {", ".join(map(str, folders))}; install the '
                       'package again')


@dataclass(frozen=True)
class Profile:
    """
    What makes the node feed one consumer unchanged.

    Attributes
    ----------
    parameter_file
        An ordinary ROS parameter file; it goes after the defaults and before the user's own.
    remaps
        (from, to) of every topic that the consumer knows by another name, as
        `-r FROM:=TO` or the `remappings` of a launch file take them.

    """

    name: str
    parameter_file: Path
    remaps: tuple[tuple[str, str], ...]


def profile_names() -> list[str]:
    """Return the names of the profiles that come with the package, sorted."""
    folder = config_file('profiles/nav2.yaml').parent
    return sorted(path.stem for path in folder.glob('*.yaml') if not path.name.endswith(_REMAPS))


def load_profile(name: str) -> Profile:
    """
    Return the profile `name`: `config/profiles/NAME.yaml` with `NAME.remaps.yaml`.

    Raises
    ------
    DiffsegError
        There is no such profile, or its remaps cannot be read.

    """
    if name not in profile_names():
        raise DiffsegError(f'profile {name!r}: unknown; choose one of '
                           f'{", ".join(profile_names())}')
    path = config_file(f'profiles/{name}{_REMAPS}')
    try:
        remaps = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (OSError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DiffsegError(f'profile {name}: {path} cannot be read: {reason}') from error
    if not isinstance(remaps, dict) or not all(
            isinstance(part, str) for pair in remaps.items() for part in pair):
        raise DiffsegError(f'profile {name}: {path} must hold one FROM: TO a line, both of them '
                           'topic names')
    return Profile(name, config_file(f'profiles/{name}.yaml'), tuple(remaps.items()))


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
