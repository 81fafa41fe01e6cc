"""Android in the Wild (Rawles et al. 2023, arXiv 2307.10088): one step of an episode on a phone.

Records are examples of TFRecord files; candidates are the set's own annotations. Two actions match when their types are
equal (typed texts are not compared); two taps when they are near each other or both in one annotation's box, grown; two
swipes when their main axes agree, whichever the direction. The published overall rate is the plain mean of the parts'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import ScreenError, shown
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.screens.actions import Kind, ScreenAction, phone_action
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import Candidate, boxes_of
from magma_policy.screens.offline.figures import Figure, mean, rate
from magma_policy.screens.offline.tfrecords import Feature, read_tfrecords
from magma_policy.screens.prompts import phone_history, phone_question

TYPE, DUAL_POINT, BACK, HOME, ENTER, COMPLETE, IMPOSSIBLE = 3, 4, 5, 6, 7, 10, 11
"""Numbers of actions in the records; a dual point is a tap or a swipe."""
TAP_LONGEST = 0.04
"""Of the screen from touch to lift: farther is a swipe."""
TAPS_APART = 0.14
"""Of the screen: taps that are nearer match wherever they are."""
GROWN = 1.4
"""By so much of its size an annotation's box is larger when taps are looked for in it."""
_NOWHERE = (-1.0, -1.0)
_SWIPES = {"UP": ((0.8, 0.5), (0.2, 0.5)), "DOWN": ((0.2, 0.5), (0.8, 0.5)),
           "LEFT": ((0.5, 0.8), (0.5, 0.2)), "RIGHT": ((0.5, 0.2), (0.5, 0.8))}  # fmt: skip
_PLACES = {"BACK": BACK, "HOME": HOME, "ENTER": ENTER}
_ENDS = {"COMPLETE": COMPLETE, "IMPOSSIBLE": IMPOSSIBLE}
Point = tuple[float, float]


@dataclass(frozen=True)
class Gesture:
    """What is done: one of the numbers above; (y, x) of touch and lift as fractions of the screen, for dual points."""

    type: int
    touch: Point = _NOWHERE
    lift: Point = _NOWHERE
    text: str = ""

    @property
    def is_tap(self) -> bool:
        """Whether finger down and up are at one place."""
        return float(np.hypot(self.touch[0] - self.lift[0], self.touch[1] - self.lift[1])) <= TAP_LONGEST


@dataclass(frozen=True)
class Row:
    """One step.

    Attributes:
        id: episode and step.
        part: of the set, as its folder is called.
        goal: what is to be done, in words.
        history: the steps before, in the format of the answers.
        image: uint8 (H, W, 3) rgb.
        boxes: float64 (N, 4) annotations: y, x, height, width as fractions of the screen.
        gesture: what the person did.
    """

    id: str
    part: str
    goal: str
    history: tuple[str, ...]
    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    gesture: Gesture


@dataclass(frozen=True)
class Score:
    """One step; `type_right` with the number alone."""

    part: str
    right: bool
    type_right: bool
    parsed: bool


def read(path: Path, *, check_data: bool = False) -> Iterator[Row]:
    """Steps of a file, or of every file of a folder and its folders (one a part of the set).

    Raises:
        ScreenError: no files, or a damaged one.
    """
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    if not files:
        raise ScreenError(f"{path} holds no TFRecord files")
    for file in files:
        yield from rows(
            ((f"{file}, record {number}", example)
             for number, example in enumerate(read_tfrecords(file, check_data=check_data))),
            file.parent.name,
        )  # fmt: skip


def rows(examples: Iterator[tuple[str, dict[str, Feature]]], part: str) -> Iterator[Row]:
    """Reads examples, the steps of an episode one after the other. Raises ScreenError for one that is damaged."""
    episode = ""
    history: list[str] = []
    for where, example in examples:
        fields = _Features(example, where)
        own = fields.text("episode_id")
        if own != episode:
            episode, history = own, []
        boxes = fields.numbers("image/ui_annotations_positions")
        if len(boxes) % 4 or not all(np.isfinite(boxes)):
            raise ScreenError(
                f"{where}: image/ui_annotations_positions must be y, x, height, width of each, got {len(boxes)} numbers"
            )
        gesture = fields.gesture()
        yield Row(
            f"{own}/{fields.whole('step_id')}",
            part,
            fields.text("goal_info"),
            tuple(history),
            fields.image(),
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            gesture,
        )
        history = [*history, phone_history(as_action(gesture))]


class _Features:
    """Features of an example, each of its kind; ScreenError for one that is not."""

    def __init__(self, example: dict[str, Feature], where: str) -> None:
        self._example, self._where = example, where

    def _one(self, name: str, kind: type) -> Any:
        values = self._example.get(name, [])
        if len(values) != 1 or not isinstance(values[0], kind):
            raise ScreenError(f"{self._where}: {name} must be one {kind.__name__}, got {shown(values)}")
        return values[0]

    def text(self, name: str) -> str:
        found: bytes = self._one(name, bytes)
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ScreenError(f"{self._where}: {name} is no UTF-8 text") from error

    def whole(self, name: str) -> int:
        return int(self._one(name, int))

    def numbers(self, name: str) -> list[float]:
        values = self._example.get(name, [])
        if not all(isinstance(value, (int, float)) for value in values):
            raise ScreenError(f"{self._where}: {name} must be numbers")
        return [float(value) for value in values]

    def point(self, name: str) -> Point:
        values = self.numbers(name)
        if len(values) != 2 or not all(np.isfinite(values)):
            raise ScreenError(f"{self._where}: {name} must be y and x, got {shown(values)}")
        return values[0], values[1]

    def gesture(self) -> Gesture:
        kind = self.whole("results/action_type")
        if kind == DUAL_POINT:
            return Gesture(kind, self.point("results/yx_touch"), self.point("results/yx_lift"))
        return Gesture(kind, text=self.text("results/type_action") if kind == TYPE else "")

    def image(self) -> NDArray[np.uint8]:
        height, width, channels = (self.whole(f"image/{name}") for name in ("height", "width", "channels"))
        data: bytes = self._one("image/encoded", bytes)
        if channels != 3 or height < 1 or width < 1 or len(data) != height * width * 3:
            raise ScreenError(
                f"{self._where}: image/encoded must be {height}x{width}x{channels} rgb bytes, got {len(data)} bytes"
            )
        return np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)


