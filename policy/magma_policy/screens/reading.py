"""What is written on a screen that is only pixels, read by Tesseract (`apt-get install tesseract-ocr`), and folded into
the candidates that it belongs to.

Outlines tell where things are and not what they are called. What is written in a button, or beside a box to tick, is
its name; other lines are candidates of their own, for a link looks like any other text.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import holds, overlap
from magma_contracts.text import printable
from magma_policy.errors import CommandError, ScreenError
from magma_policy.screens.candidates import LEAST_SIDE_PX, Box, Candidate, boxes_of

Image = NDArray[np.uint8]
PROGRAM = "tesseract"
TIMEOUT_S = 60.0
MOST_LINES = 500
LEAST_CONFIDENCE = 40.0
"""Percent, as Tesseract is sure of a word; outlines and icons are read as letters too, with less."""
_SPARSE = "11"
"""Its way of looking for text in no order, as it stands on screens."""
_SMALL_SIDE = 1000
"""Letters of smaller screens are too small for it, so these are shown to it twice as large."""
_FRAME_PX = 60
"""Straight lines of this length, as it is shown the screen, are no strokes of letters."""
_GAP = 1.2
"""Of a line's height: words that are further apart stand on two things."""
_WRITING = 0.6
"""Share of a candidate that lies in a line: then it is the line's own outline, or a letter's."""
_CONTROL = 4.0
"""Heights of its line that a control may have; what is higher is a ground that holds several things."""
_OUTLINES = 0.5
"""Overlap of what is one thing's outer and inner outline."""
_TICK = (0.5, 2.0)
"""Sides of a box to tick as shares of its label's height."""


@dataclass(frozen=True)
class Line:
    """A line of writing: its box in pixels, its words."""

    box: Box
    words: str


class Reader:
    """Reads screenshots.

    Args:
        language: one that Tesseract has, or several joined by +.

    Raises:
        CommandError: there is no Tesseract here.
    """

    def __init__(self, language: str = "eng") -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise CommandError(f"there is no {PROGRAM} on this machine: sudo apt-get install tesseract-ocr")
        self._command = [program, "stdin", "stdout", "--psm", _SPARSE, "-l", language, "tsv"]

    def lines(self, image: Image) -> list[Line]:
        """What is written in a screenshot, uint8 (H, W, 3) rgb.

        Raises:
            ScreenError: Tesseract failed or took longer than a minute.
        """
        scale = 2 if min(image.shape[:2]) < _SMALL_SIDE else 1
        shown = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale != 1:
            shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        _, encoded = cv2.imencode(".png", _without_frames(shown))
        try:
            done = subprocess.run(
                self._command, input=encoded.tobytes(), capture_output=True, timeout=TIMEOUT_S, check=False,
                env=os.environ | {"OMP_THREAD_LIMIT": "1"},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ScreenError(f"{PROGRAM} did not read the screenshot: {printable(error)}") from error
        if done.returncode:
            told = printable(done.stderr.decode(errors="replace").strip())
            raise ScreenError(f"{PROGRAM} did not read the screenshot (exit status {done.returncode}): {told}")
        return read_table(done.stdout.decode(errors="replace"), scale)

    def after(self, source: Callable[[Image], list[Candidate]]) -> Callable[[Image], list[Candidate]]:
        """From a source of candidates, one that gives them `with_words`; it raises ScreenError besides."""
        return lambda image: with_words(source(image), self.lines(image))


def read_table(table: str, scale: float = 1.0) -> list[Line]:
    """Lines of Tesseract's table of words; `scale`: pixels of the table per pixel of the screenshot.

    Raises:
        ScreenError: it has no such table's columns, or something else stands in them.
    """
    rows: dict[tuple[str, ...], list[Line]] = {}
    try:
        for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
            words = printable(row["text"] or "").strip()
            if row["level"] != "5" or not words or float(row["conf"]) < LEAST_CONFIDENCE:
                continue
            left, top, width, height = (int(row[name]) / scale for name in ("left", "top", "width", "height"))
            place = (row["block_num"], row["par_num"], row["line_num"])
            rows.setdefault(place, []).append(Line((left, top, left + width, top + height), words))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ScreenError(f"{PROGRAM}'s table cannot be read: {type(error).__name__} {printable(error)}") from error
    return [line for row in rows.values() for line in _parted(row)][:MOST_LINES]


def with_words(candidates: Sequence[Candidate], lines: Sequence[Line]) -> list[Candidate]:
    """Candidates with what is written on them or beside them as their names; the outlines of writing give way to the
    lines, and lines that belong to none are candidates themselves."""
    things = [item for item in candidates if all(_share(item.box, line.box) < _WRITING for line in lines)]
    names: dict[int, list[str]] = {}
    alone, insides = [], set[int]()
    for line in lines:
        owner, others = _control_around(line, things)
        insides |= others
        owner = _box_to_tick(line, things) if owner is None else owner
        if owner is not None:
            names.setdefault(owner, []).append(line.words)
        elif min(line.box[2] - line.box[0], line.box[3] - line.box[1]) >= LEAST_SIDE_PX:
            alone.append(Candidate(line.box, name=line.words))
    named = [
        replace(thing, name=" ".join(names[place])) if place in names else thing
        for place, thing in enumerate(things)
        if place in names or place not in insides
    ]
    return [*named, *alone]


def _without_frames(shown: Image) -> Image:
    """The lines around controls painted over: what stands in a frame Tesseract takes for a drawing."""
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    dark = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 15, 10)
    across = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((1, _FRAME_PX), np.uint8))
    down = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((_FRAME_PX, 1), np.uint8))
    frames = cv2.dilate(across | down, np.ones((3, 3), np.uint8)) > 0
    cleaned = shown.copy()
    cleaned[frames] = cv2.medianBlur(shown, 15)[frames]
    return cleaned


