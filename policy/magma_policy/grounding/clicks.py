"""From a click to words: what somebody pointed at, named so that the model finds it again.

The model names the place and is then asked where that name is. Only a name that leads back to the place is taken; one
that leads elsewhere gets a word of place, computed from the boxes and not asked for, and is tried again. A word of
place that the model says of what is alone of its name is left out: with the thing painted over, its name leads nowhere.
Nothing is chosen from a list of tasks, and nothing here becomes an instruction: a person confirms it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magma_contracts.geometry.boxes import holds, overlap
from magma_contracts.grounding import Grounder, Grounding, NamedPlace
from magma_policy.grounding.expressions import MARGIN, PLACES, is_placed, unplaced

CLICK_SIDE = 0.12
"""Side of the square round a click that is asked about first, as a share of the picture."""
OTHER_SIDES = (0.2, 0.08)
"""Of the squares that are asked about when the name of the first leads nowhere: a click on the rim of something large,
and one on something small beside another thing."""
EDGE = 1 / 32
"""So far outside of a box a click is still on its thing where no other box is, as a share of the picture."""
SAME = 0.5
"""A name leads back to a box when what is found overlaps it so much (intersection over union)."""
PRESENT = 0.5
"""Presence from which a phrase leads somewhere; below it counts as refused."""
PAINTED, SURROUNDING = 0.015, 0.04
"""How far a thing is painted over beyond its box, and how wide the rim is whose colour it gets, as shares of the
picture."""
RIVAL = 0.2
"""Another box rivals the surest one of a phrase when its confidence is so large a share of the surest one's: then the
phrase is ambiguous, also where the surest box is the right one."""


class ClickError(ValueError):
    """A click that no name was found for; the message says what to do."""


def name_click(grounder: Grounder, image: NDArray[np.uint8], x: float, y: float) -> NamedPlace:
    """What stands at a point of the picture, 0 … 1 each.

    Raises:
        ClickError: outside of the picture, or no name leads back to the point.
    """
    first = ""
    for side in (CLICK_SIDE, *OTHER_SIDES):
        said = grounder.refer(image, click_square(x, y, side)).text
        first = first or said
        phrase = noun_phrase(said)
        # The square is not the thing: its name finds the thing's own box, which is then named anew. So a name that says
        # too much, a wrong colour or place, still finds it by its noun.
        found = _at(grounder, image, _broader(phrase), x, y) if phrase else None
        if found is not None:
            return name_box(grounder, image, found)
    raise ClickError(_told(first, "is not found where you clicked"))


def click_square(x: float, y: float, side: float = CLICK_SIDE) -> NDArray[np.float64]:
    """The square (4,), cut to the picture, that a model is asked about for a click. Raises ClickError outside."""
    if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
        raise ClickError(f"the click ({x:g}, {y:g}) lies outside of the picture, which runs from 0 to 1")
    half = side / 2
    return np.array([x - half, y - half, x + half, y + half]).clip(0.0, 1.0)


def name_place(grounder: Grounder, image: NDArray[np.uint8], place: NDArray[np.float64]) -> NamedPlace:
    """What stands at a place (4,) of fractions: a box, or a click, which is a box without area. A box may reach over
    the picture's edge and have its corners in any order.

    Raises:
        ClickError: no place in the picture, or no name leads back to it.
    """
    if np.array_equal(place[:2], place[2:]):
        return name_click(grounder, image, float(place[0]), float(place[1]))
    return name_box(grounder, image, _within(place))


def _within(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a box (4,) that lies in the picture, its upper left corner first."""
    told = "(" + ", ".join(f"{value:g}" for value in place) + ")"
    if not np.isfinite(place).all():
        raise ClickError(f"the box {told} is no place in a picture; give finite corners")
    low, high = np.minimum(place[:2], place[2:]), np.maximum(place[:2], place[2:])
    if (high < 0.0).any() or (low > 1.0).any():
        raise ClickError(f"the box {told} lies outside of the picture, which runs from 0 to 1")
    box = np.concatenate([low, high]).clip(0.0, 1.0)
    if not (box[:2] < box[2:]).all():
        raise ClickError(f"the box {told} has no area within the picture; give a box, or a point")
    return box


