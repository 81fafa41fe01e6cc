"""Scripts that solve pages, for demonstrations: they may look at the page's elements, which a policy is not shown.

Each takes an observation and gives the next action, or None when it finds nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.miniwob.observation import SCALE, PageObservation
from magma_policy.screens.page_snapshot import Element

Script = Callable[[PageObservation], ScreenAction | None]
_DESCRIBED = re.compile(r"(?:(large|small) )?(?:(red|green|blue|aqua|black|magenta|yellow) )?(\S+)$")
_SHAPES = {"CIRCLE": "circle", "RECT": "rectangle", "POLYGON": "triangle"}
_LARGE_PX = 15.0
"""CSS pixels of a shape, or of a letter's font: large ones have 20, small ones 10."""


def _click(mark: int | None) -> ScreenAction | None:
    return None if mark is None else ScreenAction(Kind.CLICK, mark)


def _first(page: PageObservation, wanted: Callable[[Element], bool]) -> ScreenAction | None:
    """Clicks the first mark whose element is wanted."""
    elements = {str(element.node): element for element in page.elements}
    marks = (mark for mark, item in enumerate(page.candidates) if item.key in elements and wanted(elements[item.key]))
    return _click(next(marks, None))


def _named(page: PageObservation, name: str) -> ScreenAction | None:
    marks = (mark for mark, item in enumerate(page.candidates) if item.name.strip().casefold() == name.casefold())
    return _click(next(marks, None))


def _any_button(page: PageObservation) -> ScreenAction | None:
    return _first(page, lambda element: element.tag == "BUTTON")


def _button_named_in_task(page: PageObservation) -> ScreenAction | None:
    """`Click button ONE.`"""
    return _named(page, page.instruction.rstrip(".").split()[-1])


def _colour(page: PageObservation) -> ScreenAction | None:
    """`Click on the lime colored box.`"""
    wanted = page.instruction.split()[3]
    return _first(page, lambda element: element.attributes.get("data-color") == wanted)


def _tab(page: PageObservation) -> ScreenAction | None:
    """`Click on Tab #2.`"""
    return _named(page, page.instruction.partition("Click on ")[2].rstrip("."))


def _in_dialog(page: PageObservation) -> ScreenAction | None:
    """`Click the button in the dialog box labeled "OK".`; the x is a button that is called close."""
    found = re.search(r'"([^"]+)"', page.instruction)
    wanted = found.group(1) if found else "x"
    if wanted == "x":
        return _first(page, lambda element: "ui-dialog-titlebar-close" in element.attributes.get("class", ""))
    return _named(page, wanted)


def _widget(page: PageObservation) -> ScreenAction | None:
    """`Click on a "checkbox" widget.`"""
    wanted = page.instruction.split('"')[1]
    return _first(page, lambda element: element.attributes.get("data-type") == wanted)


def _field(page: PageObservation) -> ScreenAction | None:
    return _first(page, lambda element: element.tag == "INPUT")


def _nth_field(page: PageObservation) -> ScreenAction | None:
    """`Focus into the 2nd input textbox.`"""
    found = re.search(r"the (\d)", page.instruction)
    wanted = f"tt{found.group(1)}" if found else ""
    return _first(page, lambda element: element.attributes.get("id") == wanted)


def _coordinate(page: PageObservation) -> ScreenAction | None:
    """`Click on the grid coordinate (-1,2).`"""
    wanted = page.instruction.rstrip(".").split()[-1]
    return _first(page, lambda element: element.attributes.get("id") == wanted)


def _expanded_then_submitted(page: PageObservation) -> ScreenAction | None:
    """`Expand the section below and click submit.`"""
    header = _first(
        page,
        lambda element: (
            "ui-accordion-header" in element.attributes.get("class", "")
            and "ui-accordion-header-active" not in element.attributes.get("class", "")
        ),
    )
    return header or _named(page, "Submit")


def _described_shape(page: PageObservation) -> ScreenAction | None:
    """`Click on a small red digit`"""
    found = _DESCRIBED.match(page.instruction.partition("Click on a ")[2])
    if found is None:
        return None
    size, colour, kind = found.groups()
    return _first(page, lambda element: _fits(element, size, colour, kind))


@dataclass(frozen=True)
class Shape:
    """A thing in a drawing: "shape", "letter" or "digit"; what it is itself; "large" or "small"; its colour."""

    kind: str
    own: str
    size: str
    colour: str

    @classmethod
    def of(cls, element: Element) -> Shape | None:
        """What an element draws; None when that is none of these."""
        if element.tag == "TEXT":
            own = element.words.strip()
            kind, side = _type_of(element), float(element.attributes.get("font-size", "0px").removesuffix("px"))
        elif element.tag in _SHAPES and element.box is not None:
            kind, own, side = "shape", _SHAPES[element.tag], element.box[2] - element.box[0]
        else:
            return None
        return cls(kind, own, "large" if side > _LARGE_PX else "small", element.attributes.get("fill", ""))


def _fits(element: Element, size: str | None, colour: str | None, kind: str) -> bool:
    shape = Shape.of(element)
    return (
        shape is not None
        and size in (None, shape.size)
        and colour in (None, shape.colour)
        and kind in ("item", shape.kind, shape.own)
    )


def _kind_of_shape(page: PageObservation) -> ScreenAction | None:
    """`Click the button that best describes the figure below.`"""
    drawn = next((element for element in page.elements if element.tag in ("TEXT", *_SHAPES)), None)
    if drawn is None:
        return None
    if drawn.tag == "TEXT":
        return _named(page, "Number" if drawn.words.strip().isdigit() else "Letter") or _first(
            page, lambda element: element.attributes.get("data-type") == _type_of(drawn)
        )
    return _first(page, lambda element: element.attributes.get("data-type") == _SHAPES[drawn.tag])


def _type_of(drawn: Element) -> str:
    return "digit" if drawn.words.strip().isdigit() else "letter"


def _sides(page: PageObservation) -> ScreenAction | None:
    """How many sides the polygon has that is drawn on a canvas: its picture alone tells."""
    canvas = next((element for element in page.elements if element.attributes.get("id") == "c"), None)
    if page.image is None or canvas is None or canvas.box is None:
        return None
    left, top, right, bottom = (round(SCALE * value) for value in canvas.box)
    sides = corners_in(page.image[top:bottom, left:right])
    return _first(page, lambda element: element.attributes.get("data-sides") == str(sides))


def corners_in(image: NDArray[np.uint8]) -> int:
    """Corners of the one convex outline in a picture, uint8 (H, W, 3); 0 where there is none."""
    dark = (image.min(axis=2) < 128).astype(np.uint8)
    outlines, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return 0
    outline = cv2.convexHull(max(outlines, key=cv2.contourArea))
    return len(cv2.approxPolyDP(outline, 0.035 * cv2.arcLength(outline, True), True))


EXPERTS: dict[str, Script] = {
    "click-collapsible": _expanded_then_submitted,
    "click-color": _colour,
    "click-dialog": _in_dialog,
    "click-dialog-2": _in_dialog,
    "click-shape": _described_shape,
    "click-tab": _tab,
    "click-test": _any_button,
    "click-test-2": _button_named_in_task,
    "click-widget": _widget,
    "count-sides": _sides,
    "focus-text": _field,
    "focus-text-2": _nth_field,
    "grid-coordinate": _coordinate,
    "identify-shape": _kind_of_shape,
}
"""By the name of the page."""
