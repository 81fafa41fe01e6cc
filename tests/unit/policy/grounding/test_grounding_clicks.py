"""Clicks that become words, with a model that reads the scene itself."""

import numpy as np
import pytest

from magma_contracts.boxes import holds
from magma_contracts.grounding import Expression, GroundedText, Grounding, two_click_instruction
from magma_policy.grounding.clicks import ClickError, name_box, name_click, noun_phrase
from magma_policy.grounding.expressions import Thing, resolve

IMAGE = np.zeros((8, 8, 3), np.uint8)


def thing(kind, colour, x, y, size=0.14):
    return Thing(kind, colour, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


class Scene:
    """A model that knows what is there, names things by their colour and kind, and finds nothing else."""

    def __init__(self, *things, says=None):
        self.things, self.says = things, says

    def ground(self, image, phrases, which="one"):
        found = []
        for phrase in phrases:
            boxes = np.array([self.things[i].box for i in resolve(self.things, phrase)]).reshape(-1, 4)
            boxes = boxes[:1] if which == "one" else boxes
            found.append(Grounding(phrase, boxes, np.linspace(0.9, 0.5, len(boxes)), float(len(boxes) > 0)))
        return found

    def refer(self, image, box):
        if self.says is not None:
            return Expression(self.says, 0.5)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        names = [f"a {one.colour} {one.kind}" for one in self.things if holds(one.box, middle)]
        return Expression(names[0] if names else "the table", 0.9)

    def describe(self, image, *, detailed=False):
        return GroundedText("")

    def answer(self, image, question):
        return GroundedText("")


def test_a_click_anywhere_on_a_thing_names_it():
    scene = Scene(thing("carrot", "orange", 0.3, 0.5), thing("plate", "white", 0.7, 0.5))
    for dx in (-0.06, 0.0, 0.06):
        found = name_click(scene, IMAGE, 0.3 + dx, 0.5)
        assert found.phrase == "the orange carrot" and found.agreement == 1.0
        np.testing.assert_allclose(found.box, scene.things[0].box)


def test_twins_get_words_of_place():
    scene = Scene(
        thing("block", "green", 0.7, 0.5), thing("block", "green", 0.2, 0.5), thing("block", "green", 0.4, 0.2)
    )
    assert name_click(scene, IMAGE, 0.7, 0.5).phrase == "the green block on the right"
    assert name_click(scene, IMAGE, 0.2, 0.5).phrase == "the green block on the left"
    assert name_click(scene, IMAGE, 0.4, 0.2).phrase == "the green block at the back"


@pytest.mark.parametrize(
    ("x", "y", "says", "told"),
    [
        (1.2, 0.5, None, "outside"),
        (float("nan"), 0.5, None, "outside"),
        (0.9, 0.9, None, "not found where you clicked"),
        (0.3, 0.5, "", "an empty answer"),
        (0.3, 0.5, "a plate", "not found where you clicked"),
    ],
)
def test_a_click_without_a_name_says_what_to_do(x, y, says, told):
    scene = Scene(thing("carrot", "orange", 0.3, 0.5), thing("plate", "white", 0.7, 0.5), says=says)
    with pytest.raises(ClickError, match=told):
        name_click(scene, IMAGE, x, y)


def test_a_name_that_leads_elsewhere_is_not_taken():
    scene = Scene(thing("carrot", "orange", 0.3, 0.5), thing("plate", "white", 0.7, 0.5), says="a white plate")
    with pytest.raises(ClickError, match="another place"):
        name_box(scene, IMAGE, np.array(scene.things[0].box))


def test_twins_that_no_word_tells_apart_get_no_name():
    scene = Scene(thing("block", "green", 0.50, 0.5), thing("block", "green", 0.55, 0.5))
    with pytest.raises(ClickError, match="several places"):
        name_box(scene, IMAGE, np.array(scene.things[0].box))


def test_sentences():
    assert noun_phrase(" It is a Green block. ") == "the green block"
    assert noun_phrase("the carrot") == "the carrot"
    assert noun_phrase(" . ") == ""


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("the plate", "on the plate"),
        ("the basket", "in the basket"),
        ("the yellow basket on the left", "in the yellow basket on the left"),
        ("the Bowl next to the plate", "in the Bowl next to the plate"),
        ("the towel next to the basket", "on the towel next to the basket"),
        ("the plate in front", "on the plate in front"),
        ("the box at the back", "in the box at the back"),
        ("the block of the box", "on the block of the box"),
        ("the basketball", "on the basketball"),
        ("basket.", "in basket."),
        ("", "on "),
    ],
)
def test_things_are_put_in_containers_and_on_all_else(target, said):
    assert two_click_instruction("the carrot", target) == f"put the carrot {said}"
