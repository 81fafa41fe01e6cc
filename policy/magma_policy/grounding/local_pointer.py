"""A model that points and is in this process, as a server's clients have one that is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from magma_contracts.grounding import Expression, GroundedText, Grounder, Grounding, NamedPlace, Which
from magma_policy.grounding.clicks import name_place


class LocalPointer:
    """A grounder that also names what somebody clicked on, known by its content."""

    def __init__(self, grounder: Grounder, identity: str) -> None:
        self.grounder = grounder
        """the model that points"""
        self.identity = identity
        """the model's content (a hash)"""

    def ground(self, image: NDArray[np.uint8], phrases: Sequence[str], which: Which = "one") -> list[Grounding]:
        """Where each phrase is."""
        return self.grounder.ground(image, phrases, which)

    def refer(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> Expression:
        """What stands at a box (4,)."""
        return self.grounder.refer(image, box)

    def describe(self, image: NDArray[np.uint8], *, detailed: bool = False) -> GroundedText:
        """A caption whose phrases have boxes."""
        return self.grounder.describe(image, detailed=detailed)

    def answer(self, image: NDArray[np.uint8], question: str) -> GroundedText:
        """The answer to a question."""
        return self.grounder.answer(image, question)

    def name(self, image: NDArray[np.uint8], place: NDArray[np.float64]) -> NamedPlace:
        """What stands at a place (4,), in words that lead back to it. Raises ClickError when none do."""
        return name_place(self.grounder, image, place)
