"""ScreenSpot (Cheng et al. 2024, arXiv 2401.10935) and sets of its form: where one instruction wants a click.

The point of the answer, or the middle of its box or of the mark that it names, lies in the target's box, its border
included; an answer without one is wrong. Boxes are fractions x1, y1, x2, y2 in the copy on Hugging Face and pixels
x, y, width, height in the original files: which it is follows from the names of a record's fields, never from the
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import holds
from magma_policy.errors import ScreenError
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.marks.set_of_mark import parse_ui_answer, ui_question
from magma_policy.screens.agent import Question
from magma_policy.screens.candidates import MOST_MARKS, Candidate, boxes_of, in_reading_order
from magma_policy.screens.offline.figures import Figure, mean, rate
from magma_policy.screens.offline.records import Fields, Record, picture

Boxes = Literal["by_field_names", "xyxy_fractions", "xywh_pixels", "xyxy_pixels"]
BOXES: tuple[Boxes, ...] = get_args(Boxes)
PLATFORMS = ("mobile", "desktop", "web")
_SOURCES = {"ios": "mobile", "android": "mobile", "macos": "desktop", "windows": "desktop"}
"""Whatever else a record calls its source (forum, gitlab, shop, tool) is a web page."""
KINDS = ("text", "icon")


@dataclass(frozen=True)
class Row:
    """One instruction.

    Attributes:
        id: its number in the set.
        cell: platform and kind, such as "web icon".
        instruction: what to do.
        image: uint8 (H, W, 3) rgb.
        box: of the target, x1, y1, x2, y2 as fractions of the picture.
    """

    id: str
    cell: str
    instruction: str
    image: NDArray[np.uint8]
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Score:
    """`parsed`: whether the answer names a place; `right`: in the target; `recalled`: whether any candidate could have
    been right; `area`: the target's share of the picture, which a random point hits."""

    cell: str
    right: bool
    parsed: bool
    recalled: bool
    area: float


def rows(records: Iterator[tuple[str, Record]], folder: Path, boxes: Boxes = "by_field_names") -> Iterator[Row]:
    """Reads records; `folder` holds the pictures that are named. Raises ScreenError for one that is damaged."""
    for number, (where, record) in enumerate(records):
        fields = Fields(record, where)
        name = next((name for name in ("file_name", "img_filename") if name in record), None)
        if name is None:
            raise ScreenError(f"{where}: there is neither file_name (Hugging Face) nor img_filename (original files)")
        image = picture(record.get("image") or fields.text(name), folder, where)
        height, width = image.shape[:2]
        kind = fields.text("data_type").strip().lower()
        if kind not in KINDS:
            raise fields.wrong("data_type", " or ".join(KINDS))
        convention = boxes
        if boxes == "by_field_names":
            convention = "xyxy_fractions" if name == "file_name" else "xywh_pixels"
        box = _fractions(fields.numbers("bbox", 4), convention, width, height)
        if not (0.0 <= box[0] < box[2] <= 1.0 + _ROUNDED and 0.0 <= box[1] < box[3] <= 1.0 + _ROUNDED):
            raise fields.wrong(
                "bbox", f"a box in a picture of {width}x{height} pixels, as {convention.replace('_', ' ')}"
            )
        source = fields.text("data_source").strip().lower()
        yield Row(str(number), f"{_SOURCES.get(source, 'web')} {kind}", fields.text("instruction"), image, box)


_ROUNDED = 0.01
"""Published boxes reach a little over the border."""


def _fractions(box: tuple[float, ...], convention: Boxes, width: int, height: int) -> tuple[float, float, float, float]:
    a, b, c, d = box
    if convention == "xyxy_fractions":
        return a, b, c, d
    if convention == "xywh_pixels":
        c, d = a + c, b + d
    return a / width, b / height, c / width, d / height


def candidates_of(row: Row, source: Callable[[NDArray[np.uint8]], list[Candidate]]) -> list[Candidate]:
    """What a source offers on its picture, the first `MOST_MARKS` of it in reading order."""
    return in_reading_order(source(row.image)[:MOST_MARKS])


def question(row: Row, candidates: Sequence[Candidate]) -> Question:
    """The published question about the picture with marks on the candidates."""
    marked = draw_box_marks(row.image, boxes_of(candidates))
    return Question(marked, ui_question(row.instruction), tuple(candidates))


def score(row: Row, candidates: Sequence[Candidate], answer: str) -> Score:
    """Judges an answer to `question`."""
    height, width = row.image.shape[:2]
    x1, y1, x2, y2 = row.box
    target = parse_ui_answer(answer).target(boxes_of(candidates), width, height)
    right = target is not None and holds(row.box, (target[0] / width, target[1] / height))
    return Score(row.cell, right, target is not None, recalled(row, candidates), (x2 - x1) * (y2 - y1))


def recalled(row: Row, candidates: Sequence[Candidate]) -> bool:
    """Whether the target's middle lies in a candidate whose own middle lies in the target: without one, no answer by
    marks could be right."""
    height, width = row.image.shape[:2]
    x1, y1, x2, y2 = row.box[0] * width, row.box[1] * height, row.box[2] * width, row.box[3] * height
    middle = (x1 + x2) / 2.0, (y1 + y2) / 2.0
    return any(holds(item.box, middle) and holds((x1, y1, x2, y2), item.centre) for item in candidates)


def summary(scores: Sequence[Score]) -> list[Figure]:
    """The six cells, their plain mean (as the Magma paper has it), the rate over all rows, and what bounds them."""
    cells = [f"{platform} {kind}" for platform in PLATFORMS for kind in KINDS]
    own = {cell: [item for item in scores if item.cell == cell] for cell in cells}
    found = [
        rate(cell, [item.right for item in items], 100.0 * float(np.mean([item.area for item in items])))
        for cell, items in own.items()
        if items
    ]
    everything = [item.right for item in scores]
    return [
        *found,
        mean("mean of cells", [figure.percent / 100.0 for figure in found], len(scores)),
        rate("all rows", everything, 100.0 * float(np.mean([item.area for item in scores]))),
        rate("candidate recall", [item.recalled for item in scores]),
        rate("answers without a place", [not item.parsed for item in scores]),
    ]
