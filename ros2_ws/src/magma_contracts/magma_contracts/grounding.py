"""What a model that points answers, whichever model it is, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Which = Literal["one", "several", "all"]
"""The best place of a phrase, the places that the model lists itself, or all that the phrase may mean."""


MAX_CHARACTERS = 2_000
"""Of a phrase or question: a model reads about as many words as fit in there."""


def text_problem(text: str, what: str) -> str | None:
    """Why a phrase or question cannot be asked, or None; `what` names it."""
    if not text.strip():
        return f"the {what} is empty; say what is meant"
    if len(text) > MAX_CHARACTERS:
        return f"the {what} has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read"
    return None


@dataclass(frozen=True)
class Grounding:
    """Where a phrase is.

    Attributes:
        phrase: as it was asked.
        boxes: (N, 4) fractions of the picture, the surest first; none when no place was named.
        confidences: (N,), 0 … 1. They order boxes; how often a box of such a confidence is right is counted for each
            checkpoint.
        presence: 0 … 1, the model's own word for whether this is in the picture at all, apart from where.
    """

    phrase: str
    boxes: NDArray[np.float64]
    confidences: NDArray[np.float64]
    presence: float


@dataclass(frozen=True)
class Expression:
    """What a place is called, and the probability of these words together."""

    text: str
    probability: float


@dataclass(frozen=True)
class Entity:
    """A phrase of a text and where it is.

    Attributes:
        phrase: the words, "" for boxes behind no phrase.
        span: where it stands in the text, [start, end).
        boxes: (N, 4) fractions of the picture.
        confidences: (N,), as in `Grounding`; NaN where only a text was read.
    """

    phrase: str
    span: tuple[int, int]
    boxes: NDArray[np.float64]
    confidences: NDArray[np.float64]


@dataclass(frozen=True)
class GroundedText:
    """A text with its entities in order; `malformed` counts the groups of places that are no boxes."""

    text: str
    entities: tuple[Entity, ...] = ()
    malformed: int = 0


@dataclass(frozen=True)
class NamedPlace:
    """A place and a name that leads back to it.

    Attributes:
        phrase: such as "the green block on the left".
        box: (4,) fractions of the picture, where the phrase leads.
        agreement: intersection over union of that box and the one that was named.
        confidence: of the box, as in `Grounding`.
        presence: the model's word for whether the phrase is in the picture.
    """

    phrase: str
    box: NDArray[np.float64]
    agreement: float
    confidence: float
    presence: float


CONTAINERS = frozenset({
    "bag", "basin", "basket", "bin", "bowl", "box", "bucket", "can", "carton", "case", "crate", "cup", "drawer",
    "dishwasher", "fridge", "glass", "jar", "jug", "microwave", "mug", "oven", "pan", "pot", "pocket", "rack", "sack",
    "sink", "skillet", "tin", "trashcan", "tub", "vase",
})  # fmt: skip
"""Nouns of what things are put in and not on."""
_BEHIND_NOUN = re.compile(r"\s+(?:on|in|at|next|near|beside|behind|under|above|below|by|with|of|to|from|left|right)\s")


def two_click_instruction(source: str, target: str) -> str:
    """The one sentence that two clicks make: what is taken, and where it is put: in a container, on all else.

    What the target is is its noun, the last word in front of any word of place: "the white basket on the left".
    """
    noun = _BEHIND_NOUN.split(f"{target.lower()} ", maxsplit=1)[0].strip(" .,;:!?").rpartition(" ")[2]
    return f"put {source} {'in' if noun in CONTAINERS else 'on'} {target}"


class Grounder(Protocol):
    """A model that points. Pictures are uint8 rgb (H, W, 3); ValueError says what cannot be asked."""

    def ground(self, image: NDArray[np.uint8], phrases: Sequence[str], which: Which = "one") -> list[Grounding]:
        """Where each phrase is."""

    def refer(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> Expression:
        """What stands at a box (4,)."""

    def describe(self, image: NDArray[np.uint8], *, detailed: bool = False) -> GroundedText:
        """A caption whose phrases have boxes."""

    def answer(self, image: NDArray[np.uint8], question: str) -> GroundedText:
        """The answer to a question."""


class Pointer(Grounder, Protocol):
    """A model that points, as it is used: here, or behind a server. One question at a time."""

    @property
    def identity(self) -> str:
        """The model's content (a hash), whatever it is called; "" where it is not known."""

    def name(self, image: NDArray[np.uint8], place: NDArray[np.float64]) -> NamedPlace:
        """What stands at a place (4,), a box or a click (a box without area), in words that lead back to it. ValueError
        when no words do."""
