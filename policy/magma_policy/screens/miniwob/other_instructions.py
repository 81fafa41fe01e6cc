"""What a page could have asked just as well, in its own words: one picture then teaches several clicks.

Where the same script answers them, they cost no further page. Each function takes a page and a random generator, and
gives instructions in no order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from magma_policy.screens.miniwob.experts import Shape
from magma_policy.screens.miniwob.observation import PageObservation

Others = Callable[[PageObservation, np.random.Generator], list[str]]
_GRID = range(-2, 3)


def other_instructions(task: str, page: PageObservation, rng: np.random.Generator, most: int) -> list[str]:
    """At most `most` instructions, drawn by chance, none of them the page's own; none for a page that asks one thing
    alone."""
    made = sorted({*_OTHERS[task](page, rng)} - {page.instruction}) if task in _OTHERS else []
    return [made[place] for place in rng.permutation(len(made))[:most]]


def _said_of(page: PageObservation, attribute: str, words: str) -> list[str]:
    found = {element.attributes.get(attribute, "") for element in page.elements}
    return [words.format(value) for value in found if value]


def _colours(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del rng
    return _said_of(page, "data-color", "Click on the {} colored box.")


def _widgets(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del rng
    return _said_of(page, "data-type", 'Click on a "{}" widget.')


def _tabs(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del page, rng
    return [f"Click on Tab #{number}." for number in (1, 2, 3)]


def _buttons(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del page, rng
    return [f'Click the button in the dialog box labeled "{name}".' for name in ("x", "Cancel", "OK")]


def _fields(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del page, rng
    return [f"Focus into the {place} input textbox." for place in ("1st", "2nd", "3rd")]


def _coordinates(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del page, rng
    return [f"Click on the grid coordinate ({x},{y})." for x in _GRID for y in _GRID]


def _two_buttons(page: PageObservation, rng: np.random.Generator) -> list[str]:
    del page, rng
    return [f"Click button {name}." for name in ("ONE", "TWO")]


def _shapes(page: PageObservation, rng: np.random.Generator) -> list[str]:
    """Every thing that is drawn in its turn, of which the page leaves out what it likes."""
    made = []
    for shape in filter(None, map(Shape.of, page.elements)):
        words = [part for part in (shape.size, shape.colour) if part and rng.random() < 0.5]
        named = not words or rng.random() < 0.5
        made.append(" ".join([*words, (shape.own if rng.random() < 0.5 else shape.kind) if named else "item"]))
    return [f"Click on a {words}" for words in made]


_OTHERS: dict[str, Others] = {
    "click-color": _colours,
    "click-dialog-2": _buttons,
    "click-shape": _shapes,
    "click-tab": _tabs,
    "click-test-2": _two_buttons,
    "click-widget": _widgets,
    "focus-text-2": _fields,
    "grid-coordinate": _coordinates,
}
