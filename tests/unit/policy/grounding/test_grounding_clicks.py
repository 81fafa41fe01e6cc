"""Clicks that become words, with a model that reads the scene itself."""

import numpy as np
import pytest

from magma_contracts.geometry.boxes import holds
from magma_contracts.grounding import Expression, GroundedText, Grounding, two_click_instruction
from magma_policy.grounding.clicks import (
    CLICK_SIDE,
    ClickError,
    name_box,
    name_click,
    name_place,
    noun_phrase,
    painted_over,
)
from magma_policy.grounding.expressions import Thing, resolve

IMAGE = np.zeros((8, 8, 3), np.uint8)


def thing(kind, colour, x, y, size=0.14):
    return Thing(kind, colour, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


class Scene:
    """A model that knows what is there, names things by their colour and kind, and finds nothing else."""

    def __init__(self, *things, says=None, says_of_clicks=None):
        self.things, self.says, self.says_of_clicks = things, says, says_of_clicks

    def ground(self, image, phrases, which="one"):
        found = []
        for phrase in phrases:
            boxes = np.array([self.things[i].box for i in resolve(self.things, phrase)]).reshape(-1, 4)
            boxes = boxes[:1] if which == "one" else boxes
            found.append(Grounding(phrase, boxes, np.linspace(0.9, 0.5, len(boxes)), float(len(boxes) > 0)))
        return found

    def refer(self, image, box):
        if self.says_of_clicks is not None and np.allclose(box[2:] - box[:2], CLICK_SIDE):
            return Expression(self.says_of_clicks, 0.4)
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


class Seen(Scene):
    """One that sees of its things those whose middle is not of the table's colour."""

    def ground(self, image, phrases, which="one"):
        side = len(image)
        there = [one for one in self.things if image[int(one.middle[1] * side), int(one.middle[0] * side)].any()]
        return Scene(*there).ground(image, phrases, which)


def pictured(*things):
    """The things as white squares on a black table."""
    image = np.zeros((100, 100, 3), np.uint8)
    for one in things:
        x1, y1, x2, y2 = (round(100 * value) for value in one.box)
        image[y1:y2, x1:x2] = 255
    return image


def test_a_place_that_is_said_of_what_is_alone_of_its_name_is_left_out():
    alone, other = thing("plate", "white", 0.3, 0.5), thing("block", "green", 0.7, 0.5)
    for says in ("the plate on the left", "the white plate on the left", "the plate next to the block"):
        scene = Seen(alone, other, says=says)
        found = name_place(scene, pictured(alone, other), np.array(alone.box))
        assert found.phrase == says.partition(" on ")[0].partition(" next")[0]
        assert found.agreement == 1.0 and np.allclose(found.box, alone.box)


def test_a_place_that_tells_twins_apart_stays():
    left, right = thing("plate", "white", 0.3, 0.5), thing("plate", "blue", 0.7, 0.5)
    for says in ("the plate on the left", "the white plate on the left"):
        scene = Seen(left, right, says=says)
        kept = says if says == "the plate on the left" else "the white plate"
        assert name_place(scene, pictured(left, right), np.array(left.box)).phrase == kept
    # A model that does not see that the thing is gone says nothing about its twins.
    assert name_place(Scene(left, says="the plate on the left"), IMAGE, np.array(left.box)).phrase == (
        "the plate on the left"
    )


def test_what_is_painted_over_has_the_colour_of_what_lies_around():
    image = np.full((80, 120, 3), (10, 200, 30), np.uint8)
    image[20:40, 30:60] = 255
    before = image.copy()
    np.testing.assert_array_equal(painted_over(image, np.array([30 / 120, 20 / 80, 60 / 120, 40 / 80])),
                                  np.full_like(image, (10, 200, 30)))  # fmt: skip
    np.testing.assert_array_equal(image, before)
    # At the edge, beyond it, and where nothing lies around.
    for box in ([0.9, 0.9, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.999, 0.0, 1.0, 0.001]):
        assert painted_over(image, np.array(box)).shape == image.shape


def test_a_click_on_a_things_edge_is_on_the_thing():
    """The box that a model finds ends a little before the thing does."""
    basket, plate = thing("basket", "yellow", 0.3, 0.5, 0.3), thing("plate", "white", 0.7, 0.5, 0.3)
    scene = Scene(basket, plate, says_of_clicks="the basket")
    for x, y in ((0.3, 0.5), (0.46, 0.5), (0.13, 0.34)):
        assert name_click(scene, IMAGE, x, y).phrase == "the yellow basket"
    with pytest.raises(ClickError, match="not found where you clicked"):
        name_click(scene, IMAGE, 0.3, 0.69)
    # What holds the point goes before what ends beside it.
    green, red = thing("block", "green", 0.3, 0.5, 0.2), thing("block", "red", 0.505, 0.5, 0.2)
    beside = Scene(green, red, says_of_clicks="a block")
    assert name_click(beside, IMAGE, 0.402, 0.5).phrase == "the green block"
    assert name_click(beside, IMAGE, 0.41, 0.5).phrase == "the red block"


def test_a_click_whose_square_is_named_wrongly_is_asked_about_in_other_squares():
    basket, plate = thing("basket", "yellow", 0.3, 0.5, 0.3), thing("plate", "white", 0.7, 0.5, 0.2)
    scene = Scene(basket, plate, says_of_clicks="the plate")
    assert name_click(scene, IMAGE, 0.3, 0.5).phrase == "the yellow basket"
    # What no square names is told by the name of the first one.
    with pytest.raises(ClickError, match='calls this "the plate"'):
        name_click(scene, IMAGE, 0.5, 0.9)


def test_a_box_that_is_hardly_meant_is_no_thing():
    """All places that a phrase may mean hold faint ones inside of the thing, and a click may lie in one."""
    whole = thing("basket", "yellow", 0.3, 0.5, 0.4)

    class Faint(Scene):
        def ground(self, image, phrases, which="one"):
            found = super().ground(image, phrases, which)
            inner = np.array([[0.3, 0.5, 0.34, 0.54]])
            return [
                Grounding(one.phrase, np.concatenate([one.boxes, inner]), np.append(one.confidences, 0.02), 1.0)
                if which == "all"
                else one
                for one in found
            ]

    assert name_click(Faint(whole), IMAGE, 0.32, 0.52).phrase == "the yellow basket"


@pytest.mark.parametrize("says", ["the red block", "the green block on the left", "the red block next to the plate"])
def test_a_square_that_is_named_too_closely_still_finds_the_thing_by_its_noun(says):
    scene = Scene(
        thing("block", "green", 0.7, 0.5),
        thing("plate", "white", 0.2, 0.5),
        thing("block", "blue", 0.4, 0.2),
        says_of_clicks=says,
    )
    assert name_click(scene, IMAGE, 0.7, 0.5).phrase == "the green block"


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


def test_a_box_may_be_drawn_from_any_corner_and_over_the_edge():
    scene = Scene(thing("carrot", "orange", 0.07, 0.5), thing("plate", "white", 0.7, 0.5))
    x1, y1, x2, y2 = scene.things[0].box
    for place in ((x1, y1, x2, y2), (x2, y1, x1, y2), (x2, y2, x1, y1), (x1 - 0.3, y2, x2, y1)):
        found = name_place(scene, IMAGE, np.array(place))
        assert found.phrase == "the orange carrot" and found.agreement == pytest.approx(1.0)
    assert name_place(scene, IMAGE, np.array([0.07, 0.5, 0.07, 0.5])).phrase == "the orange carrot"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ((1.1, 0.1, 1.4, 0.4), r"the box \(1.1, 0.1, 1.4, 0.4\) lies outside"),
        ((-0.4, 0.1, -0.1, 0.4), "lies outside"),
        ((0.1, 0.1, 0.1, 0.4), "no area"),
        ((0.1, 0.4, 0.3, 0.4), "no area"),
        ((-0.5, 0.1, 0.0, 0.4), "no area"),
        ((0.1, 0.1, float("nan"), 0.4), "finite corners"),
        ((0.1, float("-inf"), 0.3, 0.4), "finite corners"),
        ((float("inf"),) * 4, "outside of the picture"),
        ((float("nan"),) * 4, "finite corners"),
    ],
)
def test_what_is_no_place_in_the_picture_is_told(place, told):
    with pytest.raises(ClickError, match=told):
        name_place(Scene(thing("carrot", "orange", 0.3, 0.5)), IMAGE, np.array(place))


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
