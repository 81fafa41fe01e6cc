"""Set-of-Mark: asking Magma about numbered marks on an image, and reading what it answers.

The questions are the published ones: the user-interface agent's and the "locate all marks" task of video and robot
frames (Magma repository, agents/ui_agent and data_utils; Yang et al. 2025, arXiv 2502.13130). What a language model
prints is not under anybody's control, so the parsers take any text, return what is certain in it, and never raise.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

GRID = 256
"""Positions of marks are whole numbers on a grid of 256 x 256 over the image, x to the right, y down."""

MAX_TEXT = 100_000
"""Characters of an answer that are looked at."""

_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{0,12})?"
_MARK = re.compile(r"\bmark\s{0,3}[:#]{0,2}\s{0,3}([0-9]{1,4})(?![0-9]|\.[0-9])", re.IGNORECASE)
_COORDINATE = re.compile(r"\bcoordinates?\b", re.IGNORECASE)
_NUMBERS = re.compile(r"(?<![0-9.])" + _NUMBER + r"(?![0-9])")
_ITEM = re.compile(
    r"""["']([A-Za-z_]{1,40})["']\s{0,3}:\s{0,3}"""
    r"""("[^"]{0,500}"|'[^']{0,500}'|\[[^\[\]]{0,100}\]|[0-9]{1,6}|None|null)"""
)
_GROUP = re.compile(r"[\[(]([^\[\]()]{0,200})[\])]")
MARK_AT = re.compile(
    rf"\bmark\s{{0,3}}#?([0-9]{{1,4}})[\"']?\s{{1,3}}(?:is\s{{1,3}})?at\s{{0,3}}:?\s{{0,3}}"
    rf"[\[(]\s{{0,3}}({_NUMBER})\s{{0,3}}[,;\s]\s{{0,3}}({_NUMBER})\s{{0,3}}[\])]",
    re.IGNORECASE,
)


def ui_question(instruction: str) -> str:
    """Which numbered box of a screenshot to click."""
    return (
        f'In this view I need to click a button to "{instruction}"? '
        "Provide the coordinates and the mark index of the containing bounding box if applicable."
    )


def brief_question(question: str) -> str:
    """A question about an image that wants a short answer, as the user-interface agent asks it."""
    return f"{question.strip()} Answer the question briefly."


def locate_marks_question() -> str:
    """Where all the marks are."""
    return (
        f"The image is split into {GRID}x{GRID} grids, and labeled with numeric marks.\n"
        "Please locate all the numerical marks in the image."
    )


@dataclass(frozen=True)
class UiAnswer:
    """What an answer to `ui_question` says; None for what it does not say.

    Attributes:
        mark: number of a box.
        point: (x, y), each 0..1 of the image's width and height; the centre when a box was given.
        box: (x1, y1, x2, y2), each 0..1.
    """

    mark: int | None = None
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None

    def target(self, boxes: np.ndarray, width: int, height: int) -> tuple[float, float] | None:
        """The pixel (x, y) to click, or None.

        The centre of the marked box when there is such a mark, else the point.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 in pixels; box k carries mark k.
            width, height: of the image in pixels.
        """
        if self.mark is not None and 0 <= self.mark < len(boxes):
            x1, y1, x2, y2 = (float(value) for value in boxes[self.mark])
            return (x1 + x2) / 2, (y1 + y2) / 2
        if self.point is not None:
            return self.point[0] * width, self.point[1] * height
        return None


def parse_ui_answer(text: str) -> UiAnswer:
    """Reads `Coordinate: (0.52, 0.31). Mark: 7` and what comes near it. Never raises.

    Two numbers are a point, four a box; numbers outside 0..1 are no coordinates.
    """
    text = text[:MAX_TEXT]
    found = _MARK.search(text)
    mark = int(found.group(1)) if found else None
    word = _COORDINATE.search(text)
    # Coordinates stand behind the word, else in the first brackets, else anywhere but in "Mark: 7".
    places = [text[word.end() :]] if word else []
    places += [*(group.group(1) for group in _GROUP.finditer(text)), _MARK.sub(" ", text)]
    for place in places:
        grouped = _GROUP.search(place)
        for part in ([grouped.group(1)] if grouped else []) + [_MARK.sub(" ", place)]:
            values = _fractions(part)
            if len(values) >= 4 and _in_order(values):
                x1, y1, x2, y2 = values[:4]
                return UiAnswer(mark, ((x1 + x2) / 2, (y1 + y2) / 2), (x1, y1, x2, y2))
            if len(values) in (2, 3) or (len(values) >= 4 and word):
                return UiAnswer(mark, (values[0], values[1]))
    return UiAnswer(mark)


