"""Binds a `NodeConfig` dataclass to a node's ROS parameters."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from magma_common.config import ConfigError, NodeConfig, ParameterInfo, element_type, parameter_info

ConfigT = TypeVar("ConfigT", bound=NodeConfig)

_DECLARED_BY_RCLPY = ("use_sim_time", "start_type_description_service")
_PREFIXES_OF_RCLPY = ("qos_overrides.",)
_INT64_MAX = 2**63 - 1


class NodeParameters(Generic[ConfigT]):
    """A node's configuration and its ROS parameters, kept equal.

    Declares one parameter per field, with description and range. A parameter given on the command line or in a YAML
    file that is no field is an error, as is a value out of range: a misspelt limit must not fall back to its default.
    A value set while the node runs is checked together with all others before it is accepted.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`; that is how rclpy tells
    which parameters were given from outside.
    """

    def __init__(
        self, node: Node, config_type: type[ConfigT], on_change: Callable[[ConfigT], None] | None = None
    ) -> None:
        """
        Args:
            node: the node that owns the parameters.
            config_type: a frozen dataclass derived from NodeConfig; it must be constructible without arguments.
            on_change: called with the new configuration after a successful change, from the executor's thread.

        Raises:
            ConfigError: unknown parameter, or a value that is not allowed.
        """
        self._on_change = on_change
        self._types = typing.get_type_hints(config_type)
        self._fixed = {item.name for item in dataclasses.fields(config_type) if parameter_info(item).read_only}
        given = {
            name: parameter.value
            for name, parameter in node.get_parameters_by_prefix("").items()
            if name not in _DECLARED_BY_RCLPY and not name.startswith(_PREFIXES_OF_RCLPY)
        }
        fields = {item.name: item for item in dataclasses.fields(config_type)}
        try:
            self._config = config_type.from_mapping(
                {name: _plain(value, self._types.get(name)) for name, value in given.items()}
            )
        except ConfigError as error:
            raise ConfigError(f"node {node.get_name()}: {error}") from None
        for name in given:
            node.undeclare_parameter(name)
        for name, item in fields.items():
            node.declare_parameter(
                name,
                _ros_value(getattr(self._config, name), self._types[name]),
                _descriptor(name, self._types[name], parameter_info(item)),
                ignore_override=True,
            )
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def config(self) -> ConfigT:
        """The configuration in force."""
        return self._config

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changes = {
            parameter.name: _plain(parameter.value, self._types.get(parameter.name))
            for parameter in parameters
            if parameter.name not in _DECLARED_BY_RCLPY
        }
        if not changes:
            return SetParametersResult(successful=True)
        fixed = sorted(self._fixed & set(changes))
        if fixed:
            return SetParametersResult(successful=False, reason=f"fixed while the node runs: {', '.join(fixed)}")
        try:
            self._config = self._config.replace(changes)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._on_change is not None:
            self._on_change(self._config)
        return SetParametersResult(successful=True)


def _plain(value: Any, kind: Any) -> Any:
    """The parameter's value as the dataclass wants it: arrays as tuples; an empty list has no type in YAML."""
    if kind is not None and element_type(kind)[1] and value is not None and not isinstance(value, (str, bytes)):
        return tuple(value) if hasattr(value, "__iter__") else value
    return value


_ARRAY_TYPES = {
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


def _ros_value(value: Any, kind: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    # rclpy takes an empty list for a list of bytes, so an empty one is declared by its type, without a value.
    return list(value) if value else _ARRAY_TYPES[element_type(kind)[0]]


def _descriptor(name: str, kind: Any, info: ParameterInfo) -> ParameterDescriptor:
    scalar, _ = element_type(kind)
    descriptor = ParameterDescriptor(name=name, description=info.description, read_only=info.read_only)
    if info.choices:
        descriptor.additional_constraints = "one of: " + ", ".join(info.choices)
    if info.minimum is None and info.maximum is None:
        return descriptor
    # ROS checks a range on scalars only; the members of a tuple are checked by the dataclass.
    if kind is float:
        low = float("-inf") if info.minimum is None else float(info.minimum)
        high = float("inf") if info.maximum is None else float(info.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
    elif kind is int:
        low_int = -_INT64_MAX if info.minimum is None else int(info.minimum)
        high_int = _INT64_MAX if info.maximum is None else int(info.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low_int, to_value=high_int, step=0)]
    elif scalar in (int, float):
        descriptor.additional_constraints = f"each value from {info.minimum} to {info.maximum}"
    return descriptor
