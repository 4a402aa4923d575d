"""Modules named `launch` and `launch_ros` that only record what a launch file builds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import importlib.util
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

CLASSES = {
    'launch': ['LaunchDescription'],
    'launch.actions': ['DeclareLaunchArgument', 'ExecuteProcess', 'IncludeLaunchDescription',
                       'OpaqueFunction', 'SetEnvironmentVariable', 'SetLaunchConfiguration'],
    'launch.launch_description_sources': ['PythonLaunchDescriptionSource'],
    'launch.substitutions': ['LaunchConfiguration', 'PathJoinSubstitution'],
    'launch_ros': [],
    'launch_ros.actions': ['Node'],
    'launch_ros.substitutions': ['FindPackageShare']}


class Recorded:
    """An action or substitution: the name of its class and what it was made with."""

    def __init__(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.kind = kind
        self.arguments = arguments
        self.options = options

    def perform(self, context: SimpleNamespace) -> str:
        """Return the value of a LaunchConfiguration, or the tail of a path."""
        if self.kind == 'LaunchConfiguration':
            return context.values[self.arguments[0]]
        parts = self.arguments[0] if self.kind == 'PathJoinSubstitution' else self.arguments
        return '/'.join(part if isinstance(part, str) else part.perform(context)
                        for part in parts)


def _recording(kind: str) -> Any:
    return lambda *arguments, **options: Recorded(kind, arguments, options)


@contextmanager
def stand_in() -> Iterator[None]:
    """Put the modules into place."""
    modules = {}
    for name, classes in CLASSES.items():
        modules[name] = ModuleType(name)
        for kind in classes:
            setattr(modules[name], kind, _recording(kind))
    with mock.patch.dict(sys.modules, modules):
        yield


class Launched:
    """
    A launch file with its arguments filled in.

    Attributes
    ----------
    declared
        Options of every argument by its name.
    actions
        What is started or set, in order.

    """

    def __init__(self, path: Path, **values: str) -> None:
        with stand_in():
            specification = importlib.util.spec_from_file_location('a_launch_file', path)
            module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
            entities = module.generate_launch_description().arguments[0]
            self.declared = {item.arguments[0]: item.options for item in entities
                             if item.kind == 'DeclareLaunchArgument'}
            self.context = SimpleNamespace(values=dict(values))
            for name, options in self.declared.items():
                default = options.get('default_value', '')
                self.context.values.setdefault(name, self.text(default))
            self.actions = []
            for item in entities:
                if item.kind == 'OpaqueFunction':
                    self.actions += item.options['function'](self.context)
                elif item.kind != 'DeclareLaunchArgument':
                    self.actions.append(item)

    def text(self, value: Any) -> Any:
        """Return a value with its substitutions carried out."""
        return value.perform(self.context) if isinstance(value, Recorded) else value

    def named(self, kind: str) -> list[Recorded]:
        """Return the actions of a class."""
        return [item for item in self.actions if item.kind == kind]

    def node(self, executable: str) -> dict[str, Any]:
        """Return the options of the one node with this executable."""
        found, = [item.options for item in self.named('Node')
                  if item.options['executable'] == executable]
        return found
