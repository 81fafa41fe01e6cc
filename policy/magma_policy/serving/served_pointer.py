"""A model that points, as the server uses it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magma_contracts.grounding import Pointer, text_problem
from magma_policy_client import grounding_messages as messages

Answer = messages.Found | messages.Called | messages.Named | messages.Told
SIDE = 64
"""Pixels of the picture that the first, slow call is about."""


class ServedPointer:
    """A loaded model that points: questions as they come over the wire, one after the other."""

    def __init__(self, pointer: Pointer, name: str) -> None:
        self.pointer = pointer
        self.name = name
        """what the model is called"""

    @property
    def identity(self) -> str:
        """The model's content (a hash)."""
        return self.pointer.identity

    def act_batch(self, requests: Sequence[messages.Question]) -> list[Answer]:
        """An answer to each question. Raises ValueError for what cannot be asked, and what the model raises."""
        return [self._answer(question) for question in requests]

    def warm_up(self) -> None:
        """Makes the first, slow call."""
        self.pointer.ground(np.full((SIDE, SIDE, 3), 128, np.uint8), ["the table"])

    def _answer(self, question: messages.Question) -> Answer:
        number, image, model = question.sequence, question.image, self.pointer
        if isinstance(question, messages.Ground):
            for phrase in question.phrases:
                _check(phrase, "phrase")
            return messages.Found(number, tuple(model.ground(image, question.phrases, question.which)))
        if isinstance(question, messages.Refer):
            return messages.Called(number, model.refer(image, question.box))
        if isinstance(question, messages.Name):
            return messages.Named(number, model.name(image, question.place))
        if isinstance(question, messages.Describe):
            return messages.Told(number, model.describe(image, detailed=question.detailed))
        _check(question.question, "question")
        return messages.Told(number, model.answer(image, question.question))


def _check(text: str, what: str) -> None:
    problem = text_problem(text, what)
    if problem is not None:
        raise ValueError(problem)
