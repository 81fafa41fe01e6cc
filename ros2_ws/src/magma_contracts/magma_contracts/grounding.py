"""What a model that points answers, whichever model it is, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Which = Literal["one", "several", "all"]
"""The best place of a phrase, the places that the model lists itself, or all that the phrase may mean."""


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
