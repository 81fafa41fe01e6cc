"""Candidates: the things on a screen that may be acted on, whichever source found them, and which of them get marks.

A page, an accessibility tree, a phone's view hierarchy or the bare pixels give candidates; `tidied` makes of them what
a model can be asked about: no two for one thing, in reading order. More than `MOST_MARKS` on one picture cannot be told
apart by a model or a person: `tiles` cuts the view into parts with no more each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import apart

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the screenshot, x to the right, y down"""

MOST_MARKS = 60
"""On one picture."""
LEAST_SIDE_PX = 3.0
SAME = 0.9
"""Boxes that overlap more (intersection over union) are one thing."""
_SAME_ROW = 0.5
"""Of the lower box's height: candidates whose middles are nearer than this stand in one row."""


@dataclass(frozen=True)
class Candidate:
    """A thing on a screen that may be acted on."""

    box: Box
    role: str = ""
    """as accessibility has it: button, link, textbox, checkbox, combobox …; "" when the source cannot know"""
    name: str = ""
    """what people read on it or are told of it"""
    value: str = ""
    """what stands in it"""
    focusable: bool = False
    """whether the keyboard reaches it: it is the control itself, not something around or on it"""
    options: tuple[str, ...] = ()
    """what a list offers"""
    key: str = ""
    """by which its source finds it again; "" when it cannot"""
    inside: str = ""
    """key of the nearest candidate around it"""
    labels: str = ""
    """key of the control that this is the label of"""

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.box
        if not np.isfinite(self.box).all() or x2 < x1 or y2 < y1:
            raise ValueError(f"a candidate's box is x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, got {self.box}")

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2.0, (y1 + y2) / 2.0


@dataclass(frozen=True)
class Tile:
    """A part of a view with few enough candidates: `box` in pixels of the whole; candidates in the whole's pixels."""

    box: Box
    candidates: tuple[Candidate, ...]


def boxes_of(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """(N, 4) pixels."""
    return np.array([candidate.box for candidate in candidates], dtype=np.float64).reshape(-1, 4)


def tidied(candidates: Sequence[Candidate], width: int, height: int) -> list[Candidate]:
    """One candidate per thing that can be seen, in reading order.

    Labels are folded into their controls, a control stands for what is wrapped around it, and of boxes that are nearly
    equal the control's own stays.

    Args:
        width, height: of the screenshot in pixels; boxes are cut to it.
    """
    seen = [cut for cut in (_cut(candidate, width, height) for candidate in candidates) if cut is not None]
    unfolded = _without_wrappers(_folded(seen))
    # Of equals the control stays, then the smaller: it is what the click is for.
    scores = [1e6 * candidate.focusable - _area(candidate.box) / (width * height) for candidate in unfolded]
    kept = [unfolded[index] for index in apart(boxes_of(unfolded), scores, SAME)]
    return in_reading_order(kept)


def in_reading_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Row by row from the top, each from the left."""
    rows: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=lambda item: (item.centre[1], item.centre[0])):
        last = rows[-1][0] if rows else None
        if last is not None and candidate.centre[1] - last.centre[1] < _SAME_ROW * min(
            _height(candidate.box), _height(last.box)
        ):
            rows[-1].append(candidate)
        else:
            rows.append([candidate])
    return [candidate for row in rows for candidate in sorted(row, key=lambda item: item.centre[0])]


def tiles(candidates: Sequence[Candidate], width: int, height: int, most: int = MOST_MARKS) -> list[Tile]:
    """Parts of the view with at most `most` candidates each, in reading order; every candidate is in exactly one, by
    its centre. One part, the whole view, when there are few enough."""
    if most < 1:
        raise ValueError(f"a tile holds at least 1 candidate, got {most}")
    return _tiles(list(candidates), (0.0, 0.0, float(width), float(height)), most)


def _tiles(candidates: list[Candidate], box: Box, most: int) -> list[Tile]:
    x1, y1, x2, y2 = box
    axis = 0 if x2 - x1 >= y2 - y1 else 1
    if len(candidates) <= most or (x2 - x1 if axis == 0 else y2 - y1) < 2.0 * LEAST_SIDE_PX:
        # Centres that lie on top of each other cannot be cut apart: the first ones get the marks.
        return [Tile(box, tuple(candidates[:most]))]
    middle = (x1 + x2) / 2.0 if axis == 0 else (y1 + y2) / 2.0
    halves: tuple[Box, Box] = (
        ((x1, y1, middle, y2), (middle, y1, x2, y2)) if axis == 0 else ((x1, y1, x2, middle), (x1, middle, x2, y2))
    )
    first = [candidate for candidate in candidates if candidate.centre[axis] < middle]
    second = [candidate for candidate in candidates if candidate.centre[axis] >= middle]
    return [
        tile for part, half in ((first, halves[0]), (second, halves[1])) if part for tile in _tiles(part, half, most)
    ]


def _cut(candidate: Candidate, width: int, height: int) -> Candidate | None:
    x1, y1, x2, y2 = candidate.box
    box = (max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2))
    if box[2] - box[0] < LEAST_SIDE_PX or box[3] - box[1] < LEAST_SIDE_PX:
        return None
    return replace(candidate, box=box)


def _folded(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Labels are no candidates of their own. A control that cannot be seen itself (pages hide the true box behind a
    drawn one) is where its label is."""
    controls = {candidate.key for candidate in candidates if candidate.key and not candidate.labels}
    found = [candidate for candidate in candidates if not candidate.labels]
    for label in (candidate for candidate in candidates if candidate.labels):
        if label.labels not in controls:
            controls.add(label.labels)
            found.append(replace(label, labels="", focusable=True))
    return found


def _without_wrappers(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Leaves out what is clickable only because a control is inside it, such as the row around a button."""
    wrapped = {candidate.inside for candidate in candidates if candidate.inside and candidate.focusable}
    controls = {candidate.key for candidate in candidates if candidate.focusable}
    kept = [candidate for candidate in candidates if candidate.focusable or candidate.key not in wrapped]
    # What stands on a control, such as the picture on a button, is the control.
    return [candidate for candidate in kept if candidate.focusable or candidate.inside not in controls]


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _height(box: Box) -> float:
    return box[3] - box[1]
