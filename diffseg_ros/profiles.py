"""Ready settings for the packages that consume the node's outputs, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffseg_ros.config_files import config_file
from diffseg_ros.errors import DiffsegError
import yaml

_FOLDER = 'profiles'
_REMAPS = '.remaps.yaml'


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

    def ros_arguments(self) -> list[str]:
        """Return what follows `--ros-args` on the node's command line."""
        rules = [part for source, target in self.remaps for part in ('-r', f'{source}:={target}')]
        return ['--params-file', str(self.parameter_file), *rules]


def profile_names() -> list[str]:
    """Return the names of the profiles that come with the package, sorted."""
    folder = config_file(f'{_FOLDER}/nav2.yaml').parent
    return sorted(path.stem for path in folder.glob('*.yaml') if not path.name.endswith(_REMAPS))


def load_profile(name: str) -> Profile:
    """
    Return the profile `name`: `config/profiles/NAME.yaml` with `NAME.remaps.yaml`.

    Raises
    ------
    DiffsegError
        There is no such profile, or its remaps cannot be read.

    """
    names = profile_names()
    if name not in names:
        raise DiffsegError(f'profile {name!r}: unknown; choose one of {", ".join(names)}')
    path = config_file(f'{_FOLDER}/{name}{_REMAPS}')
    try:
        remaps = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        reason = ' '.join(str(error).split())
        raise DiffsegError(f'profile {name}: {path} cannot be read: {reason}') from error
    if not isinstance(remaps, dict) or not all(
            isinstance(part, str) for pair in remaps.items() for part in pair):
        raise DiffsegError(f'profile {name}: {path} must hold one FROM: TO a line, both of them '
                           'topic names')
    return Profile(name, config_file(f'{_FOLDER}/{name}.yaml'), tuple(remaps.items()))
