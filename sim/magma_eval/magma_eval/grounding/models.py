"""Models that are asked: whatever an installed package offers in the group `magma_eval.pointers`, or a server.

    [project.entry-points."magma_eval.pointers"]
    my_models = "my_package.module:load"

`load(checkpoint, device, constrained)` returns a `Pointer`, or None where the checkpoint is not of its kind, and raises
ValueError with a sentence for one that is and cannot be loaded.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from magma_contracts.files.server_tokens import TOKEN_VARIABLE
from magma_eval.grounding.answers import NO_BOXES
from magma_eval.grounding.items import Answer
from magma_eval.results.episode_result import ResultsError
from magma_policy_client import GroundingClient, PolicyClientError

GROUP = "magma_eval.pointers"
SERVER_S = 120.0

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A demonstration: a picture, a box (4,) of fractions, and what it is called."""

    image: Image
    box: NDArray[np.float64]
    name: str


class Pointer(Protocol):
    """A model under test. Pictures are uint8 rgb (H, W, 3)."""

    @property
    def identity(self) -> str:
        """The model's content (a hash)."""

    @property
    def protocol(self) -> str:
        """How it is asked and decoded, for the report."""

    def place(self, image: Image, phrase: str, before: str) -> Answer:
        """Boxes of a phrase that stands behind these words of a caption."""

    def name(self, image: Image, box: NDArray[np.float64], shown: Sequence[Shown]) -> Answer:
        """What stands at a box (4,), after demonstrations."""

    def caption(self, image: Image) -> Answer:
        """What is in a picture."""

    def answer(self, image: Image, question: str) -> Answer:
        """The answer to a question."""


def load(name: str, device: str = "auto", *, constrained: bool = False) -> Pointer:
    """The model of a server (ws://…), or of a checkpoint.

    Raises:
        ResultsError: there is none.
    """
    try:
        if name.startswith(("ws://", "wss://")):
            return ServedPointer(GroundingClient(name, os.environ.get(TOKEN_VARIABLE), SERVER_S))
        for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda one: one.name):
            loader: Callable[[str, str, bool], Pointer | None] = entry.load()
            found = loader(name, device, constrained)
            if found is not None:
                return found
    except (PolicyClientError, ValueError) as error:
        raise ResultsError(str(error)) from error
    raise ResultsError(f"{name}: no installed package knows a model that points under this name")


class ServedPointer:
    """A model behind magma-serve. It is asked about phrases without their captions, and shown no demonstrations, which
    the server's protocol does not know."""

    protocol = "behind a server: phrases without their captions, well-formed boxes only, greedy"

    def __init__(self, client: GroundingClient) -> None:
        self._client = client

    @property
    def identity(self) -> str:
        """The model's content (a hash)."""
        return self._client.identity

    def place(self, image: Image, phrase: str, before: str) -> Answer:
        """Boxes of a phrase."""
        del before
        return Answer(self._client.ground(image, [phrase], "several")[0].boxes)

    def name(self, image: Image, box: NDArray[np.float64], shown: Sequence[Shown]) -> Answer:
        """What stands at a box (4,)."""
        if shown:
            raise ResultsError("a server is shown no demonstrations; give the checkpoint itself for --shots")
        return Answer(NO_BOXES, self._client.refer(image, box).text)

    def caption(self, image: Image) -> Answer:
        """What is in a picture."""
        return Answer(NO_BOXES, self._client.describe(image).text)

    def answer(self, image: Image, question: str) -> Answer:
        """The answer to a question."""
        return Answer(NO_BOXES, self._client.answer(image, question).text)
