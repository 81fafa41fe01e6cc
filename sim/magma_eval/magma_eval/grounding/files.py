"""Annotation files, read as they are published: what is not as the format says is refused in one sentence that names
the file and the row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.files.small_files import read_bytes
from magma_contracts.text import encodes
from magma_eval.results.episode_result import ResultsError
from magma_eval.typed import named, parse_json, shown

LARGEST_FILE = 4 * 2**30
"""Bytes; the largest published file, the answers of VQAv2's training split, has 400 MB."""
LARGEST_SIDE = 100_000
"""Pixels."""


class AnnotationError(ResultsError):
    """An annotation file is missing, damaged, or for something else."""


@dataclass(frozen=True)
class Row:
    """An object of a file; `where` is how errors call it, such as "val.json, images[3]"."""

    where: str
    data: dict[str, Any]

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._value(name)
        if not isinstance(value, str) or not value.strip():
            raise AnnotationError(f"{self.where}: {name} must be a text, got {shown(value)}")
        if not encodes(value):
            raise AnnotationError(f"{self.where}: {name} holds half a character: {shown(value)}")
        return value

    def number(self, name: str, least: int = 0) -> int:
        """A whole number of at least `least`. Digits in quotes are one too: so MDETR's files write the sizes of
        Flickr30k's pictures."""
        value = self._value(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 10**15:
            raise AnnotationError(f"{self.where}: {name} must be a whole number from {least} on, got {shown(value)}")
        return value

    def items_of(self, name: str) -> list[Any]:
        """A list."""
        value = self._value(name)
        if not isinstance(value, list):
            raise AnnotationError(f"{self.where}: {name} must be a list, got {shown(value)}")
        return value

    def rows(self, name: str) -> Iterator[Row]:
        """The objects of a list."""
        for index, item in enumerate(self.items_of(name)):
            where = f"{self.where}{self._joint}{name}[{index}]"
            if not isinstance(item, dict):
                raise AnnotationError(f"{where}: expected an object, got {shown(item)}")
            yield Row(where, item)

    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.number("width", 1), self.number("height", 1)
        if max(width, height) > LARGEST_SIDE:
            raise AnnotationError(f"{self.where}: a picture of {width} x {height} pixels is none")
        return width, height

    def box(self, name: str = "bbox") -> NDArray[np.float64]:
        """COCO's x, y, width, height in pixels as x1, y1, x2, y2 (4,)."""
        value = self.items_of(name)
        fine = len(value) == 4 and all(
            isinstance(part, (int, float)) and not isinstance(part, bool) and abs(part) <= LARGEST_SIDE
            for part in value
        )
        if not fine or value[2] < 0 or value[3] < 0:
            raise AnnotationError(f"{self.where}: {name} must be x, y, width, height in pixels, got {_told(value)}")
        x, y, width, height = value
        return np.array([x, y, x + width, y + height], dtype=np.float64)

    def spans(self, name: str, text: str) -> list[tuple[int, int]]:
        """[[start, end], …] as characters of a text."""
        value = self.items_of(name)
        found = []
        for span in value:
            whole = isinstance(span, list) and len(span) == 2 and all(type(part) is int for part in span)
            if not whole or not 0 <= span[0] < span[1] <= len(text):
                raise AnnotationError(
                    f"{self.where}: {name} must be [start, end] within a caption of {len(text)} characters, got "
                    f"{_told(span)}"
                )
            found.append((span[0], span[1]))
        return found

    def file_name(self, name: str = "file_name") -> str:
        """The name of a picture's file, which leads out of no folder."""
        value = self.text(name)
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\\" in value or not value.isprintable():
            raise AnnotationError(f"{self.where}: {name} must be the name of a file, got {shown(value)}")
        return value

    def _value(self, name: str) -> Any:
        if name not in self.data:
            raise AnnotationError(f"{self.where}: has no {name}")
        return self.data[name]

    @property
    def _joint(self) -> str:
        return "." if self.where.endswith("]") else ", "


def read_rows(path: Path) -> Row:
    """The object that a JSON file holds. Raises AnnotationError."""
    try:
        data = parse_json(read_bytes(path, LARGEST_FILE))
    except (ValueError, MemoryError) as error:
        raise AnnotationError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise AnnotationError(f"{path}: expected an object, got {shown(data)}")
    return Row(str(path), data)


def unique(row: Row, key: object, seen: set[Any], what: str) -> None:
    """Notes a key. Raises AnnotationError where it came before."""
    if key in seen:
        raise AnnotationError(f"{row.where}: {what} {named(key)} came before")
    seen.add(key)


def _told(value: Any) -> str:
    """A short list as it stands, anything else by its kind."""
    if isinstance(value, list) and len(value) <= 4 and not any(isinstance(part, (list, dict)) for part in value):
        return "[" + ", ".join(shown(part) for part in value) + "]"
    return shown(value)
