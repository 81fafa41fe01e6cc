"""Parameters."""

import array
import math
from enum import Enum
from typing import Any

from rclpy_dds import parameter_yaml
from rclpy_dds.interfaces import message_class

PARAMETER_SEPARATOR_STRING = "."


class Parameter:
    """A named, typed value."""

    class Type(Enum):
        """Types of parameters (rcl_interfaces/msg/ParameterType)."""

        NOT_SET = 0
        BOOL = 1
        INTEGER = 2
        DOUBLE = 3
        STRING = 4
        BYTE_ARRAY = 5
        BOOL_ARRAY = 6
        INTEGER_ARRAY = 7
        DOUBLE_ARRAY = 8
        STRING_ARRAY = 9

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> "Parameter.Type":
            """Return the type of a Python value.

            Raises:
                TypeError: no parameter can hold the value.
            """
            if parameter_value is None:
                return cls.NOT_SET
            if isinstance(parameter_value, bool):
                return cls.BOOL
            if isinstance(parameter_value, int):
                return cls.INTEGER
            if isinstance(parameter_value, float):
                return cls.DOUBLE
            if isinstance(parameter_value, str):
                return cls.STRING
            if isinstance(parameter_value, list | tuple | array.array):
                if all(isinstance(item, bytes) for item in parameter_value):
                    return cls.BYTE_ARRAY
                for kind, result in (
                    (bool, cls.BOOL_ARRAY),
                    (int, cls.INTEGER_ARRAY),
                    (float, cls.DOUBLE_ARRAY),
                    (str, cls.STRING_ARRAY),
                ):
                    if all(isinstance(item, kind) for item in parameter_value):
                        return result
                raise TypeError("The given value is not a list of one of the allowed types")
            raise TypeError("The given value is not one of the allowed types")

        def check(self, parameter_value: Any) -> bool:
            """Return whether a Python value fits this type."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            scalar = _SCALARS.get(self)
            if scalar is not None:
                return isinstance(parameter_value, scalar) and (scalar is bool or not isinstance(parameter_value, bool))
            element = _ELEMENTS[self]
            return isinstance(parameter_value, list | tuple | array.array) and all(
                isinstance(item, element) and (element is bool or not isinstance(item, bool))
                for item in parameter_value
            )

    def __init__(self, name: str, type_: Any = None, value: Any = None) -> None:
        """
        Args:
            name: parameter name.
            type_: type; taken from the value when None.
            value: value.

        Raises:
            TypeError: ``type_`` is not a ``Parameter.Type``.
            ValueError: the value does not fit the type.
        """
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        elif not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of '{Parameter.Type!r}'")
        elif not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_ = type_
        self._name = name
        self._value = value

    @classmethod
    def from_parameter_msg(cls, param_msg: Any) -> "Parameter":
        """Return the parameter of a ``rcl_interfaces.msg.Parameter``."""
        kind = Parameter.Type(param_msg.value.type)
        return cls(param_msg.name, kind, parameter_value_to_python(param_msg.value))

    def to_parameter_msg(self) -> Any:
        """Return a ``rcl_interfaces.msg.Parameter``."""
        return message_class("rcl_interfaces/msg/Parameter")(name=self._name, value=self.get_parameter_value())

    def get_parameter_value(self) -> Any:
        """Return a ``rcl_interfaces.msg.ParameterValue``."""
        message = message_class("rcl_interfaces/msg/ParameterValue")(type=self._type_.value)
        if self._type_ is not Parameter.Type.NOT_SET:
            value = list(self._value) if self._type_ in _ELEMENTS else self._value
            setattr(message, _FIELDS[self._type_], value)
        return message

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @property
    def type_(self) -> "Parameter.Type":
        """Type."""
        return self._type_

    @property
    def value(self) -> Any:
        """Value as a Python object; arrays are lists."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        return (self._name, self._type_, self._value) == (other._name, other._type_, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Parameter({self._name!r}, {self._type_}, {self._value!r})"


_SCALARS = {
    Parameter.Type.BOOL: bool,
    Parameter.Type.INTEGER: int,
    Parameter.Type.DOUBLE: float,
    Parameter.Type.STRING: str,
}
_ELEMENTS = {
    Parameter.Type.BYTE_ARRAY: bytes,
    Parameter.Type.BOOL_ARRAY: bool,
    Parameter.Type.INTEGER_ARRAY: int,
    Parameter.Type.DOUBLE_ARRAY: float,
    Parameter.Type.STRING_ARRAY: str,
}
_FIELDS = {
    Parameter.Type.BOOL: "bool_value",
    Parameter.Type.INTEGER: "integer_value",
    Parameter.Type.DOUBLE: "double_value",
    Parameter.Type.STRING: "string_value",
    Parameter.Type.BYTE_ARRAY: "byte_array_value",
    Parameter.Type.BOOL_ARRAY: "bool_array_value",
    Parameter.Type.INTEGER_ARRAY: "integer_array_value",
    Parameter.Type.DOUBLE_ARRAY: "double_array_value",
    Parameter.Type.STRING_ARRAY: "string_array_value",
}


def parameter_value_to_python(parameter_value: Any) -> Any:
    """Return the Python value of a ``rcl_interfaces.msg.ParameterValue``.

    Raises:
        RuntimeError: unknown type number.
    """
    try:
        kind = Parameter.Type(parameter_value.type)
    except ValueError:
        raise RuntimeError(f"unexpected parameter type {parameter_value.type}") from None
    if kind is Parameter.Type.NOT_SET:
        return None
    value = getattr(parameter_value, _FIELDS[kind])
    return list(value) if kind in _ELEMENTS else value


def get_parameter_value(string_value: str) -> Any:
    """Return a ``rcl_interfaces.msg.ParameterValue`` for a text as given on a command line (YAML)."""
    try:
        value = parameter_yaml.load(string_value)
        kind = Parameter.Type.from_parameter_value(value)
    except (TypeError, ValueError):
        value, kind = string_value, Parameter.Type.STRING
    if kind is Parameter.Type.NOT_SET:
        value, kind = string_value, Parameter.Type.STRING
    return Parameter("", kind, value).get_parameter_value()


def parameter_dict_from_yaml_file(
    parameter_file: str,
    use_wildcard: bool = False,
    target_nodes: list[str] | None = None,
    namespace: str = "",
) -> dict[str, Any]:
    """Return ``rcl_interfaces.msg.Parameter`` messages by name from a parameter file.

    Args:
        parameter_file: path of the YAML file.
        use_wildcard: also take what stands under ``/**``.
        target_nodes: fully qualified node names to take; all when None.
        namespace: prefix of the returned names.

    Raises:
        RuntimeError: a target node is not in the file.
    """
    from .arguments import ParsedArguments, _parameters_file

    parsed = ParsedArguments()
    _parameters_file(parsed, parameter_file)
    present = {entry.node for entry in parsed.parameters}
    wanted = None
    if target_nodes is not None:
        wanted = {"/" + node.strip("/") for node in target_nodes}
        missing = wanted - present
        if missing and not use_wildcard:
            raise RuntimeError(f"Param file does not contain parameters for {sorted(missing)}")
    result = {}
    for entry in parsed.parameters:
        if (entry.node == "/**" and use_wildcard) or (entry.node != "/**" and (wanted is None or entry.node in wanted)):
            result[namespace + entry.name] = Parameter(namespace + entry.name, value=entry.value).to_parameter_msg()
    return result


def is_close(one: float, other: float) -> bool:
    """Return whether two doubles differ only by rounding, as far as parameter ranges are concerned."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
