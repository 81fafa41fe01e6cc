"""Frozen dataclasses from parsed JSON, YAML or TOML: unknown keys, missing ones and wrong types are errors that name
the place.

By hand, since dacite takes True for a number and refuses a whole number where a float is meant, and its errors name a
field but neither the entry of a list nor the file.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from magma_contracts.errors import ConfigError
from magma_contracts.text import brief

T = TypeVar("T")


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Builds dataclass `cls` from the values of a parsed file; unknown or missing keys and wrong types raise
    `ConfigError`, which names the place as seen from `where`."""
    where = where or cls.__name__
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown keys {brief(unknown)}; known keys are {sorted(fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in data and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing keys {missing}")
    return cls(**{name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [o for o in typing.get_args(hint) if o is not type(None)]
        if value is None:
            return None
        return _convert(options[0], value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {brief(value)}")
        args = typing.get_args(hint)
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) != len(value):
            raise ConfigError(f"{where}: expected {len(kinds)} entries, got {len(value)}")
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        # Also an integer may be too large for a float.
        if not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{where}: must be a finite number, got {brief(value)}")
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: expected {hint.__name__}, got {brief(value)}")
    return value


def check_once(keys: Iterable[tuple[str, int]]) -> None:
    """ConfigError where a key of a table stands twice: a parser keeps the last of them without a word.

    Args:
        keys: with the line of each.
    """
    lines: dict[str, int] = {}
    for key, line in keys:
        if key in lines:
            raise ConfigError(f"has {brief(key)} twice, in lines {lines[key]} and {line}; keep one")
        lines[key] = line


@contextmanager
def naming(where: Path | str) -> Iterator[None]:
    """Puts the file, or a place in it, in front of the errors of what was read from there, if they lack it."""
    try:
        yield
    except ConfigError as error:
        if str(error).startswith(str(where)):
            raise
        raise ConfigError(f"{where}: {error}") from error
