"""ROS parameters that mirror the settings of the node and of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from diffseg_ros.config import NodeConfig, PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import flatten, Option, updated
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

_OF_ROS = ('use_sim_time', 'start_type_description_service', 'qos_overrides')


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
        self._floats: set[str] = set()
        self.locked = False
        self.node = NodeConfig()
        self.pipeline = PipelineConfig()
        values = {}
        for name, default, option in chain(flatten(self.node), flatten(self.pipeline)):
            self._options[name] = option
            if isinstance(default, float) or isinstance(default, tuple) and isinstance(
                    default[0], float):
                self._floats.add(name)
            values[name] = _declare(node, name, default, option)
        self.node, self.pipeline = self._updated(values)
        node.add_pre_set_parameters_callback(self._with_floats)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _updated(self, values: Mapping[str, Any]) -> tuple[NodeConfig, PipelineConfig]:
        own = NodeConfig.model_fields
        return (updated(self.node, {name: value for name, value in values.items()
                                         if name in own}),
                updated(self.pipeline, {name: value for name, value in values.items()
                                        if name in self._options and name not in own}))

    def _with_floats(self, parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
        """Take `1` for `1.0`, as `ros2 param set` sends it."""
        return [Parameter(item.name, value=_floats(item.value))
                if item.name in self._floats and _holds_integers(item.value) else item
                for item in parameters]

    def _check(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Accept a change as a whole or refuse it with the reason."""
        values = self._of_ours(parameters)
        fixed = [name for name in values if self.locked and not self._options[name].live]
        if fixed:
            return SetParametersResult(successful=False, reason=(
                f'parameter {fixed[0]}: fixed while the node is configured; clean it up first '
                '(ros2 lifecycle set NODE cleanup)'))
        try:
            self._updated(values)
        except (DiffsegError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter[Any]]) -> None:
        if values := self._of_ours(parameters):
            self.node, self.pipeline = self._updated(values)
            self._changed()

    def _of_ours(self, parameters: list[Parameter[Any]]) -> dict[str, Any]:
        return {item.name: item.value for item in parameters if item.name in self._options}


def unknown_overrides(node: Node) -> list[str]:
    """Return the parameters given at the start that the node does not have."""
    overrides = getattr(node, '_parameter_overrides', {})
    return sorted(name for name in overrides
                  if not node.has_parameter(name) and name.split('.')[0] not in _OF_ROS)


def _declare(node: Node, name: str, default: Any, option: Option) -> Any:
    value = list(default) if isinstance(default, tuple) else default
    descriptor = describe(default, option)
    try:
        return node.declare_parameter(name, value, descriptor).value
    except InvalidParameterTypeException as error:
        given = _override(node, name)
        if not (_holds_integers(given) and type(_floats(given)) is type(value)):
            raise DiffsegError(f'parameter {name}: got {given!r}; {type(value).__name__} is '
                               'needed') from error
        try:
            return node.declare_parameter(name, _floats(given), describe(default, option),
                                          ignore_override=True).value
        except ParameterException as wrong:
            raise DiffsegError(str(wrong)) from wrong
    except ParameterException as error:
        raise DiffsegError(str(error)) from error


def _holds_integers(value: Any) -> bool:
    values = [value] if isinstance(value, (int, float, str)) or value is None else list(value)
    return bool(values) and all(type(part) is int for part in values)


def _floats(value: Any) -> float | list[float]:
    return float(value) if isinstance(value, int) else [float(part) for part in value]


def _override(node: Node, name: str) -> Any:
    """Return the value given at the start, whatever its type."""
    value = node.declare_parameter(
        name, descriptor=ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(name)
    return value


def describe(default: Any, option: Option) -> ParameterDescriptor:
    """Return the descriptor of a setting: meaning, range or choices, when it may change."""
    constraints = []
    if option.choices:
        constraints.append(f'one of {", ".join(option.choices)}')
    if isinstance(default, tuple) and option.minimum is not None:
        constraints.append(f'each from {option.minimum} to {option.maximum}')
    if option.read_only:
        constraints.append('only at the start')
    elif not option.live:
        constraints.append('fixed while the node is configured')
    descriptor = ParameterDescriptor(
        description=option.description, read_only=option.read_only,
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