def name_box(grounder: Grounder, image: NDArray[np.uint8], box: NDArray[np.float64]) -> NamedPlace:
    """What stands at a box (4,) of fractions.

    Raises:
        ClickError: no name leads back to the box.
    """
    said = grounder.refer(image, box).text
    phrase = noun_phrase(said)
    if not phrase:
        raise ClickError(_told(said, "is no name"))
    if is_placed(phrase) and (alone := _alone(grounder, image, unplaced(phrase), box)) is not None:
        return alone
    found = grounder.ground(image, [phrase], "all")[0]
    meant = _meant(found)
    rivals = [other for other in meant if overlap(box, [other])[0] < SAME]
    if rivals and not is_placed(phrase):
        placed = [f"{phrase} {place}" for place in _places(box, rivals)]
        tried = list(zip(placed, grounder.ground(image, placed) if placed else [], strict=True))
    else:
        tried = [(phrase, found)]
    for words, where in tried:
        if not len(where.boxes):
            continue
        agreement = float(overlap(box, where.boxes[:1])[0])
        if agreement >= SAME:
            return NamedPlace(words, where.boxes[0], agreement, float(where.confidences[0]), where.presence)
    raise ClickError(_told(said, "leads to several places" if len(rivals) < len(meant) else "leads to another place"))


def noun_phrase(text: str) -> str:
    """A name as it stands in an instruction: what a model says behind "It is", with "the" in front."""
    words = " ".join(text.split()).strip(" .,;:!?").lower()
    for lead in ("it is ", "this is ", "a ", "an ", "the "):
        words = words.removeprefix(lead)
    return f"the {words}" if words else ""


def _broader(phrase: str) -> list[str]:
    """A name, then the same without words of place, then without the word in front of its noun."""
    head = unplaced(phrase)
    words = head.split()
    return list(dict.fromkeys([phrase, head, f"the {words[-1]}" if len(words) == 3 else head]))


def _at(
    grounder: Grounder, image: NDArray[np.uint8], phrases: list[str], x: float, y: float
) -> NDArray[np.float64] | None:
    """The surest box at a point, of the first phrase that has one there."""
    answers = grounder.ground(image, phrases, "all")
    # The model knows a thing's edge to a cell: a click on it may lie beside the box.
    for around in (0.0, EDGE):
        for found in answers:
            for box in _meant(found):
                if holds(box + np.array([-around, -around, around, around]), (x, y)):
                    return box
    return None


def _meant(found: Grounding) -> list[NDArray[np.float64]]:
    """The boxes that a phrase may mean, the surest first."""
    if not len(found.boxes):
        return []
    return list(found.boxes[found.confidences >= RIVAL * found.confidences.max()])


def _alone(grounder: Grounder, image: NDArray[np.uint8], phrase: str, box: NDArray[np.float64]) -> NamedPlace | None:
    """A name without words of place, where these say nothing: it leads to the box, and nowhere in the same picture
    without what stands there."""
    where = grounder.ground(image, [phrase])[0]
    agreement = float(overlap(box, where.boxes[:1])[0]) if len(where.boxes) else 0.0
    if agreement < SAME:
        return None
    left = grounder.ground(painted_over(image, box), [phrase])[0]
    if len(left.boxes) and left.presence >= PRESENT:
        return None
    return NamedPlace(phrase, where.boxes[0], agreement, float(where.confidences[0]), where.presence)


def painted_over(image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) whose box (4,) of fractions, and a little round it, has the colour of what lies around."""
    size = np.array([image.shape[1], image.shape[0]] * 2)
    outwards = np.array([-1, -1, 1, 1])

    def cut(margin: float) -> tuple[slice, slice]:
        low_x, low_y, high_x, high_y = np.rint((box + margin * outwards).clip(0.0, 1.0) * size).astype(int).tolist()
        return slice(low_y, high_y), slice(low_x, high_x)

    painted = image.copy()
    around = np.zeros(image.shape[:2], dtype=bool)
    around[cut(PAINTED + SURROUNDING)] = True
    around[cut(PAINTED)] = False
    if around.any():
        painted[cut(PAINTED)] = np.median(image[around], axis=0).astype(np.uint8)
    return painted


def _places(box: NDArray[np.float64], rivals: list[NDArray[np.float64]]) -> list[str]:
    """Words of place that hold for a box against all of its rivals."""
    middle = (box[:2] + box[2:]) / 2
    others = np.array([(rival[:2] + rival[2:]) / 2 for rival in rivals])
    return [
        words
        for words, (axis, towards) in PLACES.items()
        if (towards * (middle[axis] - others[:, axis]) >= MARGIN).all()
    ]


def _told(said: str, why: str) -> str:
    name = f'"{said}"' if said.strip() else "an empty answer"
    return f"the model calls this {name}, and that {why}; click nearer to its middle, or type what is meant"
