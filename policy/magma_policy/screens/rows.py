"""Rows that teach a model about screens, in the form of the published sets (MagmaAI/Magma-Mind2Web-SoM):

    {"id": …, "image": "pictures/….png",
     "conversations": [{"from": "human", "value": "<image>\\n…"}, {"from": "gpt", "value": …}]}

one a line in a folder's rows.jsonl, pictures beside it, marks already drawn. A row has one question and one answer.

A set may say besides, in its marks.jsonl, what stands at the marks of its pictures:

    {"image": "pictures/….png", "marks": [[0, 0.12, 0.31, "button Submit"], …]}

the number, the middle (x, y) as fractions of the picture, words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from magma_policy.errors import ScreenError, shown

ROWS = "rows.jsonl"
MARKS = "marks.jsonl"
IMAGE = "<image>"
LONGEST_LINE = 1_000_000
_MARKERS = ("<image_start>", "<image_end>")


@dataclass(frozen=True)
class Row:
    """One question about one picture."""

    id: str
    image: str
    """path of the picture below the set's folder"""
    question: str
    answer: str

    def as_json(self) -> str:
        """The line that holds it."""
        talk = [{"from": "human", "value": f"{IMAGE}\n{self.question}"}, {"from": "gpt", "value": self.answer}]
        return json.dumps({"id": self.id, "image": self.image, "conversations": talk}, ensure_ascii=False)


@dataclass(frozen=True)
class Mark:
    """What stands at a mark: its number, its middle (x, y) as fractions of the picture, and words."""

    number: int
    x: float
    y: float
    words: str


def read_row(line: str | bytes) -> Row:
    """Inverse of `Row.as_json`, unknown fields left aside as published sets have more. Raises ScreenError."""
    if len(line) > LONGEST_LINE:
        raise ScreenError(f"a row has at most {LONGEST_LINE} characters, this has {len(line)}")
    try:
        value = json.loads(line)
        talk, image = value["conversations"], value["image"]
        if not isinstance(talk, list) or [turn["from"] for turn in talk] != ["human", "gpt"]:
            raise ValueError("its conversations are not one question of human and one answer of gpt")
        question, answer = (turn["value"] for turn in talk)
        if not all(isinstance(text, str) and text.strip() for text in (image, question, answer)):
            raise ValueError("image, question or answer is empty or no text")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__} {error}"
        raise ScreenError(f"this is no row of a set for screens ({why}): {shown(line[:60])}") from error
    parts = PurePosixPath(image)
    if parts.is_absolute() or ".." in parts.parts:
        raise ScreenError(f"the picture {shown(image)} lies outside the set")
    for marker in _MARKERS:
        question = question.replace(marker, "")
    if question.count(IMAGE) != 1:
        raise ScreenError(f"a question holds {IMAGE} once, this {question.count(IMAGE)} times: {shown(question)}")
    return Row(str(value.get("id", "")), image, question.replace(IMAGE, "").strip(), answer.strip())


def read_rows(folders: Sequence[Path]) -> list[tuple[Path, Row]]:
    """Every row of sets, with its picture's path. Raises ScreenError, with the line, for one that cannot be used."""
    found: list[tuple[Path, Row]] = []
    for folder in folders:
        path = folder / ROWS
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise ScreenError(f"{folder} is no set of rows: {path.name} cannot be read ({error.strerror})") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = read_row(line)
            except ScreenError as error:
                raise ScreenError(f"{path}, line {number}: {error}") from error
            picture = folder / row.image
            if not picture.is_file():
                raise ScreenError(f"{path}, line {number}: there is no picture {picture}")
            found.append((picture, row))
    if not found:
        raise ScreenError(f"no rows in {', '.join(map(str, folders))}")
    return found


def append_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Adds rows to a set's file, which is made where there is none."""
    with (folder / ROWS).open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(row.as_json() + "\n")


def append_marks(folder: Path, image: str, marks: Sequence[Mark]) -> None:
    """Adds what stands at a picture's marks to a set's file, which is made where there is none."""
    listed = [[mark.number, round(mark.x, 4), round(mark.y, 4), mark.words] for mark in marks]
    with (folder / MARKS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"image": image, "marks": listed}, ensure_ascii=False) + "\n")


def read_marks(folders: Sequence[Path]) -> dict[Path, tuple[Mark, ...]]:
    """The marks of every picture of which sets say them, by its path. Raises ScreenError, with the line."""
    found: dict[Path, tuple[Mark, ...]] = {}
    for folder in folders:
        path = folder / MARKS
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                image, marks = _read_marks(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                why = f"{type(error).__name__} {error}"
                raise ScreenError(f"{path}, line {number}: this says no marks ({why}): {shown(line[:60])}") from error
            found[folder / image] = marks
    return found


def _read_marks(line: bytes) -> tuple[str, tuple[Mark, ...]]:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it has {len(line)} bytes, at most {LONGEST_LINE} are read")
    value = json.loads(line)
    marks = []
    for number, x, y, words in value["marks"]:
        placed = all(type(part) in (int, float) and 0.0 <= part <= 1.0 for part in (x, y))
        if not (placed and type(number) is int and number >= 0 and isinstance(words, str)):
            raise ValueError("a mark is a number, two fractions and words")
        marks.append(Mark(number, float(x), float(y), words))
    image = value["image"]
    if not isinstance(image, str):
        raise ValueError("image is no text")
    return image, tuple(marks)
