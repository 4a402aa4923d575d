"""ROS parameters that mirror the settings of the node and of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from diffseg_ros.config import NodeConfig, PipelineConfig, RENAMED, with_new_names
from diffseg_ros.errors import DiffsegError
from diffseg_ros.parameter_file import all_parameters, constraints, OF_EVERY_NODE
from diffseg_ros.postprocessing.label_encoding import check_classes
from diffseg_ros.settings import nearest, Option, updated
import numpy as np
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

_INTEGERS = Parameter.Type.INTEGER, Parameter.Type.INTEGER_ARRAY
_FLOATS = Parameter.Type.DOUBLE, Parameter.Type.DOUBLE_ARRAY


class Parameters:
    """
    Declares every setting as a parameter; `node` and `pipeline` are the settings in force.

    `changed` is called after every accepted change. While `locked`, parameters that affect the
    model or the publishers may not change.

    Raises
    ------
    DiffsegError
        A value given at the start is of the wrong type or out of range.

    """

    def __init__(self, ros_node: Node, changed: Callable[[], None]) -> None:
        self.locked = False
        self.node, self.pipeline = NodeConfig(), PipelineConfig()
        self._ros_node = ros_node
        self._changed = changed
        self._options = {name: option for name, _, option in all_parameters()}
        given, warnings = with_new_names(_given_at_start(ros_node, [*self._options, *RENAMED]))
        for warning in warnings:
            ros_node.get_logger().warning(warning)
        self.node, self.pipeline = self._updated(given)
        for name, value, option in all_parameters(self.node, self.pipeline):
            ros_node.declare_parameter(name, list(value) if isinstance(value, tuple) else value,
                                       _descriptor(value, option), ignore_override=True)
        ros_node.add_pre_set_parameters_callback(self._integers_to_floats)
        ros_node.add_on_set_parameters_callback(self._check)
        ros_node.add_post_set_parameters_callback(self._apply)

    def _updated(self, values: Mapping[str, Any]) -> tuple[NodeConfig, PipelineConfig]:
        of_node = values.keys() & NodeConfig.model_fields.keys()
        node = updated(self.node, {name: values[name] for name in of_node})
        pipeline = updated(self.pipeline, {name: value for name, value in values.items()
                                           if name not in of_node})
        check_classes(node, pipeline)
        return node, pipeline

    def _integers_to_floats(self, parameters: list[Parameter[Any]]) -> list[Parameter[Any]]:
        """Accept `1` for `1.0`, as `ros2 param set` sends it."""
        return [Parameter(item.name, value=np.asarray(item.value, float).tolist())
                if item.type_ in _INTEGERS and self._ros_node.has_parameter(item.name)
                and self._ros_node.get_parameter(item.name).type_ in _FLOATS else item
                for item in parameters]

    def _check(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Accept a change as a whole, or refuse it with the reason."""
        values = self._settings(parameters)
        fixed = [name for name in values if self.locked and not self._options[name].live]
        if fixed:
            return SetParametersResult(successful=False, reason=(
                f'parameter {fixed[0]}: fixed while the node is configured; clean it up first '
                '(ros2 lifecycle set NODE cleanup)'))
        try:
            self._updated(values)
        except DiffsegError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter[Any]]) -> None:
        if values := self._settings(parameters):
            self.node, self.pipeline = self._updated(values)
            self._changed()

    def _settings(self, parameters: list[Parameter[Any]]) -> dict[str, Any]:
        return {item.name: _from_ros(item.value) for item in parameters
                if item.name in self._options}


def unknown_parameters(node: Node) -> list[str]:
    """Return the parameters given at the start that the node lacks, each with the nearest."""
    given = getattr(node, '_parameter_overrides', {})
    known = [name for name, _, _ in all_parameters()]
    return [f'{name} (the nearest are {", ".join(nearest(name, known))})'
            for name in sorted(given) if not node.has_parameter(name) and name not in RENAMED
            and name.split('.')[0] not in OF_EVERY_NODE]


def _given_at_start(node: Node, names: Iterable[str]) -> dict[str, Any]:
    """Return the values that the command line and parameter files give, of any type."""
    given = {}
    for name in names:
        value = node.declare_parameter(
            name, descriptor=ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(name)
        if value is not None:
            given[name] = _from_ros(value)
    return given


def _from_ros(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str, bytes)) else tuple(value)


def _descriptor(value: Any, option: Option) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=option.description, read_only=option.read_only,
        dynamic_typing=len({type(choice) for choice in option.choices}) > 1,
        additional_constraints='; '.join(constraints(value, option)))
    low, high = option.minimum, option.maximum
    if low is not None and high is not None:
        if isinstance(value, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif isinstance(value, int):
            descriptor.integer_range = [
                IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    return descriptor
