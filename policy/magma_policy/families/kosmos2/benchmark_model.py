"""KOSMOS-2 as published benchmarks ask it (Peng et al. 2023, section 4; microsoft/unilm, kosmos-2/evaluation): its
prompts, greedy but for captions, and answers that are read as they are said and never repaired."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magma_eval.grounding.answers import NO_BOXES
from magma_eval.grounding.items import Answer
from magma_eval.grounding.models import Shown
from magma_policy.families.kosmos2 import prompts
from magma_policy.families.kosmos2.grammar import AnswerRules
from magma_policy.families.kosmos2.model import BOXES_TOKENS, CAPTION_TOKENS, Kosmos2
from magma_policy.families.kosmos2.prompts import Example

CAPTION_BEAMS = 5
"""As in the paper (section 4.3.1)."""


class BenchmarkModel:
    """A loaded checkpoint under test; see `magma_eval.grounding.models.Pointer`.

    Args:
        model: the checkpoint.
        identity: its content (a hash).
        constrained: only well-formed boxes can be said.
    """

    def __init__(self, model: Kosmos2, identity: str, *, constrained: bool = False) -> None:
        self._model, self.identity, self._constrained = model, identity, constrained

    @property
    def protocol(self) -> str:
        """How it is asked, for the report."""
        places = "well-formed boxes only" if self._constrained else "free decoding"
        return f"the paper's prompts, {places}, greedy, captions with {CAPTION_BEAMS} beams"

    def place(self, image: np.ndarray, phrase: str, before: str) -> Answer:
        """Boxes behind the phrase; none where something else is said there."""
        vocabulary = self._model.vocabulary
        if self._constrained:
            rules = AnswerRules("boxes", must_begin=True, max_new_tokens=BOXES_TOKENS)
        else:
            rules = AnswerRules("anything", max_new_tokens=BOXES_TOKENS)
        lead = [vocabulary.phrase_open, *vocabulary.encode(phrase), vocabulary.phrase_close]
        said = self._model.said(image, prompts.locate(vocabulary, phrase, before), rules, lead, keep_turned=True)
        # The phrase that was asked about stands first; further ones are the rest of a caption.
        own = [one for one in said.entities[:1] if one.span[0] == 0 or not said.text[: one.span[0]].strip()]
        # A pair that is turned round is a miss at its rank: the next one is no better for it.
        if not own or not (own[0].boxes[:, :2] < own[0].boxes[:, 2:]).any():
            return Answer(NO_BOXES, undecodable=True)
        return Answer(own[0].boxes)

    def name(self, image: np.ndarray, box: np.ndarray, shown: Sequence[Shown]) -> Answer:
        """What stands at a box (4,): `It … is`, after demonstrations in the same words."""
        examples = [(one.image, Example(one.box, one.name)) for one in shown]
        return Answer(NO_BOXES, self._model.refer(image, box, examples, weigh=False).text.strip())

    def caption(self, image: np.ndarray) -> Answer:
        """`An image of`, and what is said behind it."""
        return Answer(NO_BOXES, self._model.caption(image, CAPTION_BEAMS))

    def answer(self, image: np.ndarray, question: str) -> Answer:
        """`Question: … Answer:`, and what is said behind it."""
        prompt = prompts.answer(self._model.vocabulary, question, grounded=False)
        said = self._model.said(image, prompt, AnswerRules("words", max_new_tokens=CAPTION_TOKENS))
        return Answer(NO_BOXES, said.text.strip())
