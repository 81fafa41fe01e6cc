"""A model that is shown, before each name that it gives, how places of other pictures are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from magma_contracts.grounding import Expression, GroundedText, Grounder, Grounding, Which


class Learner(Grounder, Protocol):
    """A model that takes demonstrations: pictures, each with what its family calls an example."""

    def refer(
        self, image: NDArray[np.uint8], box: NDArray[np.float64], examples: Sequence[tuple[NDArray[np.uint8], Any]] = ()
    ) -> Expression:
        """What stands at a box (4,), said as in the examples."""


class ByExample:
    """A grounder whose names follow examples; it finds and describes as without."""

    def __init__(self, learner: Learner, examples: Sequence[tuple[NDArray[np.uint8], Any]]) -> None:
        self._learner, self._examples = learner, tuple(examples)

    def ground(self, image: NDArray[np.uint8], phrases: Sequence[str], which: Which = "one") -> list[Grounding]:
        """Where each phrase is."""
        return self._learner.ground(image, phrases, which)

    def refer(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> Expression:
        """What stands at a box (4,), said as in the examples."""
        return self._learner.refer(image, box, self._examples)

    def describe(self, image: NDArray[np.uint8], *, detailed: bool = False) -> GroundedText:
        """A caption whose phrases have boxes."""
        return self._learner.describe(image, detailed=detailed)

    def answer(self, image: NDArray[np.uint8], question: str) -> GroundedText:
        """The answer to a question."""
        return self._learner.answer(image, question)
