"""Words that pick one thing out of a scene, and what such words pick out.

A small grammar, written and read by the same rules: "the carrot", "the green block", "the block on the left",
"the red spoon next to the plate". Places are those of the picture, as the person at the screen sees them: left and
right along x, in front where y is larger. A word of place is only used where the picture leaves no doubt about it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 0.06
"""A thing is the leftmost of its kind when its middle is so much further left than the next one's, as a share of the
picture; nearest to something when so much nearer."""
PLACES = {"on the left": (0, -1), "on the right": (0, 1), "in front": (1, 1), "at the back": (1, -1)}
"""Words of place: along which axis of the picture, towards which end."""
NEXT_TO = " next to "
"""Between a thing and what it lies beside."""


@dataclass(frozen=True)
class Thing:
    """One object in a picture.

    Attributes:
        kind: its noun, such as "block".
        colour: the colour that a person would name.
        box: x1, y1, x2, y2 as fractions of the picture.
    """

    kind: str
    colour: str
    box: tuple[float, float, float, float]

    @property
    def middle(self) -> tuple[float, float]:
        """The middle of its box, x and y."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def expressions(things: Sequence[Thing], index: int) -> list[str]:
    """All expressions of the grammar that pick out this thing and no other, shortest first: noun, colour, place, and
    what it lies next to. Empty where nothing tells it apart."""
    thing = things[index]
    nouns = [thing.kind, f"{thing.colour} {thing.kind}"]
    others = sorted({other.kind for other in things} - {thing.kind})
    found = [f"the {noun}" for noun in nouns]
    found += [f"the {noun} {place}" for noun in nouns for place in PLACES]
    found += [f"the {noun}{NEXT_TO}the {other}" for noun in nouns for other in others]
    return [text for text in found if resolve(things, text) == [index]]


def is_placed(text: str) -> bool:
    """Whether an expression says where the thing is."""
    return unplaced(text) != text


def unplaced(text: str) -> str:
    """An expression without its word of place and its neighbour."""
    head = text.partition(NEXT_TO)[0]
    return next((head.removesuffix(f" {place}") for place in PLACES if head.endswith(f" {place}")), head)


def resolve(things: Sequence[Thing], text: str) -> list[int]:
    """Indices of the things that an expression fits: one when it picks something out, several when it is ambiguous,
    none when there is no such thing, or a word that the grammar does not know."""
    words = " ".join(text.lower().strip(" .").split())
    head, beside, landmark = words.partition(NEXT_TO)
    place = next((name for name in PLACES if head.endswith(f" {name}")), None)
    noun = head.removesuffix(f" {place}") if place else head
    named = _named(things, noun)
    if place is not None and len(named) > 1:
        named = _extreme(things, named, *PLACES[place])
    if beside and named:
        marks = _named(things, landmark)
        return _nearest(things, named, marks[0]) if len(marks) == 1 else []
    return named


def _named(things: Sequence[Thing], noun: str) -> list[int]:
    """Things whose kind, or colour and kind, a noun names; "a", "an" and "the" in front of it say nothing."""
    bare = re.sub(r"^(?:the|an|a)\s+", "", noun)
    return [i for i, thing in enumerate(things) if bare in (thing.kind, f"{thing.colour} {thing.kind}")]


def _extreme(things: Sequence[Thing], named: Sequence[int], axis: int, towards: int) -> list[int]:
    """The furthest of these in a direction, or those that are too near to it to tell."""
    far = {index: towards * things[index].middle[axis] for index in named}
    best = max(far.values())
    return [index for index in named if best - far[index] < MARGIN]


def _nearest(things: Sequence[Thing], named: Sequence[int], landmark: int) -> list[int]:
    """The nearest of these to a landmark, or those that are too near to tell."""
    here = things[landmark].middle
    far = {
        index: ((things[index].middle[0] - here[0]) ** 2 + (things[index].middle[1] - here[1]) ** 2) ** 0.5
        for index in named
        if index != landmark
    }
    return [index for index in far if far[index] - min(far.values()) < MARGIN]
