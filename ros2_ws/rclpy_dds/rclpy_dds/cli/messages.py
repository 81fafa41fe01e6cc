"""Messages as people read and write them: YAML, comma-separated values, and back.

Written against the public interface of generated message classes, `get_fields_and_field_types()`.
"""

from __future__ import annotations

import array
import difflib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import yaml

_INTEGERS = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"})
_FLOATS = frozenset({"float", "double"})
_SEQUENCES = (list, tuple, array.array, np.ndarray)


class InterfaceTypeError(RuntimeError):
    """The name of a message or service type is not one that exists."""


def get_interface(name: str, kind: str) -> Any:
    """Return the class of `pkg/<kind>/Name` or `pkg/Name`; kind is "msg", "srv" or "action".

    Raises InterfaceTypeError, which says what to write instead where that can be guessed.
    """
    noun = {"msg": "message", "srv": "service", "action": "action"}[kind]
    parts = name.split("/")
    if len(parts) == 2:
        parts.insert(1, kind)
    if len(parts) != 3 or parts[1] != kind or not all(part.isidentifier() for part in parts):
        raise InterfaceTypeError(f"The passed {noun} type is invalid: '{name}' is not of the form package/{kind}/Name")
    package, _, short = parts
    try:
        module = import_module(f"{package}.{kind}")
    except ImportError as error:
        if error.name not in (package, f"{package}.{kind}"):
            # The package is there, and something that it needs is not.
            raise InterfaceTypeError(f"The passed {noun} type cannot be imported: {error}") from error
        raise InterfaceTypeError(
            f"The passed {noun} type is invalid: no package '{package}' with {kind} definitions is installed here"
        ) from None
    try:
        return getattr(module, short)
    except AttributeError:
        known = [entry for entry in dir(module) if entry[:1].isupper()]
        close = difflib.get_close_matches(short, known, n=3)
        hint = f"; did you mean {' or '.join(f'{package}/{kind}/{entry}' for entry in close)}?" if close else ""
        raise InterfaceTypeError(
            f"The passed {noun} type is invalid: package '{package}' has no {noun} '{short}'{hint}"
        ) from None


# Reading messages


def message_to_dict(
    message: Any, truncate_length: int | None = None, no_arr: bool = False, no_str: bool = False
) -> dict[str, Any]:
    """Return a message as nested dictionaries and lists, in the order of the definition.

    Strings, bytes and arrays longer than `truncate_length` are cut and end in "..."; with `no_arr` and `no_str` arrays
    and strings are replaced by a note of their type and length.
    """
    return {
        name: _plain(getattr(message, name), field_type, truncate_length, no_arr, no_str)
        for name, field_type in message.get_fields_and_field_types().items()
    }


def is_message(value: Any) -> bool:
    """Return whether a value is a message rather than one of a field's plain types."""
    return hasattr(value, "get_fields_and_field_types")


def _plain(value: Any, field_type: str | None, length: int | None, no_arr: bool, no_str: bool) -> Any:
    if is_message(value):
        return message_to_dict(value, length, no_arr, no_str)
    if isinstance(value, (bytes, bytearray)):
        return "".join(map(chr, value[:length])) + ("..." if length is not None and len(value) > length else "")
    if isinstance(value, str):
        if no_str:
            return f"<string length: <{len(value)}>>"
        return value[:length] + "..." if length is not None and len(value) > length else value
    if isinstance(value, _SEQUENCES):
        if no_arr and field_type is not None:
            return _array_note(field_type, len(value))
        # Cut first: an image has millions of elements.
        items = [_plain(item, None, length, no_arr, no_str) for item in value[:length]]
        return [*items, "..."] if length is not None and len(value) > length else items
    if isinstance(value, np.generic):
        return value.item()
    return value


def _array_note(field_type: str, length: int) -> str:
    element, kind, size = parse_field_type(field_type)
    if kind == "array":
        return f"<array type: {element}[{size}]>"
    return f"<sequence type: {element}{f'[{size}]' if size else ''}, length: {length}>"


def to_yaml(value: Any, flow_style: bool = False) -> str:
    """Return nested dictionaries and lists as YAML, in their order."""
    return yaml.dump(
        value,
        sort_keys=False,
        allow_unicode=True,
        width=sys.maxsize,
        default_flow_style=flow_style,
        Dumper=_PlainDumper,
    )


