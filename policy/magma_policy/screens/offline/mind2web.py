"""Mind2Web (Deng et al. 2023, arXiv 2306.06070) as Multimodal-Mind2Web records it: one step of a task on a page.

Magma's protocol (Yang et al. 2025, appendix B.2.1): the screenshot, as wide as the page and at most 1344 pixels high
around the target; marks on the 30 candidates of the shipped ranking; a step whose target is not among them is wrong.
Element accuracy: the middle of the chosen mark's box lies in the target's. Operation F1: of the sets of words of
operation and value. A step is right with the element right and an F1 of 1. All three are means over tasks of means over
their steps (and, beside these, over all steps); steps without a target's box are dropped and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import holds
from magma_policy.errors import ScreenError, shown
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.screens.actions import ScreenAction, web_action
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import Candidate, boxes_of
from magma_policy.screens.offline.figures import Figure, mean, rate
from magma_policy.screens.offline.records import Fields, Record, picture
from magma_policy.screens.prompts import web_question

HIGHEST_PX = 1344
RANKED = 30
_OPERATIONS = {"CLICK": "CLICK", "HOVER": "CLICK", "ENTER": "CLICK", "TYPE": "TYPE", "SELECT": "SELECT"}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Row:
    """One step.

    Attributes:
        id: annotation and action.
        episode: annotation: what steps of one task share.
        task: in words.
        history: the steps before, in the published words.
        image: uint8 (H, W, 3) rgb, cut around the target; without one, from the top.
        candidates: those that get marks, boxes in pixels of the image.
        target: boxes of the right elements in pixels of the image; empty: unknown.
        operation: CLICK, TYPE or SELECT.
        value: what is typed or chosen.
        covered: whether a right element is among the candidates.
    """

    id: str
    episode: str
    task: str
    history: tuple[str, ...]
    image: NDArray[np.uint8]
    candidates: tuple[Candidate, ...]
    target: tuple[Box, ...]
    operation: str
    value: str
    covered: bool


@dataclass(frozen=True)
class Score:
    """One step: `element`, `f1` of the operation; `parsed`: whether the answer names an action; `covered` as the row's;
    `marks` on the picture."""

    episode: str
    element: bool
    f1: float
    parsed: bool
    covered: bool
    marks: int

    @property
    def step(self) -> bool:
        """Whether all of it is right."""
        return self.element and self.f1 == 1.0


def rows(records: Iterator[tuple[str, Record]], folder: Path) -> Iterator[Row | None]:
    """Reads records; None for a step that has no box of its target, as published scores leave it out.

    Raises ScreenError for one that is damaged.
    """
    for where, record in records:
        yield _row(Fields(record, where), folder)


def _row(fields: Fields, folder: Path) -> Row | None:
    operation = fields.parsed(fields.record.get("operation"), "operation")
    kind = str(operation.get("original_op") or operation.get("op") or "").upper()
    if kind not in _OPERATIONS:
        raise ScreenError(f"{fields.where}: operation must be one of {', '.join(_OPERATIONS)}, got {shown(operation)}")
    value = operation.get("value", "")
    if not isinstance(value, str):
        raise ScreenError(f"{fields.where}: the operation's value must be a text, got {shown(value)}")
    right = [_element(fields, item, "pos_candidates") for item in fields.list("pos_candidates")]
    wrong = [_element(fields, item, "neg_candidates") for item in fields.list("neg_candidates")]
    targets = [box for _, box, _ in right if box is not None]
    if not targets:
        return None
    whole = picture(fields.record.get("screenshot"), folder, fields.where)
    top, image = cut_around(whole, targets[0])
    ranked = sorted((item for item in [*right, *wrong] if item[0] is not None), key=lambda item: item[0] or 0)[:RANKED]
    positive = {node for _, box, node in right if box is not None}
    chosen = [(node, _moved(box, top)) for _, box, node in ranked if box is not None]
    height, width = image.shape[:2]
    seen = [(node, box) for node, box in chosen if _is_seen(box, width, height)]
    done = fields.list("action_reprs")
    at = _step_number(fields, len(done))
    return Row(
        f"{fields.text('annotation_id')}/{fields.text('action_uid')}",
        fields.text("annotation_id"),
        fields.text("confirmed_task"),
        tuple(str(line) for line in done[:at]),
        image,
        tuple(Candidate(box, key=node) for node, box in seen),
        tuple(_moved(box, top) for box in targets),
        _OPERATIONS[kind],
        value,
        any(node in positive for node, _ in seen),
    )


def _step_number(fields: Fields, steps: int) -> int:
    """Published as a text."""
    value = fields.record.get("target_action_index")
    try:
        at = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else -1
    except ValueError:
        at = -1
    if not 0 <= at < max(1, steps):
        raise fields.wrong("target_action_index", f"one of {steps} steps")
    return at


def _element(fields: Fields, item: object, name: str) -> tuple[int | None, Box | None, str]:
    """Rank, box in pixels of the page, and number of a candidate; box or rank None where it has none."""
    candidate = fields.parsed(item, name)
    attributes = fields.parsed(candidate.get("attributes", {}), f"{name}' attributes")
    rank = candidate.get("rank")
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool)):
        raise ScreenError(f"{fields.where}: a candidate's rank must be a whole number, got {shown(rank)}")
    return rank, _page_box(fields, attributes.get("bounding_box_rect")), str(candidate.get("backend_node_id", ""))


def _page_box(fields: Fields, text: Any) -> Box | None:
    """Of "x,y,width,height"; None where the element had no place."""
    if text is None or text == "":
        return None
    parts = str(text).split(",")
    try:
        x, y, width, height = (float(part) for part in parts)
    except ValueError:
        x = math.nan
        y = width = height = x
    if not np.isfinite((x, y, width, height)).all():
        raise ScreenError(f'{fields.where}: bounding_box_rect must be "x,y,width,height", got {shown(text)}')
    return None if width <= 0.0 or height <= 0.0 else (x, y, x + width, y + height)


def cut_around(image: NDArray[np.uint8], box: Box, highest: int = HIGHEST_PX) -> tuple[int, NDArray[np.uint8]]:
    """First row, and the part of a page's picture with at most so many rows that has the box in its middle, as far as
    the page goes."""
    rows = image.shape[0]
    if rows <= highest:
        return 0, image
    middle = (box[1] + box[3]) / 2.0
    top = int(min(max(0.0, round(middle - highest / 2.0)), rows - highest))
    return top, np.ascontiguousarray(image[top : top + highest])


def _moved(box: Box, top: int) -> Box:
    return box[0], box[1] - top, box[2], box[3] - top


def _is_seen(box: Box, width: int, height: int) -> bool:
    return box[2] > 0.0 and box[3] > 0.0 and box[0] < width and box[1] < height


def question(row: Row) -> Question:
    """The published question."""
    marked = draw_box_marks(row.image, boxes_of(row.candidates))
    return Question(marked, web_question(row.task, row.history), row.candidates)


def score(row: Row, answer: str) -> Score:
    """Judges an answer to `question`; one that is no action counts as wrong in everything."""
    try:
        action = web_action(answer, len(row.candidates))
    except ScreenError:
        return Score(row.episode, False, 0.0, False, row.covered, len(row.candidates))
    said = _words(action)
    wanted = _words_of(row.operation, row.value)
    element = False
    if action.mark is not None and not action.ends:
        centre = row.candidates[action.mark].centre
        element = any(holds(box, centre) for box in row.target)
    return Score(row.episode, element, operation_f1(said, wanted), True, row.covered, len(row.candidates))


def _words(action: ScreenAction) -> str:
    return _words_of(action.kind.value, action.text)


def _words_of(operation: str, value: str) -> str:
    """Operation and value as they are compared; a click has no value, and case does not count in values."""
    return operation if operation == "CLICK" else f"{operation} {value.lower()}"


def operation_f1(said: str, wanted: str) -> float:
    """F1 of two sets of words: 1 for two empty ones, 0 for one."""
    mine, theirs = set(said.split()), set(wanted.split())
    if not mine or not theirs:
        return float(mine == theirs)
    common = len(mine & theirs)
    return 2.0 * common / (len(mine) + len(theirs))


def summary(scores: Sequence[Score], dropped: int = 0) -> list[Figure]:
    """Means over tasks, the same over all steps, and what bounds them; `dropped`: steps without a target's box."""
    episodes: dict[str, list[Score]] = {}
    for item in scores:
        episodes.setdefault(item.episode, []).append(item)

    def over_tasks(name: str, value: Any) -> Figure:
        return mean(name, [float(np.mean([value(item) for item in own])) for own in episodes.values()], len(scores))

    with_marks = [1.0 / item.marks for item in scores if item.marks]
    chance = 100.0 * float(np.mean(with_marks)) if with_marks else None
    found = [
        over_tasks("element accuracy", lambda item: item.element),
        over_tasks("operation F1", lambda item: item.f1),
        over_tasks("step success", lambda item: item.step),
        rate("element accuracy over steps", [item.element for item in scores], chance),
        mean("operation F1 over steps", [item.f1 for item in scores], len(scores)),
        rate("step success over steps", [item.step for item in scores]),
        rate("target among the marks", [item.covered for item in scores]),
        rate("answers without an action", [not item.parsed for item in scores]),
    ]
    everything = len(scores) + dropped
    return [*found, Figure("steps dropped, without a target's box", 100.0 * dropped / everything, everything)]
