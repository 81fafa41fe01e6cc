"""Answers that go on step by step in the inference thread, so that a robot waits for one step and never for a text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from magma_policy.families.interface import GenerationSettings, Message, Piece, Talker
from magma_policy.serving.batching import BatchedModel

STEP_S = 0.05
"""An answer goes on for so long before others get their turn; its first step, reading the prompt, may take longer."""


@dataclass(frozen=True)
class Progress:
    """What one step brought: pieces, the last of them with a `finish` when the answer is whole, or what went wrong."""

    pieces: Sequence[Piece]
    error: Exception | None = None


class Talk:
    """One answer under way. Only the inference thread may call it."""

    def __init__(self, talker: Talker, message: Message, settings: GenerationSettings) -> None:
        self._begin: Callable[[], Iterator[Piece]] = lambda: talker.pieces(message, settings)
        self._pieces: Iterator[Piece] | None = None
        self.ended = False
        """whether nothing is left to go on with or to give back"""

    def go_on(self) -> Progress:
        """One step. Never raises: a batch that fails is asked again row by row, and a step can be made only once."""
        pieces: list[Piece] = []
        until_s = time.monotonic() + STEP_S
        try:
            self._pieces = self._begin() if self._pieces is None else self._pieces
            for piece in self._pieces:
                pieces.append(piece)
                if piece.finish is not None:
                    self.close()
                    break
                if time.monotonic() >= until_s:
                    break
        except Exception as error:  # whatever a model raises: whoever asked is told
            self.close()
            return Progress(pieces, error)
        return Progress(pieces)

    def close(self) -> Progress:
        """Gives back what the model lent for the answer."""
        self.ended = True
        close = getattr(self._pieces, "close", None)
        if close is not None:
            with suppress(Exception):
                close()
        return Progress(())


@dataclass(frozen=True)
class Step:
    """What is handed to the batcher: go on with an answer, or end it."""

    talk: Talk
    ends: bool = False


class SharedModel:
    """One model for the requests of its own server and for answers in text, each as if it had the model alone.

    Of a batch the requests go first: when they fail, no answer has gone on yet, and all can be tried again one by one.
    """

    def __init__(self, model: BatchedModel) -> None:
        self._model = model

    def act_batch(self, requests: Sequence[Any]) -> list[Any]:
        """An outcome for each request, `Progress` for each `Step`."""
        own = [request for request in requests if not isinstance(request, Step)]
        outcomes = iter(self._model.act_batch(own) if own else ())
        return [_step(request) if isinstance(request, Step) else next(outcomes) for request in requests]


def _step(step: Step) -> Progress:
    return step.talk.close() if step.ends else step.talk.go_on()
