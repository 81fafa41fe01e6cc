"""RIHS01 type hashes: SHA-256 over a canonical JSON description of a type and all it refers to (REP 2016)."""

import functools
import hashlib
import json

from .definition import FieldType
from .store import definition, distro

# type_description_interfaces/msg/FieldType.msg. ROS hashes ``char`` as uint8.
_TYPE_IDS = {
    "int8": 2,
    "uint8": 3,
    "char": 3,
    "int16": 4,
    "uint16": 5,
    "int32": 6,
    "uint32": 7,
    "int64": 8,
    "uint64": 9,
    "float32": 10,
    "float64": 11,
    "bool": 15,
    "byte": 16,
    "string": 17,
    "wstring": 18,
}
_BOUNDED_STRING_OFFSET = 4
_ARRAY_OFFSET, _BOUNDED_SEQUENCE_OFFSET, _SEQUENCE_OFFSET = 48, 96, 144


def _field_type(kind: FieldType) -> dict:
    number = 1 if kind.is_nested else _TYPE_IDS[kind.base]
    if kind.string_bound:
        number += _BOUNDED_STRING_OFFSET
    if kind.kind == "array":
        number += _ARRAY_OFFSET
    elif kind.kind == "sequence":
        number += _BOUNDED_SEQUENCE_OFFSET if kind.size else _SEQUENCE_OFFSET
    return {
        "type_id": number,
        "capacity": kind.size,
        "string_capacity": kind.string_bound,
        "nested_type_name": kind.base if kind.is_nested else "",
    }


def _individual(name: str) -> dict:
    return {
        "type_name": name,
        "fields": [{"name": entry.name, "type": _field_type(entry.type)} for entry in definition(name).fields],
    }


def description(name: str) -> dict:
    """Return the canonical description of a message type, with all types it refers to, sorted by name."""
    referenced: dict[str, dict] = {}

    def visit(current: str) -> None:
        for entry in definition(current).fields:
            if entry.type.is_nested and entry.type.base not in referenced:
                referenced[entry.type.base] = _individual(entry.type.base)
                visit(entry.type.base)

    visit(name)
    return {
        "type_description": _individual(name),
        "referenced_type_descriptions": [referenced[key] for key in sorted(referenced)],
    }


@functools.cache
def type_hash(name: str) -> str:
    """Return the hash of a message type as ``RIHS01_<64 hex digits>``."""
    return "RIHS01_" + hashlib.sha256(json.dumps(description(name)).encode()).hexdigest()


def user_data(name: str) -> str:
    """Return the user data entry that announces the type hash; empty for Humble, which has no hashes."""
    return "" if distro() == "humble" else f"typehash={type_hash(name)};"