class _PlainDumper(yaml.SafeDumper):
    """Without anchors: equal lists in a message are not the same list to a reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_csv(value: Any) -> str:
    """Return all values of nested dictionaries and lists, separated by commas."""
    if isinstance(value, Mapping):
        return ",".join(to_csv(item) for item in value.values())
    if isinstance(value, list):
        return ",".join(to_csv(item) for item in value)
    return str(value)


# Writing messages


def parse_field_type(field_type: str) -> tuple[str, str, int]:
    """Return (element type, "scalar", "array" or "sequence", size or bound or 0) of a type such as "double[9]"."""
    if field_type.startswith("sequence<"):
        element, _, bound = field_type[len("sequence<") : -1].rpartition(", ")
        if element and bound.isdigit():
            return element, "sequence", int(bound)
        return field_type[len("sequence<") : -1], "sequence", 0
    if field_type.endswith("]"):
        element, _, size = field_type[:-1].rpartition("[")
        return element, "array", int(size)
    return field_type, "scalar", 0


def parse_yaml_fields(text: str) -> dict[str, Any]:
    """Return the dictionary that a YAML text describes. Raises ValueError with an example of what is expected."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"The passed value is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        hint = f"; after a colon YAML needs a space: '{text.replace(':', ': ', 1)}'" if ":" in text else ""
        raise ValueError(
            f"The passed value needs to be a dictionary in YAML format, such as '{{data: 1}}', got {text!r}{hint}"
        )
    return values


def set_message_fields(
    message: Any, values: Mapping[str, Any], expand_now: bool = False
) -> list[Callable[[Any], None]]:
    """Set fields of a message from plain values.

    With `expand_now` the value "now" of a Time, and "auto" of a Header, stand for the time of sending: a setter is
    returned for each, to be called with a builtin_interfaces/Time. Raises ValueError naming the field.
    """
    setters: list[Callable[[Any], None]] = []
    _set_fields(message, values, "", expand_now, setters)
    return setters


def _set_fields(message: Any, values: Any, path: str, expand_now: bool, setters: list[Callable[[Any], None]]) -> None:
    types = message.get_fields_and_field_types()
    if not isinstance(values, Mapping):
        raise ValueError(
            f"field '{path.rstrip('.')}' has the fields {', '.join(types)}; expected a dictionary of them, "
            f"got {values!r}"
        )
    for name, value in values.items():
        if name not in types:
            close = difflib.get_close_matches(str(name), types, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"no field '{path}{name}'; there are: {', '.join(types) or 'no fields'}{hint}")
        field_type = types[name]
        if expand_now and field_type == "std_msgs/Header" and value == "auto":
            setters.append(partial(setattr, getattr(message, name), "stamp"))
            continue
        if expand_now and field_type == "builtin_interfaces/Time" and value == "now":
            setters.append(partial(setattr, message, name))
            continue
        full = f"{path}{name}"
        converted = _field_value(message, name, field_type, value, full, expand_now, setters)
        try:
            setattr(message, name, converted)
        except (AssertionError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"field '{full}' of type {field_type}: {error}") from None


def _field_value(
    message: Any,
    name: str,
    field_type: str,
    value: Any,
    path: str,
    expand_now: bool,
    setters: list[Callable[[Any], None]],
) -> Any:
    element, kind, _ = parse_field_type(field_type)
    if kind == "scalar":
        if "/" in element:
            nested = getattr(message, name)
            _set_fields(nested, value, path + ".", expand_now, setters)
            return nested
        return _scalar(element, value, path)
    if not isinstance(value, list):
        raise ValueError(f"field '{path}' of type {field_type} expects a list, got {value!r}")
    if "/" not in element:
        return [_scalar(element, item, f"{path}[{index}]") for index, item in enumerate(value)]
    package, short = element.split("/")
    element_class = get_interface(f"{package}/msg/{short}", "msg")
    items = []
    for index, item in enumerate(value):
        nested = element_class()
        _set_fields(nested, item, f"{path}[{index}].", expand_now, setters)
        items.append(nested)
    return items


def _scalar(element: str, value: Any, path: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if element in _FLOATS and is_number:
        return float(value)
    if element in _FLOATS and isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text, because the point is missing.
        try:
            return float(value)
        except ValueError:
            pass
    elif element in _INTEGERS and is_number and float(value).is_integer():
        return int(value)
    elif element == "boolean" and (isinstance(value, bool) or (is_number and value in (0, 1))):
        return bool(value)
    elif element.split("<")[0] in ("string", "wstring") and isinstance(value, (str, int, float)):
        return str(value)
    elif element == "octet" and is_number and value in range(256):
        return bytes([int(value)])
    elif element == "octet" and isinstance(value, str) and len(value) == 1 and ord(value) < 256:
        return bytes([ord(value)])
    raise ValueError(f"field '{path}' of type {element} cannot be {value!r}")
