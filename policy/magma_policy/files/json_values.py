"""Single entries of JSON files that belong to somebody else, checked as they are read; errors name file and entry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from magma_contracts.errors import ConfigError
from magma_policy.errors import shown


def read_flag(data: dict[str, Any], name: str, default: bool, where: Path) -> bool:
    """True or false; null, as tools write what they leave open, is the default. Raises ConfigError."""
    value = data.get(name)
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} must be true or false, got {shown(value)}")
    return default if value is None else value


def read_section(data: dict[str, Any], name: str, where: Path) -> dict[str, Any]:
    """An object within an object. Raises ConfigError."""
    value = data.get(name)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {name} must be an object, got {shown(value)}")
    return value


def checked_integer(value: Any, name: str, where: Path) -> int:
    """A positive integer. Raises ConfigError."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ConfigError(f"{where}: {name} must be a positive integer, got {shown(value)}")
    return value


def checked_number(value: Any, name: str, where: Path) -> float:
    """A positive, finite number. Raises ConfigError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise ConfigError(f"{where}: {name} must be a positive number, got {shown(value)}")
    return float(value)


def checked_name(data: dict[str, Any], directory: Path, otherwise: str) -> str:
    """What a published model calls itself, such as Magma-8B; the directory's name when it does not say."""
    origin = data.get("_name_or_path")
    last = origin.rstrip("/").split("/")[-1].strip() if isinstance(origin, str) else ""
    return last if last and last.isprintable() and len(last) <= 128 else directory.name or otherwise
