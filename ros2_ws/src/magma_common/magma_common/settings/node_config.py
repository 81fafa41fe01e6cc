"""Binds a `NodeConfig` dataclass to a node's ROS parameters."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from magma_common.settings.config import HIGHER, NodeConfig, ParameterInfo, element_type, loosens, parameter_info
from magma_contracts.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound=NodeConfig)

_DECLARED_BY_RCLPY = ("use_sim_time", "start_type_description_service")
_PREFIXES_OF_RCLPY = ("qos_overrides.",)
_INT64_MAX = 2**63 - 1


class NodeParameters(Generic[ConfigT]):
    """A node's configuration and its ROS parameters, kept equal.

    Declares one parameter per field, with description and range. A parameter given on the command line or in a YAML
    file that is no field is an error, as is a value out of range: a misspelt limit must not fall back to its default.
    A value set while the node runs is checked together with all others before it is accepted. Anybody in the graph can
    set one, so a limit moves in its tighter direction only, and each change is in the log; see `locked` for nodes which
    can be brought to rest.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`; that is how rclpy tells
    which parameters were given from outside.
    """

    def __init__(
        self,
        node: Node,
        config_type: type[ConfigT],
        on_change: Callable[[ConfigT], None] | None = None,
        locked: Callable[[], str] | None = None,
    ) -> None:
        """
        Args:
            node: the node that owns the parameters.
            config_type: a frozen dataclass derived from NodeConfig; it must be constructible without arguments.
            on_change: called with the new configuration after a successful change, from the executor's thread.
            locked: for a node that can be brought to rest: while it works, what to do to bring it to rest (one
                sentence); then a parameter that is no limit does not change at all. Empty while it rests; then
                everything may change.

        Raises:
            ConfigError: unknown parameter, or a value that is not allowed.
        """
        self._node = node
        self._on_change = on_change
        self._locked = locked
        self._infos = {item.name: parameter_info(item) for item in dataclasses.fields(config_type)}
        self._types = typing.get_type_hints(config_type)
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
        refusal = self._refuse_clock(parameters)
        changes = {
            parameter.name: _plain(parameter.value, self._types.get(parameter.name))
            for parameter in parameters
            if parameter.name not in _DECLARED_BY_RCLPY
        }
        fixed = sorted(name for name in changes if name in self._infos and self._infos[name].read_only)
        if fixed:
            refusal = f"fixed while the node runs: {', '.join(fixed)}"
        before = self._config
        try:
            after = before.replace(changes)
        except ConfigError as error:
            refusal = str(error)
        if refusal is None:
            refusal = next(
                filter(None, (self._refuse_loosening(name, before, after) for name in sorted(changes))), None
            )
        if refusal is not None:
            self._node.get_logger().warning(f"a parameter was not changed: {refusal}")
            return SetParametersResult(successful=False, reason=refusal)
        changed = [name for name in sorted(changes) if getattr(before, name) != getattr(after, name)]
        if not changed:
            return SetParametersResult(successful=True)
        for name in changed:
            self._node.get_logger().warning(
                f"parameter {name} changed from {_shown(getattr(before, name))} to {_shown(getattr(after, name))}"
            )
        self._config = after
        if self._on_change is not None:
            self._on_change(self._config)
        return SetParametersResult(successful=True)

    def _refuse_clock(self, parameters: Sequence[Parameter]) -> str | None:
        """Every age is judged by the clock: nobody exchanges it under a node that works."""
        for parameter in parameters:
            if parameter.name == "use_sim_time" and self._locked is not None:
                before, rest = self._node.get_parameter("use_sim_time").value, self._locked()
                if rest and parameter.value != before:
                    return f"use_sim_time stays as it is now; {rest}"
        return None

    def _refuse_loosening(self, name: str, before: ConfigT, after: ConfigT) -> str | None:
        """Why a change is not made now, or None."""
        info, old, new = self._infos[name], getattr(before, name), getattr(after, name)
        rest = self._locked() if self._locked is not None else "start the node with the other value"
        free = not rest or (self._locked is None and not info.tighter)
        if free or not loosens(info, old, new):
            return None
        asked = f"{name} is {_shown(old)} and was asked to be {_shown(new)}"
        if not info.tighter:
            return f"{asked}: it stays as it is now; {rest}"
        kind, _ = element_type(self._types[name])
        if kind is bool:
            direction = "switched on" if info.tighter == HIGHER else "switched off"
        else:
            direction = "raised" if info.tighter == HIGHER else "lowered"
        return f"{asked}: now it may only be {direction}; {rest}"


def _shown(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


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
