"""What pages could have asked as well, and what their scripts answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from magma_policy.screens.candidates import Candidate
from magma_policy.screens.miniwob.experts import EXPERTS, Shape
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.miniwob.other_instructions import other_instructions
from magma_policy.screens.page_snapshot import Element


def element(node, tag, words="", box=(0.0, 0.0, 10.0, 10.0), **attributes):
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return Element(node, tag, named, box, True, False, False, "", False, False, -1, "", words)


def page(elements, instruction="Click."):
    marks = tuple(Candidate(item.box, key=str(item.node)) for item in elements)
    return PageObservation(np.zeros((4, 4, 3), np.uint8), marks, 0, False, False, instruction, elements=elements)


DRAWN = page(
    [
        element(1, "TEXT", "7", font_size="20px", fill="red"),
        element(2, "TEXT", "q", font_size="10px", fill="red"),
        element(3, "CIRCLE", box=(0.0, 0.0, 20.0, 20.0), fill="aqua"),
        element(4, "svg"),
    ]
)
BOXES = page(
    [element(1, "DIV", data_color="lime"), element(2, "DIV", data_color="red")], "Click on the red colored box."
)


def test_every_shape_is_told_as_the_page_tells_it_and_found_again_by_the_script():
    seen = set()
    for seed in range(40):
        for instruction in other_instructions("click-shape", DRAWN, np.random.default_rng(seed), 9):
            seen.add(instruction)
            found = EXPERTS["click-shape"](replace(DRAWN, instruction=instruction))
            assert found is not None and found.mark in (0, 1, 2), instruction
    assert {"Click on a digit", "Click on a 7", "Click on a small red q", "Click on a large aqua item"} <= seen
    assert not any("undefined" in words or "  " in words for words in seen)


def test_shapes_are_what_they_look_like():
    assert [Shape.of(item) for item in DRAWN.elements] == [
        Shape("digit", "7", "large", "red"),
        Shape("letter", "q", "small", "red"),
        Shape("shape", "circle", "large", "aqua"),
        None,
    ]


def test_a_page_is_not_asked_again_what_it_asked_itself():
    made = other_instructions("click-color", BOXES, np.random.default_rng(0), 9)
    assert made == ["Click on the lime colored box."]
    assert EXPERTS["click-color"](replace(BOXES, instruction=made[0])).mark == 0


@pytest.mark.parametrize(("task", "count"), [("grid-coordinate", 25), ("click-tab", 3), ("focus-text-2", 3)])
def test_at_most_so_many_are_drawn_and_the_same_ones_for_the_same_dice(task, count):
    blank = page([])
    assert len(other_instructions(task, blank, np.random.default_rng(0), 99)) == count
    first, again = (other_instructions(task, blank, np.random.default_rng(5), 2) for _ in range(2))
    assert first == again and len(set(first)) == 2


def test_a_page_that_asks_one_thing_alone_has_no_others():
    assert other_instructions("click-test", DRAWN, np.random.default_rng(0), 9) == []
