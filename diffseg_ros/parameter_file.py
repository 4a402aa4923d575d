"""
ROS parameter files, read and written without ROS.

`python -m diffseg_ros.parameter_file > config/default.yaml` writes the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
import os
from pathlib import Path
import textwrap
from typing import Any
import warnings

from diffseg_ros.config import NodeConfig, PipelineConfig, with_new_names
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import flatten, Option, updated
import yaml

NODE_NAME = 'diffseg'
_ROS_OWN = ('use_sim_time', 'start_type_description_service', 'qos_overrides')


def pipeline_config_from_file(path: str | os.PathLike[str]) -> PipelineConfig:
    """
    Return the pipeline's settings of an ordinary ROS parameter file.

    Sections for all nodes (`/**`) and for the node `diffseg`, in any namespace, count, in the
    order of the file; names may be nested or dotted. Settings of the node itself are skipped. An
    old name is accepted with a FutureWarning.

    Raises
    ------
    DiffsegError
        The file cannot be read, or a name or value in it is wrong.

    """
    path = Path(path)
    values: dict[str, Any] = {}
    for section in _sections(path):
        for name, value in _leaves(section):
            if name.split('.')[0] not in _ROS_OWN:
                values[name] = value
    try:
        return updated(PipelineConfig(), pipeline_settings(values))
    except (DiffsegError, TypeError) as error:
        raise DiffsegError(f'parameter file {path}: {error}') from error


def pipeline_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without the node's own, by their new names; warn of old ones."""
    renamed, notes = with_new_names(values)
    for note in notes:
        warnings.warn(note, FutureWarning, stacklevel=3)
    return {name: value for name, value in renamed.items()
            if name not in NodeConfig.model_fields}


def _sections(path: Path) -> Iterator[dict[str, Any]]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise DiffsegError(f'parameter file {path}: {error.strerror}; give the path of a YAML '
                           'file') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise DiffsegError(f'parameter file {path}: no valid YAML: {reason}') from error
    try:
        sections = list(_node_sections(document)) if isinstance(document, dict) else []
    except DiffsegError as error:
        raise DiffsegError(f'parameter file {path}: {error}') from error
    if not sections:
        raise DiffsegError(f'parameter file {path}: no settings for the node {NODE_NAME}; put '
                           f"them under '/**:' or '{NODE_NAME}:', 'ros__parameters:'")
    yield from sections


def _node_sections(document: Mapping[str, Any], namespace: str = '') -> Iterator[dict[str, Any]]:
    """Yield the parameters of every matching node; namespaces may be nested keys."""
    for key, value in document.items():
        if not isinstance(value, dict):
            continue
        name = f'{namespace}/{str(key).strip("/")}'
        if 'ros__parameters' in value:
            if name.split('/')[-1] in ('**', '*', NODE_NAME):
                section = value['ros__parameters'] or {}
                if not isinstance(section, dict):
                    raise DiffsegError(f'section {name}: ros__parameters is no mapping; write '
                                       'one NAME: VALUE a line below it')
                yield section
        else:
            yield from _node_sections(value, name)


def _leaves(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def default_parameters() -> str:
    """Return config/default.yaml: every parameter with its default and description."""
    lines = ['# Every parameter of the node with its default.', '/**:', '  ros__parameters:']
    open_sections: list[str] = []
    for name, value, option in chain(flatten(NodeConfig()), flatten(PipelineConfig())):
        *sections, key = name.split('.')
        for depth, section in enumerate(sections):
            if open_sections[:depth + 1] != sections[:depth + 1]:
                lines.append(f'{"  " * (depth + 2)}{section}:')
                open_sections = sections[:depth + 1]
        open_sections = sections
        indent = '  ' * (len(sections) + 2)
        lines += textwrap.wrap(_comment(option), 99, initial_indent=f'{indent}# ',
                               subsequent_indent=f'{indent}# ')
        lines.append(f'{indent}{key}: {_scalar(value)}')
    return '\n'.join(lines) + '\n'


def _comment(option: Option) -> str:
    notes = [option.description]
    if option.choices:
        notes.append(f'one of {", ".join(option.choices)}')
    if option.minimum is not None:
        notes.append(f'{option.minimum} to {option.maximum}')
    if option.read_only:
        notes.append('only at the start')
    elif not option.live:
        notes.append('fixed while configured')
    return '; '.join(notes)


def _scalar(value: Any) -> str:
    if isinstance(value, tuple):
        return f'[{", ".join(map(_scalar, value))}]'
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


if __name__ == '__main__':
    print(default_parameters(), end='')
