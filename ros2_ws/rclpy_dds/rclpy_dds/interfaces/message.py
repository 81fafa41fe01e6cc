"""Message classes, generated from definitions, with the conventions of rosidl_generator_py."""

import array
import keyword
import threading
from typing import Any, ClassVar

import numpy as np

from . import checks
from .cdr import ARRAY_CODES, DTYPES
from .definition import EMPTY_MEMBER, NUMERIC, Constant, Field, FieldType, MessageDefinition
from .store import definition

_lock = threading.RLock()
_classes: dict[str, type] = {}


class Message:
    """Base of all generated message classes.

    Constructors take the fields as keyword arguments. Numeric sequences are ``array.array`` (or numpy arrays when large
    or assigned as such), numeric fixed-size arrays are numpy arrays, everything else is a list. Assigning a value of
    the wrong type or range raises AssertionError.
    """

    __slots__ = ("__weakref__",)
    interface_name = ""
    _fields_and_field_types: ClassVar[dict[str, str]] = {}
    _compared: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def get_fields_and_field_types(cls) -> dict[str, str]:
        """Return field names and IDL types, for example ``{'data': 'sequence<uint8>'}``."""
        return dict(cls._fields_and_field_types)

    def __repr__(self) -> str:
        package, kind, name = self.interface_name.split("/")
        values = ", ".join(f"{field}={getattr(self, field)!r}" for field in self._fields_and_field_types)
        return f"{package}.{kind}.{name}({values})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return False
        return all(checks.same(getattr(self, slot), getattr(other, slot)) for slot in self._compared)

    __hash__ = None  # type: ignore[assignment]


def message_class(name: str) -> Any:
    """Return the class of a message type ``pkg/msg/Name``; one class per type and process.

    Raises:
        DefinitionError: the type, or one it refers to, has no definition.
    """
    found = _classes.get(name)
    if found is None:
        with _lock:
            found = _classes.get(name)
            if found is None:
                found = _classes[name] = _build(definition(name))
    return found


def _build(source: MessageDefinition) -> type:
    package, kind, short = source.name.split("/")
    fields = [field for field in source.fields if field.name != EMPTY_MEMBER]
    namespace: dict[str, Any] = {
        "array": array.array,
        "np": np,
        "checks": checks,
        "UNSET": _UNSET,
        "Message": Message,
        "KINDS": {field.name: field.type for field in fields},
    }
    lines = [f"class {short}(Message):"]
    slots = tuple("_" + field.name for field in fields)
    lines.append(f"    __slots__ = {slots!r}")
    lines += _constructor(fields, namespace)
    for field in fields:
        lines += _property(field, namespace)
    exec("\n".join(lines), namespace)  # the source is made of checked identifiers and of representations of constants
    cls = namespace[short]
    cls.__module__ = f"{package}.{kind}"
    cls.__qualname__ = short
    cls.__doc__ = f"Message class {short!r} of {package}/{kind}."
    cls.interface_name = source.name
    cls._fields_and_field_types = {_python_name(field.name): str(field.type) for field in fields}
    cls._compared = slots
    for constant in source.constants:
        setattr(cls, constant.name, _constant_value(constant))
    for field in fields:
        if field.default is not None:
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            setattr(cls, f"{field.name.upper()}__DEFAULT", default)
    return cls


class _Unset:
    def __repr__(self) -> str:
        return "<default>"


_UNSET = _Unset()


def _python_name(field: str) -> str:
    return field + "_" if keyword.iskeyword(field) else field


def _constant_value(constant: Constant) -> Any:
    return constant.value


def _constructor(fields: list[Field], namespace: dict[str, Any]) -> list[str]:
    if fields:
        names = ", ".join(f"{_python_name(field.name)}=UNSET" for field in fields)
        lines = [f"    def __init__(self, *, {names}, **unknown):"]
    else:
        lines = ["    def __init__(self, **unknown):"]
    lines += [
        "        unknown.pop('check_fields', None)",
        "        if unknown:",
        "            raise AssertionError('Invalid arguments passed to constructor: ' + ', '.join(sorted(unknown)))",
    ]
    for field in fields:
        name = _python_name(field.name)
        lines.append(f"        if {name} is UNSET:")
        lines.append(f"            self._{field.name} = {_default(field, namespace)}")
        lines.append("        else:")
        lines.append(f"            self.{name} = {name}")
    return lines


