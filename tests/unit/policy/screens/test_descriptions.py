"""What is told of the marks of a page."""

from __future__ import annotations

from dataclasses import replace

from magma_policy.screens.candidates import Candidate
from magma_policy.screens.miniwob.descriptions import descriptions
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.page_snapshot import Element

BOX = (0.0, 0.0, 10.0, 10.0)


def element(node: int, tag: str, words: str = "", **attributes: str) -> Element:
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return Element(node, tag, named, BOX, True, False, False, "", False, False, -1, "", words)


def test_a_mark_is_told_by_its_role_its_looks_and_the_words_on_it():
    elements = [
        element(1, "BUTTON"),
        element(2, "TEXT", "k", font_size="20px", fill="red"),
        element(3, "DIV", data_color="olive"),
        element(4, "INPUT", data_type="checkbox"),
        element(5, "CIRCLE", id="(-1,2)", fill="blue"),
    ]
    marks = (
        Candidate(BOX, "button", "Submit", key="1"),
        Candidate(BOX, "", "k", key="2"),
        *(Candidate(BOX, key=str(node)) for node in (3, 4, 5)),
        Candidate(BOX, "link", "a b c d e f g h i j", key="9"),
        Candidate(BOX),
    )
    page = PageObservation(None, marks, 0, False, False, "Click.", elements=elements)
    assert descriptions(page) == [
        "button Submit", "large red letter k", "olive", "checkbox", "small blue shape circle (-1,2)",
        "link a b c d e f g", "",
    ]  # fmt: skip
    assert descriptions(replace(page, candidates=())) == []
