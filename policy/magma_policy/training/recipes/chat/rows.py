"""Conversations as Magma-SFT-820K and LLaVA's sets write them: one JSON list of rows, pictures in a folder.

A row has `conversations`, turns of `from` (human, gpt) and `value`, and `image`, a path, several, or none. `<image>`
in the words stands for a picture; Magma reads pictures in front of the words of their turn, so the places are only
counted. Rows that cannot be meant are left out, each with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from magma_contracts.errors import ConfigError
from magma_contracts.files.small_files import read_text
from magma_contracts.files.typed_tables import naming
from magma_contracts.text import printable
from magma_policy.errors import InstructionError
from magma_policy.families.interface import Turn
from magma_policy.files.image_files import FORMATS, MAX_PIXELS, ORIENTATION, TURNED_SIDEWAYS
from magma_policy.instructions import check_answer, check_question

IMAGE, PAD = "<image>", "<pad>"
HUMAN, MODEL = ("human", "user"), ("gpt", "assistant")
MAX_TURNS, MAX_IMAGES = 128, 64
MAX_BYTES = 4 * 2**30
"""Of a file of rows; Magma-SFT-820K has about 1 GB."""


@dataclass(frozen=True)
class Conversation:
    """A row: questions with their answers, the files of the pictures in order, and their sizes."""

    name: str
    turns: tuple[Turn, ...]
    images: tuple[Path, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    """(width, height) of each"""


@dataclass(frozen=True)
class Conversations:
    """What can be learned from some files, and what was left out of them, a sentence each."""

    rows: list[Conversation]
    problems: list[str]


def read_conversations(files: Sequence[Path], images: Path | None) -> Conversations:
    """All rows of some files, `images` the folder of their pictures (default: that of each file).

    Raises ConfigError for a file that is no list of rows, or when no row is left.
    """
    rows: list[Conversation] = []
    problems: list[str] = []
    for path in files:
        folder = images if images is not None else path.parent
        for number, row in _rows(path):
            try:
                rows.append(read_row(row, folder))
            except (ValueError, OSError) as error:
                name = row.get("id") if isinstance(row, dict) else None
                problems.append(f"{path}, row {number} (id {printable(name, 40)}): {printable(error, 200)}")
    if not rows:
        why = f": {problems[0]}" if problems else ""
        raise ConfigError(f"nothing to learn from in {', '.join(map(str, files))}{why}")
    return Conversations(rows, problems)


def read_row(row: Any, folder: Path) -> Conversation:
    """A row as a conversation. Raises ValueError, or OSError for pictures that are not there."""
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, got {type(row).__name__}")
    said = _said(row.get("conversations"))
    named = row.get("image", row.get("images"))
    names = [] if named in (None, "", []) else named if isinstance(named, list) else [named]
    if len(names) > MAX_IMAGES or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"image must be a path or at most {MAX_IMAGES} paths, got {printable(named, 60)}")
    turns = _turns(said, len(names))
    files = tuple(_inside(folder, name) for name in names)
    return Conversation(str(row.get("id", "")), turns, files, tuple(_size(file) for file in files))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their numbers: of a JSON list, or one of each line (.jsonl)."""
    try:
        with naming(path):
            text = read_text(path, MAX_BYTES)
        if path.suffix == ".jsonl":
            # splitlines would also part lines at U+2028 and its like, which JSON holds as they are.
            yield from enumerate(_line(line) for line in text.split("\n") if line.strip())
            return
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read as a list of conversations: {printable(error, 200)}") from error
    if not isinstance(data, list):
        raise ConfigError(f"{path} must hold a list of conversations, got {type(data).__name__}")
    yield from enumerate(data)


def _line(text: str) -> Any:
    """What a line holds, None for one that is no JSON: a row with a reason to be left out."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _said(conversations: Any) -> list[tuple[str, str]]:
    """Roles and words, from the first question on: some sets begin with an answer to nothing."""
    if not isinstance(conversations, list) or len(conversations) > MAX_TURNS:
        raise ValueError(f"conversations must be a list of at most {MAX_TURNS} turns")
    said = []
    for turn in conversations:
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise ValueError("a turn must have from and value, both texts")
        role = turn.get("from")
        if role not in (*HUMAN, *MODEL):
            raise ValueError(f"a turn is from {printable(role, 40)!r}, neither human nor gpt")
        if PAD in turn["value"]:
            raise ValueError(f"{PAD} stands in it")
        said.append((role, turn["value"]))
    while said and said[0][0] in MODEL:
        said.pop(0)
    if len(said) < 2:
        raise ValueError("no question with an answer")
    for number, (role, _) in enumerate(said):
        if role not in (MODEL if number % 2 else HUMAN):
            raise ValueError("questions and answers do not take turns")
    return said[: len(said) // 2 * 2]


def _turns(said: Sequence[tuple[str, str]], images: int) -> tuple[Turn, ...]:
    counts = [words.count(IMAGE) for _, words in said[::2]]
    if any(IMAGE in words for _, words in said[1::2]):
        raise ValueError(f"an answer holds {IMAGE}")
    if not sum(counts) and images:
        counts[0] = images  # some sets leave the place of a single picture out
    if sum(counts) != images:
        raise ValueError(f"{IMAGE} stands {sum(counts)} times in it, and there are {images} pictures")
    made = []
    for (_, asked), (_, answered), count in zip(said[::2], said[1::2], counts, strict=True):
        try:
            question = check_question(asked.replace(IMAGE, " "), literal=True)
            answer = check_answer(answered, literal=True)
        except InstructionError as error:
            raise ValueError(str(error)) from error
        if not answer:
            raise ValueError("an answer is empty")
        made.append(Turn(question, answer, count))
    return tuple(made)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{printable(name, 60)!r} names no picture in {folder}")
    return path


def _size(path: Path) -> tuple[int, int]:
    """Width and height as it will be shown, of which only the head of the file is read."""
    Image.init()
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
        width, height = picture.size
        # Of a PNG that told no Exif at its head, Pillow would decode all of it to look behind the pixels.
        turned = picture.getexif().get(ORIENTATION) if picture.format != "PNG" or "exif" in picture.info else None
        if turned in TURNED_SIDEWAYS:
            width, height = height, width
    if width * height > MAX_PIXELS:
        raise ValueError(f"{path} is {width}x{height} pixels; at most {MAX_PIXELS:,} are read")
    return width, height
