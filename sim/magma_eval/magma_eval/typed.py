"""Objects from files, checked against the types of a dataclass: what a stranger wrote has the kind of its field, or is
refused in one sentence that names the field.

By hand, not by dacite: that takes numbers that are not finite, absurd ones and texts without end.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magma_contracts.files.small_files import read_bytes
from magma_contracts.text import encodes

LONGEST_TEXT = 20_000
LARGEST_NUMBER = 10**15
LARGEST_FILE = 1 << 28
"""Bytes of a file that is read at once: a suite, what a run is, the card of a folder."""


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text; ValueError, one line, for anything else: also where it is nested too deeply, or a key
    stands twice."""
    try:
        return json.loads(text, object_pairs_hook=_no_doubles)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text: {error.reason} at byte {error.start}") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file; ValueError, one line that does not name the file, as `parse_json`, and where the file
    cannot be read."""
    return parse_json(read_bytes(path, LARGEST_FILE))


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} stands twice in one object")
    return found


def shown(value: object) -> str:
    """A value for an error message: one printable line of at most about a hundred characters."""
    if isinstance(value, (list, dict, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number too long to show"
    return text if len(text) <= 100 else f"{text[:99]}…"


def named(name: object) -> str:
    """A name for an error message: as it is, or as `shown` has it where it is no plain short text."""
    return name if isinstance(name, str) and name.isprintable() and len(name) <= 60 else shown(name)


def check_fields(instance: Any) -> None:
    """ValueError when a field of a dataclass instance has not the type that its annotation names, a number is not
    finite or absurd, or a text is too long."""
    hints = typing.get_type_hints(type(instance))
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        if not _fits(value, hints[item.name]):
            wanted = str(item.type).replace("typing.", "")
            raise ValueError(f"{item.name} must be {wanted}, got {shown(value)}")


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(name, arguments[0]) and _fits(item, arguments[1]) for name, item in value.items()
        )
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and math.isfinite(value) and abs(value) <= LARGEST_NUMBER
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER
    if kind is str:
        return isinstance(value, str) and len(value) <= LONGEST_TEXT and encodes(value)
    return isinstance(value, kind)
