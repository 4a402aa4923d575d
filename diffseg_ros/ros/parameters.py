"""ROS parameters that mirror the settings of the node and of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from diffseg_ros.config import flatten, Option, PipelineConfig, updated
from diffseg_ros.errors import DiffsegError
from diffseg_ros.node_config import flatten_node, NodeConfig, updated_node
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter


class Parameters:
    """Declares every setting on a node and keeps the valid configurations they amount to."""

    def __init__(self, node: Node, changed: Callable[[], None]) -> None:
        """
        Declare all parameters; `changed` is called after a change was accepted.

        Raises
        ------
        DiffsegError
            A value given at the start is of the wrong type or out of range.

        """
        self._changed = changed
        self._options: dict[str, Option] = {}
        self.locked = False
        self.node = NodeConfig()
        self.pipeline = PipelineConfig()
        values = {}
        for name, default, option in chain(flatten_node(self.node), flatten(self.pipeline)):
            self._options[name] = option
            values[name] = _declare(node, name, default, option)
        self.node, self.pipeline = self._updated(values)
        node.add_on_set_parameters_callback(self._on_set)

    def _updated(self, values: Mapping[str, Any]) -> tuple[NodeConfig, PipelineConfig]:
        own = {name for name, _, _ in flatten_node(self.node)}
        return (updated_node(self.node, {name: value for name, value in values.items()
                                         if name in own}),
                updated(self.pipeline, {name: value for name, value in values.items()
                                        if name in self._options and name not in own}))

    def _on_set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Accept a change as a whole or refuse it with the reason."""
        values = {item.name: item.value for item in parameters if item.name in self._options}
        fixed = [name for name in values if self.locked and not self._options[name].live]
        if fixed:
            return SetParametersResult(successful=False, reason=(
                f'parameter {fixed[0]}: fixed while the node is configured; clean it up first '
                '(ros2 lifecycle set NODE cleanup)'))
        try:
            configs = self._updated(values)
        except (DiffsegError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        if values:
            self.node, self.pipeline = configs
            self._changed()
        return SetParametersResult(successful=True)


def _declare(node: Node, name: str, default: Any, option: Option) -> Any:
    value = list(default) if isinstance(default, tuple) else default
    try:
        return node.declare_parameter(name, value, describe(default, option)).value
    except ParameterException as error:
        raise DiffsegError(str(error)) from error


def describe(default: Any, option: Option) -> ParameterDescriptor:
    """Return the descriptor of a setting: meaning, range or choices, when it may change."""
    constraints = []
    if option.choices:
        constraints.append(f'one of {", ".join(option.choices)}')
    if not option.live:
        constraints.append('fixed while the node is configured')
    descriptor = ParameterDescriptor(description=option.description,
                                     additional_constraints='; '.join(constraints))
    if option.minimum is None or option.maximum is None:
        return descriptor
    kind = type(default)
    if kind is float:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=option.minimum, to_value=option.maximum, step=0.0)]
    elif kind is int:
        descriptor.integer_range = [
            IntegerRange(from_value=int(option.minimum), to_value=int(option.maximum), step=1)]
    return descriptor
