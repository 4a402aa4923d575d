"""
ROS parameter files, read and written without ROS.

`python -m diffseg_ros.parameter_file > config/default.yaml` writes the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import os
from pathlib import Path
import re
import textwrap
from typing import Any
import warnings

from diffseg_ros.config import NodeConfig, PipelineConfig, with_new_names
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import flatten, Option, updated
import yaml

NODE_NAME = 'diffseg'
OF_EVERY_NODE = ('use_sim_time', 'start_type_description_service', 'qos_overrides')
"""First parts of the parameters that ROS itself gives every node."""


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
    values = settings_from_file(path)
    try:
        return updated(PipelineConfig(), pipeline_settings(values))
    except DiffsegError as error:
        raise DiffsegError(f'parameter file {path}: {error}') from error


def settings_from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the `node_settings` of a file; its name is in the DiffsegError of what is wrong."""
    document = read_parameter_file(path)
    try:
        return node_settings(document)
    except DiffsegError as error:
        raise DiffsegError(f'parameter file {path}: {error}') from error


def read_parameter_file(path: str | os.PathLike[str]) -> Any:
    """Return the YAML document in the file; raise DiffsegError if there is none to be read."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise DiffsegError(f'parameter file {path}: {error.strerror}; give the path of a YAML '
                           'file') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        tabs = '; indent with spaces, YAML allows no tabs' if r"'\t'" in reason else ''
        raise DiffsegError(f'parameter file {path}: no valid YAML: {reason}{tabs}') from error


def node_settings(document: Any, node: str | None = None) -> dict[str, Any]:
    """
    Return the values by dotted name that a parameter file's document gives a node.

    `node` is the full name, as in '/robot/diffseg'; None stands for `diffseg` in any namespace.
    What ROS itself gives every node is left out.

    Raises
    ------
    DiffsegError
        Nothing in the file is for the node; the message says what it holds and what to write.

    """
    wanted, values, others = node or NODE_NAME, {}, []
    sections = list(_sections(document))
    outside = [name for name, _ in _leaves(document if sections else {})
               if 'ros__parameters' not in name.split('.')]
    if outside:
        raise DiffsegError(f"{outside[0]} is not below a 'ros__parameters:'; move it there")
    for name, section in sections:
        if not _matches(name, node):
            others.append(name)
            continue
        if not isinstance(section or {}, dict):
            raise DiffsegError(f'section {name}: ros__parameters is no mapping; write one '
                               'NAME: VALUE a line below it')
        values.update({key: value for key, value in _leaves(section or {})
                       if key.split('.')[0] not in OF_EVERY_NODE})
    if values or (sections and not others):
        return values
    held = (f'its settings are for {", ".join(others)}' if others else 'it is empty'
            if document is None else "it has no 'ros__parameters:' below the name of a node")
    raise DiffsegError(f"no settings for the node {wanted}: {held}; write '/**:' or '{wanted}:', "
                       "below it 'ros__parameters:', and the settings below that")


def pipeline_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values without the node's own, by their new names; warn of old ones."""
    renamed, notes = with_new_names(values)
    for note in notes:
        warnings.warn(note, FutureWarning, stacklevel=3)
    return {name: value for name, value in renamed.items()
            if name not in NodeConfig.model_fields}


def _sections(document: Any, namespace: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the full name and the parameters of every node; namespaces may be nested keys."""
    for key, value in document.items() if isinstance(document, dict) else ():
        name = f'{namespace}/{str(key).strip("/")}'
        if isinstance(value, dict) and 'ros__parameters' in value:
            yield name, value['ros__parameters']
        else:
            yield from _sections(value, name)


def _matches(name: str, node: str | None) -> bool:
    """Return whether a section is for the node; `*` is one part of a name, `**` any number."""
    if node is None:
        return name.split('/')[-1] in ('**', '*', NODE_NAME)
    pattern = re.escape(name).replace(r'/\*\*', r'(/\w+)*').replace(r'\*', r'\w+')
    return re.fullmatch(pattern, node) is not None


def _leaves(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def all_parameters(node: NodeConfig | None = None, pipeline: PipelineConfig | None = None
                   ) -> Iterator[tuple[str, Any, Option]]:
    """Yield (dotted name, value, option) of every parameter of the node, the defaults if None."""
    yield from flatten(node or NodeConfig())
    yield from flatten(pipeline or PipelineConfig())


def constraints(value: Any, option: Option) -> list[str]:
    """Return in words what a parameter descriptor has no field for."""
    found = []
    if option.choices:
        found.append(f'one of {", ".join(option.choice_names)}')
    if isinstance(value, tuple) and option.minimum is not None:
        found.append(f'each from {option.minimum} to {option.maximum}')
    if option.read_only:
        found.append('only at the start')
    elif not option.live:
        found.append('fixed while the node is configured')
    return found


def default_parameters() -> str:
    """Return config/default.yaml: every parameter with its default and description."""
    lines = ['# Every parameter of the node with its default.', '/**:', '  ros__parameters:']
    open_sections: list[str] = []
    for name, value, option in all_parameters():
        *sections, key = name.split('.')
        for depth, section in enumerate(sections):
            if open_sections[:depth + 1] != sections[:depth + 1]:
                lines.append(f'{"  " * (depth + 2)}{section}:')
                open_sections = sections[:depth + 1]
        open_sections = sections
        indent = '  ' * (len(sections) + 2)
        notes = [option.description, *constraints(value, option)]
        if option.minimum is not None and not isinstance(value, tuple):
            notes.insert(1, f'{option.minimum} to {option.maximum}')
        lines += textwrap.wrap('; '.join(notes), 99, initial_indent=f'{indent}# ',
                               subsequent_indent=f'{indent}# ')
        lines.append(f'{indent}{key}: {_yaml(value)}')
    return '\n'.join(lines) + '\n'


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f'[{", ".join(map(_yaml, value))}]'
    return str(value).lower() if isinstance(value, bool) else repr(value)


if __name__ == '__main__':
    print(default_parameters(), end='')
