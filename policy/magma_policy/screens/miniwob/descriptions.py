"""What stands at each mark of a page, in a few words: what a model that learns to look is asked to see."""

from __future__ import annotations

import re

from magma_policy.screens.candidates import Candidate
from magma_policy.screens.miniwob.experts import Shape
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.page_snapshot import Element

MOST_WORDS = 8
_TOLD = ("data-color", "data-type")
"""Attributes in which pages say what a thing is that only its looks tell."""
_COORDINATE = re.compile(r"\(-?\d,-?\d\)")


def descriptions(page: PageObservation) -> list[str]:
    """Of every candidate: role, looks, and the first words on it; "" where nothing is known."""
    elements = {str(element.node): element for element in page.elements}
    return [_description(candidate, elements.get(candidate.key)) for candidate in page.candidates]


def _description(candidate: Candidate, element: Element | None) -> str:
    said = [candidate.role]
    if element is not None:
        shape = Shape.of(element)
        if shape is not None:
            said += [shape.size, shape.colour, shape.kind, shape.own]
        said += [element.attributes.get(name, "") for name in _TOLD]
        said += [name for name in (element.attributes.get("id", ""),) if _COORDINATE.fullmatch(name)]
    words = " ".join([*said, candidate.name]).split()
    return " ".join(dict.fromkeys(words[:MOST_WORDS]))