def candidates_of(row: Row) -> tuple[Candidate, ...]:
    """Its annotations in pixels of the picture; mark k is the k-th."""
    height, width = row.image.shape[:2]
    return tuple(
        Candidate((x * width, y * height, (x + max(0.0, w)) * width, (y + max(0.0, h)) * height))
        for y, x, h, w in row.boxes.tolist()
    )


def question(row: Row) -> Question:
    """The published question about the picture with marks on the annotations."""
    candidates = candidates_of(row)
    marked = draw_box_marks(row.image, boxes_of(candidates))
    return Question(marked, phone_question(row.goal, row.history), candidates)


def as_action(gesture: Gesture) -> ScreenAction:
    """What was done as an answer would say it; a type that answers do not know counts as a step that cannot be done."""
    if gesture.type == DUAL_POINT and gesture.is_tap:
        y, x = (min(1.0, max(0.0, value)) for value in gesture.touch)
        return ScreenAction(Kind.TAP, point=(x, y))
    if gesture.type == DUAL_POINT:
        down, across = gesture.lift[0] - gesture.touch[0], gesture.lift[1] - gesture.touch[1]
        words = ("DOWN" if down > 0 else "UP") if abs(down) >= abs(across) else ("RIGHT" if across > 0 else "LEFT")
        return ScreenAction(Kind.SWIPE, text=words)
    if gesture.type == TYPE:
        plain = "".join(letter if letter.isprintable() else " " for letter in gesture.text)[:1000]
        return ScreenAction(Kind.TYPE, text=plain if plain.strip() else "(nothing)")
    named = {number: (Kind.NAVIGATE, name) for name, number in _PLACES.items()}
    named |= {number: (Kind.STATUS, name) for name, number in _ENDS.items()}
    kind, word = named.get(gesture.type, (Kind.STATUS, "IMPOSSIBLE"))
    return ScreenAction(kind, text=word)


def as_gesture(action: ScreenAction, boxes: NDArray[np.float64]) -> Gesture:
    """What an answer does: a tap on a mark is one in the middle of its annotation's box."""
    if action.kind is Kind.TAP:
        if action.mark is not None:
            y, x, height, width = boxes[action.mark].tolist()
            place = (y + height / 2.0, x + width / 2.0)
        else:
            assert action.point is not None
            place = action.point[::-1]
        return Gesture(DUAL_POINT, place, place)
    if action.kind is Kind.SWIPE:
        return Gesture(DUAL_POINT, *_SWIPES[action.text])
    if action.kind is Kind.TYPE:
        return Gesture(TYPE, text=action.text)
    return Gesture((_PLACES | _ENDS)[action.text])


def matches(one: Gesture, other: Gesture, boxes: NDArray[np.float64]) -> bool:
    """Whether two actions count as the same; `boxes` (N, 4) are the screen's annotations: y, x, height, width."""
    if DUAL_POINT not in (one.type, other.type) or one.type != other.type:
        return one.type == other.type
    if one.is_tap != other.is_tap:
        return False
    if one.is_tap:
        apart = float(np.hypot(one.touch[0] - other.touch[0], one.touch[1] - other.touch[1]))
        return apart <= TAPS_APART or bool((_inside(one.touch, boxes) & _inside(other.touch, boxes)).any())
    return _main_axis(one) == _main_axis(other)


def _inside(point: Point, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """In which boxes a point is, borders included, when each has grown about its middle; corners and sizes are cut to
    the screen one by one, as published."""
    y, x = point
    top = np.maximum(0.0, boxes[:, 0] - GROWN * boxes[:, 2] / 2.0)
    left = np.maximum(0.0, boxes[:, 1] - GROWN * boxes[:, 3] / 2.0)
    height = np.minimum(1.0, boxes[:, 2] + GROWN * boxes[:, 2])
    width = np.minimum(1.0, boxes[:, 3] + GROWN * boxes[:, 3])
    return (y >= top) & (y <= top + height) & (x >= left) & (x <= left + width)


def _main_axis(swipe: Gesture) -> int:
    """0 up and down, 1 left and right; of equal lengths the first."""
    return int(np.argmax([abs(swipe.lift[0] - swipe.touch[0]), abs(swipe.lift[1] - swipe.touch[1])]))


def score(row: Row, answer: str) -> Score:
    """Judges an answer to `question`; one that is no action is wrong."""
    try:
        gesture = as_gesture(phone_action(answer, len(row.boxes)), row.boxes)
    except ScreenError:
        return Score(row.part, False, False, False)
    right = matches(gesture, row.gesture, row.boxes)
    return Score(row.part, right, gesture.type == row.gesture.type, True)


def summary(scores: Sequence[Score]) -> list[Figure]:
    """The rate of each part, their plain mean, and how often the type was right."""
    parts = list(dict.fromkeys(item.part for item in scores))
    found = [rate(part, [item.right for item in scores if item.part == part]) for part in parts]
    return [
        *found,
        mean("mean of parts", [figure.percent / 100.0 for figure in found], len(scores)),
        rate("type of the action", [item.type_right for item in scores]),
        rate("answers without an action", [not item.parsed for item in scores]),
    ]
