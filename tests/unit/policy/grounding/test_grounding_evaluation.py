"""What is counted of a model that points, with models that know the truth or err in a known way."""

import numpy as np
import pytest

from magma_contracts.geometry.boxes import overlap
from magma_contracts.grounding import Expression, GroundedText, Grounding
from magma_policy.grounding.evaluation import evaluate
from magma_policy.grounding.expressions import Thing, expressions, resolve
from magma_policy.grounding.scenes import Scene, Scenes

NAMES = (("block", "green"), ("block", "red"), ("carrot", "orange"))


def thing(kind, colour, x, y, size=0.2):
    return Thing(kind, colour, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


def scenes_of(*scenes):
    images = np.stack([np.full((8, 8, 3), row, np.uint8) for row in range(len(scenes))])
    made = tuple(
        Scene(things, np.array([[one.middle] * 12 for one in things]).reshape(-1, 12, 2), frozenset())
        for things in scenes
    )
    return Scenes(images, made, np.zeros(len(scenes), int), "")


TWINS = scenes_of(
    (thing("block", "green", 0.2, 0.5), thing("block", "green", 0.8, 0.5), thing("carrot", "orange", 0.5, 0.2)),
    (thing("carrot", "orange", 0.3, 0.3),),
)


class Truth:
    """Knows every scene by its picture; `shift` moves its boxes, `present` is what it says of everything."""

    def __init__(self, scenes, shift=0.0, present=None, place_words=True):
        self.scenes, self.shift, self.present, self.place_words = scenes, shift, present, place_words

    def things(self, image):
        return self.scenes.scenes[int(image[0, 0, 0])].things

    def ground(self, image, phrases, which="one"):
        found = []
        for phrase in phrases:
            meant = resolve(self.things(image), phrase)
            boxes = np.array([self.things(image)[i].box for i in meant]).reshape(-1, 4) + self.shift
            presence = float(bool(meant)) if self.present is None else self.present
            found.append(Grounding(phrase, boxes[:1] if which == "one" else boxes, np.ones(len(boxes)), presence))
        return found

    def refer(self, image, box):
        things = self.things(image)
        index = int(np.argmax(overlap(box, [one.box for one in things])))
        text = expressions(things, index)[0] if self.place_words else f"the {things[index].kind}"
        return Expression(text, 1.0)

    def describe(self, image, *, detailed=False):
        return GroundedText("")

    def answer(self, image, question):
        return GroundedText("")


def counted(count):
    return count.right, count.all


def test_a_model_that_knows_the_truth_is_right_in_everything():
    tally = evaluate(Truth(TWINS), TWINS, range(2), NAMES, clicks=True)
    assert counted(tally.found) == counted(tally.named) == counted(tally.led_back) == counted(tally.clicked) == (4, 4)
    assert counted(tally.found_by_place) == counted(tally.named_by_place) == (2, 2)
    assert counted(tally.needless) == (0, 2)
    assert counted(tally.refused) == (4, 4) and counted(tally.falsely_refused) == (0, 4)
    assert tally.mean_overlap == 1.0 and not tally.failures


@pytest.mark.parametrize(("shift", "found"), [(0.03, 4), (0.15, 0)])
def test_boxes_beside_the_thing_count_by_their_overlap(shift, found):
    tally = evaluate(Truth(TWINS, shift=shift), TWINS, range(2), NAMES)
    assert tally.found.right == found and 0 < tally.mean_overlap < 0.7
    assert tally.clicked.all == 0


def test_a_model_that_finds_everything_refuses_nothing():
    tally = evaluate(Truth(TWINS, present=0.9), TWINS, range(2), NAMES)
    assert counted(tally.refused) == (0, 4) and counted(tally.falsely_refused) == (0, 4)
    assert {failure[1] for failure in tally.failures} == {"absent"}
    tally = evaluate(Truth(TWINS, present=0.1), TWINS, range(2), NAMES)
    assert counted(tally.refused) == (4, 4) and counted(tally.falsely_refused) == (4, 4)


def test_names_that_fit_several_things_are_wrong_though_one_leads_back():
    tally = evaluate(Truth(TWINS, place_words=False), TWINS, range(2), NAMES)
    assert counted(tally.named) == (2, 4) and counted(tally.named_by_place) == (0, 2)
    assert counted(tally.led_back) == (3, 4)
