"""Typed configuration of a node: a frozen dataclass whose fields carry their description and range, without ROS.

    @dataclass(frozen=True)
    class CameraConfig(NodeConfig):
        rate_hz: float = parameter(30.0, "Frames per second.", minimum=1.0, maximum=240.0)

Values are checked when the object is made; `from_mapping` refuses unknown keys. The same class stands behind ROS
parameters (`magma_common.settings.node_config`) and behind a command line.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief, listed


@dataclass(frozen=True)
class ParameterInfo:
    """What a person needs to know about one field."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False
    """fixed once the node runs"""
    tighter: str = ""
    """LOWER or HIGHER: the direction in which a limit becomes safer; empty = it has none"""
    off: float | None = None
    """a value that switches the limit off: looser than all others"""


_KEY = "magma_parameter"
LOWER, HIGHER = "lower", "higher"
_SCALARS: tuple[type, ...] = (bool, int, float, str)
ConfigT = TypeVar("ConfigT", bound="NodeConfig")


def parameter(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    read_only: bool = False,
    tighter: str = "",
    off: float | None = None,
) -> Any:
    """Declares a field of a `NodeConfig`: bool, int, float, str, or a tuple of one of these.

    Args:
        default: value when nothing is given.
        description: one sentence with the unit; shown by `ros2 param describe`.
        minimum, maximum: inclusive range of a number, or of each number in a tuple.
        choices: for a str, the values allowed.
        read_only: the value cannot change while the node runs.
        tighter: for a limit, the direction (LOWER, HIGHER) in which it becomes safer; for a bool HIGHER means true, for
            a tuple each member counts.
        off: the value, if any, that switches the limit off.
    """
    info = ParameterInfo(description, minimum, maximum, tuple(choices), read_only, tighter, off)
    return dataclasses.field(default=default, metadata={_KEY: info})


@dataclass(frozen=True)
class NodeConfig:
    """Base of every node's configuration. Subclasses that check fields against each other override `check`."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = _checked(item.name, getattr(self, item.name), types[item.name], parameter_info(item))
            object.__setattr__(self, item.name, value)
        self.check()

    def check(self) -> None:
        """Raises ConfigError when fields contradict each other."""

    @classmethod
    def from_mapping(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
        """Makes the configuration from names and values; what is missing takes its default.

        Raises:
            ConfigError: a name that is not a field, or a value that is not allowed.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known), key=str)
        if unknown:
            raise ConfigError(f"unknown parameter {listed(unknown)}; {cls.__name__} knows {', '.join(sorted(known))}")
        return cls(**values)

    def replace(self: ConfigT, values: Mapping[str, Any]) -> ConfigT:
        """A copy with some values changed, checked as a whole.

        Raises:
            ConfigError: as `from_mapping`.
        """
        current = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return type(self).from_mapping({**current, **values})


def parameter_info(item: dataclasses.Field[Any]) -> ParameterInfo:
    """What `parameter` recorded for a field.

    Raises:
        ConfigError: the field was not declared with `parameter`.
    """
    info = item.metadata.get(_KEY)
    if not isinstance(info, ParameterInfo):
        raise ConfigError(f"field {item.name} must be declared with parameter(default, description)")
    return info


def loosens(info: ParameterInfo, before: Any, after: Any) -> bool:
    """Whether a change of value lets more happen than before; any change does where there is no tighter direction."""
    if after == before:
        return False
    if not info.tighter:
        return True
    if isinstance(after, tuple):
        return any(_looser(info, old, new) for old, new in zip(before, after, strict=True))
    return _looser(info, before, after)


def _looser(info: ParameterInfo, before: Any, after: Any) -> bool:
    if info.off in (before, after):
        return bool(after == info.off and before != info.off)
    return bool(after > before) if info.tighter == LOWER else bool(after < before)


def element_type(kind: Any) -> tuple[type, bool]:
    """The scalar type of a field's type and whether the field is a tuple of it.

    Raises:
        ConfigError: a type that cannot be a parameter.
    """
    if kind in _SCALARS:
        return kind, False
    if typing.get_origin(kind) is tuple:
        members = [member for member in typing.get_args(kind) if member is not Ellipsis]
        if members and members[0] in _SCALARS and all(member is members[0] for member in members):
            return members[0], True
    raise ConfigError(f"a parameter is bool, int, float, str or a tuple of one of these, not {kind!r}")


def tuple_length(kind: Any) -> int | None:
    """Number of members of `tuple[float, float, float]`; None for `tuple[float, ...]` and for scalars."""
    members = typing.get_args(kind)
    return None if not members or Ellipsis in members else len(members)


def _checked(name: str, value: Any, kind: Any, info: ParameterInfo) -> Any:
    scalar, is_tuple = element_type(kind)
    if not is_tuple:
        return _checked_scalar(name, value, scalar, info)
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise ConfigError(f"parameter {name} takes a list of {scalar.__name__}, got {brief(value)}")
    members = tuple(_checked_scalar(f"{name}[{i}]", member, scalar, info) for i, member in enumerate(value))
    length = tuple_length(kind)
    if length is not None and len(members) != length:
        raise ConfigError(f"parameter {name} takes {length} values, got {len(members)}: {brief(list(members))}")
    return members


def _checked_scalar(name: str, value: Any, kind: type, info: ParameterInfo) -> Any:
    # YAML and the command line write 1 for 1.0; a bool is an int to Python but never meant as a number.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise ConfigError(f"parameter {name} must be finite, got {brief(value)}") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"parameter {name} takes a {kind.__name__}, got {brief(value)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"parameter {name} must be finite, got {brief(value)}")
        if info.minimum is not None and value < info.minimum:
            raise ConfigError(f"parameter {name} must be at least {info.minimum}, got {brief(value)}")
        if info.maximum is not None and value > info.maximum:
            raise ConfigError(f"parameter {name} must be at most {info.maximum}, got {brief(value)}")
    if info.choices and value not in info.choices:
        raise ConfigError(f"parameter {name} must be one of {', '.join(info.choices)}, got {brief(value)}")
    return value
