"""Interface definitions: the fields and constants of messages, read from .msg, .srv and .action texts.

Format: https://docs.ros.org/en/jazzy/Concepts/Basic/About-Interfaces.html
"""

import ast
import re
from dataclasses import dataclass, field
from typing import Any

INTEGER_RANGES = {
    f"{sign}int{bits}": ((0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
PRIMITIVE_SIZES = {
    "bool": 1,
    "byte": 1,
    "char": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float32": 4,
    "float64": 8,
}
NUMERIC = frozenset(PRIMITIVE_SIZES) - {"bool", "byte"}
STRINGS = frozenset({"string", "wstring"})

EMPTY_MEMBER = "structure_needs_at_least_one_member"


class DefinitionError(ValueError):
    """An interface text cannot be read, or names a type that does not exist."""


@dataclass(frozen=True)
class FieldType:
    """Type of a field. ``base`` is a primitive, ``string``, ``wstring`` or ``pkg/msg/Name``."""

    base: str
    kind: str = "scalar"  # "scalar", "array" (fixed length) or "sequence"
    size: int = 0  # length of an array, bound of a sequence, 0 when unbounded
    string_bound: int = 0

    @property
    def is_nested(self) -> bool:
        """Whether the base is another message."""
        return "/" in self.base

    def __str__(self) -> str:
        base = self.base
        if self.string_bound:
            base += f"<{self.string_bound}>"
        if self.is_nested:
            package, _, name = self.base.split("/")
            base = f"{package}/{name}"
        base = {"char": "uint8", "byte": "octet", "bool": "boolean", "float32": "float", "float64": "double"}.get(
            base, base
        )
        if self.kind == "array":
            return f"{base}[{self.size}]"
        if self.kind == "sequence":
            return f"sequence<{base}, {self.size}>" if self.size else f"sequence<{base}>"
        return base


@dataclass(frozen=True)
class Field:
    """A named field; ``default`` is None when the text gives none."""

    name: str
    type: FieldType
    default: Any = None


@dataclass(frozen=True)
class Constant:
    """A named constant."""

    name: str
    type: str
    value: Any


@dataclass(frozen=True)
class MessageDefinition:
    """One structure: a message, or one half of a service or action. ``name`` is ``pkg/msg/Name``."""

    name: str
    fields: tuple[Field, ...]
    constants: tuple[Constant, ...] = field(default=())


_CONSTANT = re.compile(r"^(?P<type>\S+)\s+(?P<name>[A-Za-z][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)$")
_FIELD = re.compile(r"^(?P<type>\S+)\s+(?P<name>[A-Za-z][A-Za-z0-9_]*)(?:\s+(?P<default>.*))?$")
_TYPE = re.compile(
    r"^(?P<base>[A-Za-z][A-Za-z0-9_]*(?:/[A-Za-z0-9_]+){0,2})(?:<=(?P<string>\d+))?(?:\[(?P<size>(?:<=)?\d*)\])?$"
)
_FIELD_NAME = re.compile(r"^(?!.*__)(?!.*_$)[a-z][a-z0-9_]*$")


def parse_message(text: str, name: str) -> MessageDefinition:
    """Parse a .msg text (or one part of a .srv or .action text) as type ``pkg/<kind>/Name``.

    Raises:
        DefinitionError: a line cannot be read; the message names the type and the line.
    """
    package = name.split("/")[0]
    fields: list[Field] = []
    constants: list[Constant] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _without_comment(raw).strip()
        if not line or line.startswith("@"):
            continue
        try:
            constant = _CONSTANT.match(line)
            if constant and "<=" not in constant["name"] and not _looks_like_bounded(line):
                base = constant["type"]
                if base not in PRIMITIVE_SIZES and base not in STRINGS:
                    raise DefinitionError(f"a constant cannot be of type {base!r}")
                constants.append(Constant(constant["name"], base, _parse_value(constant["value"], base)))
                continue
            match = _FIELD.match(line)
            if match is None:
                raise DefinitionError("expected '<type> <name> [default]' or '<type> <NAME>=<value>'")
            if not _FIELD_NAME.match(match["name"]):
                raise DefinitionError(f"{match['name']!r} is not a valid field name")
            kind = _parse_type(match["type"], package)
            default = match["default"]
            value = None if default is None else _parse_default(default.strip(), kind)
            fields.append(Field(match["name"], kind, value))
        except DefinitionError as error:
            raise DefinitionError(f"{name}, line {number}: {error} ({raw.strip()!r})") from None
    if len({entry.name for entry in fields}) != len(fields):
        raise DefinitionError(f"{name} has two fields of the same name")
    if not fields:
        fields.append(Field(EMPTY_MEMBER, FieldType("uint8")))
    return MessageDefinition(name, tuple(fields), tuple(constants))


def split_parts(text: str, count: int, name: str) -> list[str]:
    """Split a .srv (2 parts) or .action (3 parts) text at its ``---`` lines."""
    parts = re.split(r"(?m)^---[^\S\n]*$", text)
    if len(parts) != count:
        raise DefinitionError(f"{name} needs {count - 1} separator lines '---', it has {len(parts) - 1}")
    return parts


def _looks_like_bounded(line: str) -> bool:
    # "string<=10 name" and "int32[<=3] name" contain "=" without being constants.
    return bool(re.match(r"^\S*<=\d+\S*\s+[a-z][a-z0-9_]*(\s+.*)?$", line))


def _without_comment(line: str) -> str:
    quote = ""
    for index, character in enumerate(line):
        if quote:
            if character == quote and line[index - 1] != "\\":
                quote = ""
        elif character in "\"'":
            # An apostrophe inside an unquoted string value is no quotation mark.
            if index and line[index - 1] in " =[,\t":
                quote = character
        elif character == "#":
            return line[:index]
    return line


def _parse_type(text: str, package: str) -> FieldType:
    match = _TYPE.match(text)
    if match is None:
        raise DefinitionError(f"{text!r} is not a type")
    base = match["base"]
    if base not in PRIMITIVE_SIZES and base not in STRINGS:
        parts = base.split("/")
        if len(parts) == 1:
            special = {
                "Header": "std_msgs/msg/Header",
                "time": "builtin_interfaces/msg/Time",
                "duration": "builtin_interfaces/msg/Duration",
            }
            base = special.get(base, f"{package}/msg/{base}")
        elif len(parts) == 2:
            base = f"{parts[0]}/msg/{parts[1]}"
    if match["string"] and base not in STRINGS:
        raise DefinitionError(f"only strings have a bound, not {base!r}")
    string_bound = int(match["string"] or 0)
    size = match["size"]
    if size is None:
        return FieldType(base, "scalar", 0, string_bound)
    if size == "":
        return FieldType(base, "sequence", 0, string_bound)
    if size.startswith("<="):
        return FieldType(base, "sequence", int(size[2:] or 0), string_bound)
    if int(size) == 0:
        raise DefinitionError("an array needs at least one element")
    return FieldType(base, "array", int(size), string_bound)


def _parse_default(text: str, kind: FieldType) -> Any:
    if kind.is_nested:
        raise DefinitionError("a field of a message type cannot have a default")
    if kind.kind == "scalar":
        return _parse_value(text, kind.base)
    try:
        values = ast.literal_eval(re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", text)))
    except (ValueError, SyntaxError):
        raise DefinitionError(f"{text!r} is not a list of values") from None
    if not isinstance(values, list):
        raise DefinitionError(f"{text!r} is not a list of values")
    if kind.kind == "array" and len(values) != kind.size:
        raise DefinitionError(f"the default has {len(values)} elements instead of {kind.size}")
    if kind.base in STRINGS:
        return tuple(str(value) for value in values)
    return tuple(_parse_value(str(value), kind.base) for value in values)


def _parse_value(text: str, base: str) -> Any:
    text = text.strip()
    try:
        if base in STRINGS:
            if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
                return text[1:-1].replace("\\" + text[0], text[0])
            return text
        if base == "bool":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if base in ("float32", "float64"):
            return float(text)
        value = int(text, 0) if not re.match(r"^[+-]?0\d", text) else int(text, 8)
    except (ValueError, KeyError):
        raise DefinitionError(f"{text!r} is not a value of type {base}") from None
    low, high = INTEGER_RANGES.get(base, (0, 255))
    if not low <= value <= high:
        raise DefinitionError(f"{value} does not fit {base}")
    return bytes([value]) if base == "byte" else value
