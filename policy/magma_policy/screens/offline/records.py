"""Records of published sets, one after the other, from the files they are published in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_bytes
from magma_policy.errors import CommandError, ScreenError, shown
from magma_policy.files.image_files import decode_image, read_image

Record = Mapping[str, Any]
LARGEST_FILE = 4 << 30
"""Bytes of a JSON file."""


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """Records of a file, or of every such file of a folder in the order of their names, each with where it stands.

    Parquet (needs pyarrow), JSON Lines, or JSON with a list, or with lists by name.

    Raises:
        ScreenError: no such file, none of these, or damaged.
    """
    files = sorted(item for item in path.iterdir() if item.suffix in _READERS) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise ScreenError(f"{path} is no file or folder of records ({', '.join(_READERS)})")
    for file in files:
        if file.suffix not in _READERS:
            raise ScreenError(f"{file} is no file of records; they end in {', '.join(_READERS)}")
        for number, record in enumerate(_READERS[file.suffix](file)):
            where = f"{file}, record {number}"
            if not isinstance(record, Mapping):
                raise ScreenError(f"{where} is no object but {shown(record)}")
            yield where, record


def _lines(file: Path) -> Iterator[Any]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _json(line, f"{file}, line {number}")


def _whole(file: Path) -> Iterator[Any]:
    try:
        data = read_bytes(file, LARGEST_FILE)
    except ConfigError as error:
        raise ScreenError(f"{file} {error}") from error
    value = _json(data, str(file))
    if isinstance(value, dict) and value and all(isinstance(rows, list) for rows in value.values()):
        for name, rows in value.items():
            yield from ({"split": name, **row} if isinstance(row, dict) else row for row in rows)
    elif isinstance(value, list):
        yield from value
    else:
        raise ScreenError(f"{file} holds no list of records but {shown(value)}")


def _json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScreenError(f"{where} is not JSON: {error or 'nested too deeply'}") from error


def _parquet(file: Path) -> Iterator[Any]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ScreenError(f"{file} is a Parquet file, which needs pyarrow: pip install pyarrow") from error
    try:
        opened = parquet.ParquetFile(file)
        for batch in opened.iter_batches(batch_size=16):
            yield from batch.to_pylist()
    # Damaged files let almost any error through.
    except Exception as error:
        raise ScreenError(f"{file} cannot be read as Parquet: {type(error).__name__} {shown(str(error))}") from error


_READERS = {".parquet": _parquet, ".jsonl": _lines, ".json": _whole}


class Fields:
    """Fields of a record, each of its kind. Its methods raise ScreenError, which says where, for one that is not."""

    def __init__(self, record: Record, where: str) -> None:
        self.record, self.where = record, where

    def wrong(self, name: str, wanted: str) -> ScreenError:
        """For a field that is not what is wanted."""
        return ScreenError(f"{self.where}: {name} must be {wanted}, got {shown(self.record.get(name))}")

    def text(self, name: str, *, empty: bool = False) -> str:
        """A text, which may only be empty if that is allowed."""
        value = self.record.get(name)
        if not isinstance(value, str) or not (empty or value.strip()):
            raise self.wrong(name, "a text")
        return value

    def name(self, name: str) -> str:
        """What tells records apart: a text or a whole number."""
        value = self.record.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(name)

    def whole(self, name: str, least: int, most: int) -> int:
        """A whole number."""
        value = self.record.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """So many finite numbers."""
        value = self.record.get(name)
        try:
            found = tuple(float(item) for item in value or ())
        except (TypeError, ValueError):
            found = ()
        if len(found) != count or not np.isfinite(found).all():
            raise self.wrong(name, f"{count} numbers")
        return found

    def list(self, name: str) -> list[Any]:
        """A list."""
        value = self.record.get(name)
        if not isinstance(value, (list, tuple)):
            raise self.wrong(name, "a list")
        return list(value)

    def parsed(self, value: object, name: str) -> dict[str, Any]:
        """A map, or the JSON text of one."""
        found = value
        if isinstance(value, str):
            try:
                found = json.loads(value)
            except (ValueError, RecursionError):
                found = None
        if not isinstance(found, dict):
            raise ScreenError(f"{self.where}: {name} must hold a map or its JSON text, got {shown(value)}")
        return found


def picture(value: object, folder: Path, where: str) -> np.ndarray:
    """A picture of a record, uint8 (H, W, 3) rgb: the bytes of a file, a map with `bytes` as Hugging Face keeps it, or
    the name of a file below `folder`. Raises ScreenError."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        try:
            path = (folder / value).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ScreenError(f"{where}: the picture {shown(value)} lies outside {folder}")
            return read_image(path)
        except CommandError as error:
            raise ScreenError(f"{where}: {error}") from error
        except (OSError, ValueError) as error:
            if isinstance(error, ScreenError):
                raise
            raise ScreenError(f"{where}: the picture {shown(value)} is no file's name") from error
    if not isinstance(value, (bytes, bytearray)):
        raise ScreenError(f"{where}: its picture must be bytes or a file's name, got {shown(value)}")
    try:
        return decode_image(bytes(value), f"{where}: its picture")
    except CommandError as error:
        raise ScreenError(str(error)) from error
