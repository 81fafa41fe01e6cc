"""JSON of a dataset, from files that anyone may have written or damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.text import printable
from magma_data.errors import DatasetError

LARGEST = 1 << 28
"""Bytes of a file; the statistics of a million episodes fit."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises DatasetError."""
    found = _parsed(path, _text(path))
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: expected a JSON object")
    return found


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file with one in each line. Raises DatasetError, which names the line."""
    # splitlines would also part lines at U+2028 and its like, which JSON holds as they are.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            found = _parsed(path, line, f" in line {number}")
            if not isinstance(found, dict):
                raise DatasetError(f"{path}: expected a JSON object in line {number}")
            yield found


def write_object(path: Path, value: object) -> None:
    """Writes a file whole or not at all; it is on the disk before it takes its name."""
    write_text(path, json.dumps(value, indent=4, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """The same for any text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _text(path: Path) -> str:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    try:
        return read_text(path, LARGEST)
    except ConfigError as error:
        raise DatasetError(f"{path}: {error}") from error


def _parsed(path: Path, text: str, where: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not valid JSON{where} ({printable(error, 120)})") from error
