"""JSON files that people hand in, read whole or refused with one sentence that names the file and the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from magma_contracts.errors import ConfigError
from magma_contracts.files import small_files
from magma_contracts.files.typed_tables import naming
from magma_policy.errors import shown

MAX_BYTES = 64 * 2**20
"""The largest that is known, Llama-3's tokenizer, has 17 MB."""
MAX_DEPTH = 32
"""Levels of nesting; what is read here has at most 6."""


def read_text(path: Path) -> str:
    """The text of a file that should be JSON, a mark of UTF-8 in front taken off. Raises ConfigError."""
    with naming(path):
        try:
            if not path.is_file():
                raise ConfigError("is a folder, not a file" if path.is_dir() else "no such file")
        except OSError as error:  # a name that no file can have
            raise ConfigError(f"cannot be read: {error.strerror}") from error
        return small_files.read_text(path, MAX_BYTES)


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises ConfigError for anything else, for one that says the same key twice in
    different words, and for what no such file needs: deep nesting, numbers of thousands of digits."""
    text = read_text(path)
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested deeper than {MAX_DEPTH} levels; no such file is") from error
    except ValueError as error:  # a number that Python refuses to read, or a key that comes twice
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected an object, got {type(data).__name__}")
    if _is_deep(data):
        raise ConfigError(f"{path}: is nested deeper than {MAX_DEPTH} levels; no such file is")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            # The last of them is in `found`. Of NaN, which equals nothing, one is enough to be told.
            if found[key] != value:
                raise ValueError(f"says {shown(key)} twice, {shown(value)} and {shown(found[key])}; keep one")
    return found


def _is_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def read_optional_object(path: Path) -> dict[str, Any]:
    """The object of a file that may be absent; nothing is in it then. Raises ConfigError."""
    return read_object(path) if path.exists() else {}