def _parted(words: Sequence[Line]) -> Iterator[Line]:
    """A row of words in its parts that stand together."""
    parts: list[list[Line]] = []
    for word in sorted(words, key=lambda item: item.box[0]):
        last = parts[-1][-1] if parts else None
        if last is not None and word.box[0] - last.box[2] <= _GAP * max(_height(last.box), _height(word.box)):
            parts[-1].append(word)
        else:
            parts.append([word])
    for part in parts:
        left, top, right, bottom = zip(*(word.box for word in part), strict=True)
        yield Line((min(left), min(top), max(right), max(bottom)), " ".join(word.words for word in part))


def _control_around(line: Line, things: Sequence[Candidate]) -> tuple[int | None, set[int]]:
    """The smallest thing that the line stands in and that is not too high for it, by its outermost outline; and the
    other outlines of it."""
    middle = ((line.box[0] + line.box[2]) / 2.0, (line.box[1] + line.box[3]) / 2.0)
    around = [
        place
        for place, thing in enumerate(things)
        if holds(thing.box, middle) and _height(thing.box) <= _CONTROL * _height(line.box)
    ]
    if not around:
        return None, set()
    around.sort(key=lambda place: _area(things[place].box))
    shares = overlap(np.array(things[around[0]].box), boxes_of([things[place] for place in around]))
    *others, owner = [place for place, share in zip(around, shares, strict=True) if share >= _OUTLINES]
    return owner, set(others)


def _box_to_tick(line: Line, things: Sequence[Candidate]) -> int | None:
    """The small square or disc just left of a line."""
    height = _height(line.box)
    least, most = (share * height for share in _TICK)
    for place, thing in enumerate(things):
        x1, y1, x2, y2 = thing.box
        sides = (x2 - x1, y2 - y1)
        level = abs((y1 + y2) - (line.box[1] + line.box[3])) / 2.0 <= height / 2.0
        beside = 0.0 <= line.box[0] - x2 <= _GAP * height
        if level and beside and all(least <= side <= most for side in sides) and max(sides) <= 1.4 * min(sides):
            return place
    return None


def _share(box: Box, line: Box) -> float:
    """Of a box in a line's."""
    across = min(box[2], line[2]) - max(box[0], line[0])
    down = min(box[3], line[3]) - max(box[1], line[1])
    area = _area(box)
    return max(across, 0.0) * max(down, 0.0) / area if area else 1.0


def _height(box: Box) -> float:
    return box[3] - box[1]


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