def _class_name(base: str, namespace: dict[str, Any]) -> str:
    alias = "C_" + base.replace("/", "__")
    namespace[alias] = message_class(base)
    return alias


def _default(field: Field, namespace: dict[str, Any]) -> str:
    kind = field.type
    if kind.kind == "scalar":
        if kind.is_nested:
            return f"{_class_name(kind.base, namespace)}()"
        if field.default is not None:
            return repr(field.default) if kind.base not in ("float32", "float64") else f"float('{field.default!r}')"
        return repr(_zero(kind.base))
    if kind.base in NUMERIC:
        values = list(field.default) if field.default is not None else []
        if kind.kind == "array":
            if field.default is None:
                return f"np.zeros({kind.size}, '{DTYPES[kind.base]}')"
            return f"np.array({values!r}, '{DTYPES[kind.base]}')"
        return f"array({ARRAY_CODES[kind.base]!r}, {values!r})" if values else f"array({ARRAY_CODES[kind.base]!r})"
    if field.default is not None:
        return repr(list(field.default))
    if kind.kind == "sequence":
        return "[]"
    if kind.is_nested:
        return f"[{_class_name(kind.base, namespace)}() for _ in range({kind.size})]"
    return repr([_zero(kind.base)] * kind.size)


def _zero(base: str) -> Any:
    if base in ("string", "wstring"):
        return ""
    if base == "bool":
        return False
    if base == "byte":
        return b"\x00"
    return 0.0 if base in ("float32", "float64") else 0


def _property(field: Field, namespace: dict[str, Any]) -> list[str]:
    name = _python_name(field.name)
    slot = "_" + field.name
    lines = [
        "    @property",
        f"    def {name}(self):",
        f"        return self.{slot}",
        f"    @{name}.setter",
        f"    def {name}(self, value):",
    ]
    return lines + ["        " + line for line in _setter(name, slot, field.type, namespace)]


def _setter(name: str, slot: str, kind: FieldType, namespace: dict[str, Any]) -> list[str]:
    if kind.kind == "scalar":
        if kind.is_nested:
            cls = _class_name(kind.base, namespace)
            return [
                f"if not isinstance(value, {cls}):",
                f"    raise checks.fail({name!r}, \"a '{kind.base}' message\", value)",
                f"self.{slot} = value",
            ]
        if kind.base in ("string", "bool", "float64") and not kind.string_bound:
            python_type = {"string": "str", "bool": "bool", "float64": "float"}[kind.base]
            return [
                f"if not isinstance(value, {python_type}):",
                f"    raise checks.fail({name!r}, \"of type '{python_type}'\", value)",
                f"self.{slot} = value",
            ]
        if kind.base in NUMERIC and kind.base != "float32":
            low, high = checks.integer_range(kind.base)
            return [
                f"if not isinstance(value, int) or not {low} <= value <= {high}:",
                f"    raise checks.fail({name!r}, 'an integer in [{low}, {high}]', value)",
                f"self.{slot} = value",
            ]
        return [
            f"checks.check_scalar({name!r}, value, {kind.base!r}, {kind.string_bound})",
            f"self.{slot} = value",
        ]
    if kind.base in NUMERIC:
        function = "numeric_array" if kind.kind == "array" else "numeric_sequence"
        return [f"self.{slot} = checks.{function}({name!r}, value, {kind.base!r}, {kind.size})"]
    cls = _class_name(kind.base, namespace) if kind.is_nested else "None"
    return [f"self.{slot} = checks.other_elements({name!r}, value, KINDS[{slot[1:]!r}], {cls})"]
