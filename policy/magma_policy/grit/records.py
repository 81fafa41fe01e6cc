"""Records in the schema of the published GRIT (zzliang/GRIT on the Hugging Face Hub), checked as they are read.

A record is a caption with `noun_chunks` and `ref_exps`: rows [start, end, x1, y1, x2, y2, score], characters of the
caption and fractions of the picture, one row a box. A chunk that could not be expanded stands in `ref_exps` too, and so
do expressions that lie within others: those are left out when sequences are made, as the paper does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from magma_contracts.text import brief, encodes

LONGEST_CAPTION = 5_000
MOST_ROWS = 1_000
LARGEST_NUMBER = 2.0**63
EDGE = 1e-3
"""Detectors' boxes reach a little over the edge; so far they are cut, further they are no fractions."""


class RecordError(ValueError):
    """A record that is not as the schema says."""


@dataclass(frozen=True)
class PhraseBox:
    """Characters [start, end) of a caption, where they are (x1 y1 x2 y2, fractions), and how sure that is."""

    start: int
    end: int
    box: tuple[float, float, float, float]
    score: float

    def as_row(self) -> list[float]:
        """As the schema has it."""
        return [self.start, self.end, *self.box, self.score]


@dataclass(frozen=True)
class Record:
    """A picture's caption with places.

    Attributes:
        key: name of the picture's file without its ending.
        id: of the picture in its source, if it has one.
        url: where it comes from, if anywhere.
        size: width and height in pixels.
        chunks, expressions: `noun_chunks` and `ref_exps`.
        similarities: `clip_similarity_…` fields, which are handed on.
    """

    key: str
    caption: str
    size: tuple[int, int]
    chunks: tuple[PhraseBox, ...]
    expressions: tuple[PhraseBox, ...]
    id: int | None = None
    url: str = ""
    similarities: tuple[tuple[str, float], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """In the published schema and its order."""
        return {
            "key": self.key,
            **dict(self.similarities),
            "id": self.id,
            "url": self.url,
            "caption": self.caption,
            "width": self.size[0],
            "height": self.size[1],
            "noun_chunks": [row.as_row() for row in self.chunks],
            "ref_exps": [row.as_row() for row in self.expressions],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Record:
        """Raises RecordError that names the field."""
        caption = data.get("caption")
        if not isinstance(caption, str) or not caption.strip() or len(caption) > LONGEST_CAPTION:
            raise RecordError(f"caption must be a text of at most {LONGEST_CAPTION} characters, got {brief(caption)}")
        if not encodes(caption):
            raise RecordError(f"caption holds half a character: {brief(caption)}")
        size = tuple(_whole(data, name, 1) for name in ("width", "height"))
        number = data.get("id")
        key = data.get("key", number)
        if isinstance(key, bool) or not isinstance(key, (str, int)) or not str(key) or not encodes(str(key)):
            raise RecordError(f"key must be a text, got {brief(key)}")
        url = data.get("url") or ""
        if not isinstance(url, str) or not encodes(url):
            raise RecordError(f"url must be a text, got {brief(url)}")
        return cls(
            key=str(key),
            caption=caption,
            size=(size[0], size[1]),
            chunks=_rows(data, "noun_chunks", len(caption)),
            expressions=_rows(data, "ref_exps", len(caption)),
            id=None if number is None else _whole(data, "id", 0),
            url=url,
            similarities=similarities(data),
        )


def similarities(data: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """The fields `clip_similarity_…` that are numbers."""
    return tuple(
        (name, float(value))
        for name, value in data.items()
        if name.startswith("clip_similarity_") and encodes(name) and _is_number(value)
    )


def outermost(expressions: Iterable[PhraseBox]) -> list[PhraseBox]:
    """Those that lie within no other one; of equal spans neither contains the other."""
    every = list(expressions)
    spans = {(one.start, one.end) for one in every}
    return [
        one
        for one in every
        if not any(
            start <= one.start and one.end <= end and (start, end) != (one.start, one.end) for start, end in spans
        )
    ]


def _rows(data: Mapping[str, Any], name: str, length: int) -> tuple[PhraseBox, ...]:
    rows = data.get(name)
    if not isinstance(rows, list) or len(rows) > MOST_ROWS:
        raise RecordError(f"{name} must be a list of at most {MOST_ROWS} rows, got {brief(rows)}")
    return tuple(_row(f"{name}[{index}]", row, length) for index, row in enumerate(rows))


def _row(where: str, row: Any, length: int) -> PhraseBox:
    values: Any = row
    if not isinstance(values, list) or len(values) != 7 or not all(map(_is_number, values)):
        raise RecordError(f"{where} must be [start, end, x1, y1, x2, y2, score], got {brief(values)}")
    start, end = int(values[0]), int(values[1])
    if (start, end) != (values[0], values[1]) or not 0 <= start < end <= length:
        raise RecordError(f"{where}: [{values[0]:g}, {values[1]:g}] is no part of a caption of {length} characters")
    box = [float(value) for value in values[2:6]]
    if not all(-EDGE <= value <= 1 + EDGE for value in box) or box[2] <= box[0] or box[3] <= box[1]:
        raise RecordError(f"{where}: {brief(box)} is no box x1, y1, x2, y2 in fractions of the picture")
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
    return PhraseBox(start, end, (x1, y1, x2, y2), float(values[6]))


def _is_number(value: Any) -> bool:
    """A finite one that is not absurd: whole numbers of a JSON file may be larger than any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _whole(data: Mapping[str, Any], name: str, least: int) -> int:
    value = data.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # whole columns with gaps come as floats
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise RecordError(f"{name} must be a whole number from {least} on, got {brief(value)}")
    return value
