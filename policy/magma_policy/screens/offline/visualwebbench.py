"""VisualWebBench (Liu et al. 2024, arXiv 2404.05955), element and action grounding: which of eight labelled boxes.

The published picture has letters A to H drawn in. Magma has seen numbers only, so the same boxes can be drawn anew with
numbers on the raw picture; which of the two its authors did is not said. Chance is 1 in 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import ScreenError
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.marks.set_of_mark import parse_ui_answer
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import Candidate
from magma_policy.screens.offline.figures import Figure, rate
from magma_policy.screens.offline.records import Fields, Record, picture

Marks = Literal["letters", "numbers"]
MARKS: tuple[Marks, ...] = get_args(Marks)
LETTERS = "ABCDEFGH"
_ASKED = {
    "element_ground": ("elem_desc", "Tell me which one best matches the description: "),
    "action_ground": ("instruction", "Tell me which one I should click to complete the following task: "),
}
# Spelt as published.
_BEGIN = "In this website screenshot, I have labeled IDs for some HTML elements as candicates. "
_END = (
    "\n\nYou should directly tell me your choice in a single uppercase letter, and do not output any explanation or "
    "any other contents."
)
_END_NUMBERS = "\n\nYou should directly tell me the number of your choice, and do not output any explanation."
_LETTER = re.compile(rf"(?<![A-Za-z])[{LETTERS}](?![A-Za-z])")
_NUMBER = re.compile(r"(?<![0-9.])[0-9]{1,4}(?![0-9])")


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        id: as published.
        task: one of element_ground and action_ground.
        asked: the description or the task.
        image: uint8 (H, W, 3) rgb, with letters drawn in.
        raw_image: the same without; None where the record has none.
        options: the eight boxes, x1, y1, x2, y2 in pixels of the raw picture.
        answer: number of the right one, from 0.
    """

    id: str
    task: str
    asked: str
    image: NDArray[np.uint8]
    raw_image: NDArray[np.uint8] | None
    options: tuple[tuple[float, float, float, float], ...]
    answer: int


@dataclass(frozen=True)
class Score:
    """`parsed`: whether the answer names any choice."""

    task: str
    right: bool
    parsed: bool


def rows(records: Iterator[tuple[str, Record]], folder: Path) -> Iterator[Row]:
    """Reads records of the two tasks and passes over those of others. Raises ScreenError for one that is damaged."""
    for where, record in records:
        fields = Fields(record, where)
        task = fields.text("task_type")
        if task not in _ASKED:
            continue
        boxes = [Fields({"options": option}, where).numbers("options", 4) for option in fields.list("options")]
        if len(boxes) != len(LETTERS):
            raise fields.wrong("options", f"{len(LETTERS)} boxes")
        raw = record.get("raw_image")
        yield Row(
            fields.name("id"),
            task,
            fields.text(_ASKED[task][0]),
            picture(record.get("image"), folder, where),
            None if raw is None else picture(raw, folder, where),
            tuple((a, b, c, d) for a, b, c, d in boxes),
            fields.whole("answer", 0, len(LETTERS) - 1),
        )


def question(row: Row, marks: Marks = "letters") -> Question:
    """The published question; with numbers, about the raw picture with the same boxes drawn anew.

    Raises ScreenError: numbers are asked for and there is no raw picture.
    """
    words = _BEGIN + _ASKED[row.task][1] + row.asked
    candidates = tuple(Candidate(_ordered(box)) for box in row.options)
    if marks == "letters":
        return Question(row.image, words + _END, candidates)
    if row.raw_image is None:
        raise ScreenError(f"row {row.id} has no raw picture to draw numbers on")
    boxes = np.array([candidate.box for candidate in candidates])
    return Question(draw_box_marks(row.raw_image, boxes), words + _END_NUMBERS, candidates)


def _ordered(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def chosen(answer: str, marks: Marks = "letters") -> int | None:
    """The choice that an answer names: of several letters the last; a mark that is called one, or else the last number.
    None: none of the eight."""
    if marks == "letters":
        letters = _LETTER.findall(answer)
        return LETTERS.index(letters[-1]) if letters else None
    mark = parse_ui_answer(answer).mark
    numbers = _NUMBER.findall(answer)
    found = mark if mark is not None else int(numbers[-1]) if numbers else None
    return found if found is not None and found < len(LETTERS) else None


def score(row: Row, answer: str, marks: Marks = "letters") -> Score:
    """Judges an answer to `question`."""
    choice = chosen(answer, marks)
    return Score(row.task, choice == row.answer, choice is not None)


def summary(scores: Sequence[Score]) -> list[Figure]:
    """The rate of each task."""
    chance = 100.0 / len(LETTERS)
    tasks = [task for task in _ASKED if any(item.task == task for item in scores)]
    return [
        *(rate(task, [item.right for item in scores if item.task == task], chance) for task in tasks),
        rate("answers without a choice", [not item.parsed for item in scores]),
    ]