def _fractions(text: str) -> list[float]:
    values = [float(item.group()) for item in _NUMBERS.finditer(text)][:8]
    return values if all(0.0 <= value <= 1.0 for value in values) else []


def _in_order(values: Sequence[float]) -> bool:
    return values[0] <= values[2] and values[1] <= values[3]


def parse_mark_positions(text: str, grid: int = GRID) -> dict[int, tuple[float, float]]:
    """Reads `Mark 6 at [251,92]. Mark 8 at [250,22]`: grid positions (x, y) by mark, in order. Never raises.

    Positions off the grid are left out; of a mark named twice the first position counts.
    """
    positions: dict[int, tuple[float, float]] = {}
    for found in MARK_AT.finditer(text[:MAX_TEXT]):
        x, y = float(found.group(2)), float(found.group(3))
        if 0.0 <= x <= grid and 0.0 <= y <= grid:
            positions.setdefault(int(found.group(1)), (x, y))
    return positions


def format_mark_positions(positions: Mapping[int, Sequence[float]]) -> str:
    """The answer to `locate_marks_question` as training data has it: the inverse of `parse_mark_positions`."""
    return ". ".join(f"Mark {mark} at [{round(x)},{round(y)}]" for mark, (x, y) in positions.items())


GESTURES = ("TAP", "SWIPE", "NAVIGATE", "TYPE", "SET_TASK_STATUS", "CLICK", "SELECT")
"""Actions of the phone (AITW) and web (Mind2Web) formats."""


@dataclass(frozen=True)
class Gesture:
    """One step on a phone or web page.

    Attributes:
        kind: one of `GESTURES`.
        mark: number of a box, if one is named.
        point: (x, y), each 0..1, if a position is named. (The format itself writes [y, x].)
        value: text to type, direction to swipe, where to navigate, or the status.
    """

    kind: str
    mark: int | None = None
    point: tuple[float, float] | None = None
    value: str | None = None


def parse_gesture(text: str) -> Gesture | None:
    """The first of `parse_gestures`, None when there is none. Never raises."""
    return next(parse_gestures(text), None)


def parse_gestures(text: str) -> Iterator[Gesture]:
    """Reads a phone or web agent's dictionaries, such as `{"ACTION": "TAP", "MARK": 5}`, in order. Never raises.

    JSON and Python spellings are both taken, as are keys in any case and words around the dictionary. Dictionaries
    without a known action are passed over.
    """
    for candidate in re.finditer(r"\{[^{}]{0,2000}(?:\{[^{}]{0,2000}\}[^{}]{0,2000}){0,2}\}", text[:MAX_TEXT]):
        fields = _dictionary(candidate.group())
        gesture = _gesture(fields) if fields else None
        if gesture is not None:
            yield gesture


def _dictionary(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = {item.group(1): _scalar(item.group(2)) for item in _ITEM.finditer(text)}
        # Python's spelling of a dictionary within one: {'TAP': {'MARK': 3}}
        outer = re.match(r"\{\s{0,3}[\"']([A-Za-z_]{1,40})[\"']\s{0,3}:\s{0,3}\{", text)
        value = {outer.group(1): value} if outer else value
    if not isinstance(value, dict):
        return {}
    return {str(key).strip().upper(): item for key, item in value.items()}


def _scalar(text: str) -> Any:
    """A value in Python's spelling."""
    if text[0] in "\"'":
        return text[1:-1]
    if text[0] == "[":
        return [float(number.group()) for number in _NUMBERS.finditer(text)]
    return int(text) if text.isdecimal() else None


def _gesture(fields: Mapping[str, Any]) -> Gesture | None:
    kind = fields.get("ACTION", fields.get("ACTION_TYPE"))
    details = dict(fields)
    if not isinstance(kind, str):
        # The other spelling: {"TAP": {"MARK": 5}}
        kind = next((name for name in fields if name in GESTURES), None)
        inner = fields.get(kind) if kind else None
        if isinstance(inner, dict):
            details = {str(key).strip().upper(): item for key, item in inner.items()}
        elif isinstance(inner, str):
            details = {"VALUE": inner}
    if not isinstance(kind, str) or kind.strip().upper() not in GESTURES:
        return None
    value = next((details[key] for key in ("VALUE", "TEXT", "DIRECTION", "STATUS") if key in details), None)
    return Gesture(
        kind.strip().upper(),
        _mark_number(details.get("MARK")),
        _yx(details.get("NORMALIZED_COORDINATE")),
        value if isinstance(value, str) else None,
    )


def _mark_number(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10_000 else None


def _yx(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    if not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in value):
        return None
    y, x = value
    return (float(x), float(y)) if all(math.isfinite(v) and 0 <= v <= 1 for v in (x, y)) else None
