"""Which ids may come next in an answer, so that no malformed box can be said: one row's state and its rules."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np

from magma_policy.families.kosmos2.vocabulary import Vocabulary

NGRAM = 3
"""No three ids come twice: how the authors decode (unilm, evaluation scripts, --no-repeat-ngram-size 3)."""

Form = Literal["box", "boxes", "words", "grounded words", "anything"]
"""What an answer is: one box, or none; a group of boxes, or none; words; words with boxes behind phrases; or whatever
the model says, for comparisons with the library."""


@dataclass(frozen=True)
class AnswerRules:
    """What an answer may be.

    Attributes:
        form: what it is made of.
        max_new_tokens: at most so many ids, the last one among them.
        stop_at_sentence: a full stop ends it too.
        ngram: no so many ids come twice, the prompt's included; 0 = they may. The ids that only hold a box together
            are free of it, but in "anything": a place that is named a second time must be closed too.
        must_begin: a box, or group of boxes, begins with `<object>` whatever the model would rather say, so that a
            place is named; what it would have said is in the logits behind the prompt.
    """

    form: Form = "grounded words"
    max_new_tokens: int = 64
    stop_at_sentence: bool = False
    ngram: int = NGRAM
    must_begin: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.ngram < 0:
            raise ValueError(f"ngram must not be negative, got {self.ngram}")


class Kinds:
    """Masks (rows,) bool by kind of id; what the model's table has beyond the vocabulary is of none."""

    def __init__(self, vocabulary: Vocabulary, rows: int) -> None:
        self.rows = rows
        self.words = np.zeros(rows, dtype=bool)
        self.words[: vocabulary.first_tag] = [vocabulary.is_text(id_) for id_ in range(vocabulary.first_tag)]
        self.places = np.zeros(rows, dtype=bool)
        self.places[vocabulary.first_place : vocabulary.size] = True
        self.full_stops = frozenset(
            id_
            for name in (".", "▁.")
            if (id_ := vocabulary.tokenizer.token_to_id(name)) is not None and vocabulary.is_text(id_)
        )


class _Stage(Enum):
    TEXT = "text"
    PHRASE = "inside a phrase"
    PHRASE_CLOSED = "right behind a phrase"
    FIRST_CORNER = "a box begins"
    SECOND_CORNER = "a box's second corner is due"
    BOX_SAID = "behind both corners"


class Row:
    """One answer under way: what was said, and what may be said next."""

    def __init__(
        self, vocabulary: Vocabulary, kinds: Kinds, rules: AnswerRules, prompt: Sequence[int], room: int
    ) -> None:
        """`room` is how many ids the model can still place behind the prompt."""
        self._vocabulary, self._kinds, self._rules = vocabulary, kinds, rules
        self._limit = min(rules.max_new_tokens, room)
        self._history = [int(id_) for id_ in prompt]
        self._first_corner = 0
        self._stage = _Stage.TEXT
        # A prompt may end anywhere, also within a box.
        for id_ in self._history:
            self._advance(id_)
        self.said: list[int] = []
        self.finished = False

    @property
    def running(self) -> bool:
        """Whether there is more to say; an answer that is cut runs no longer, and is not finished."""
        return not self.finished and len(self.said) < self._limit

    def copy(self) -> Row:
        """The same answer so far, to go on in another way."""
        other = copy.copy(self)
        other._history, other.said = self._history.copy(), self.said.copy()
        return other

    def allowed(self) -> np.ndarray:
        """Mask (rows,) bool of the ids that may be said next; at least one."""
        vocabulary, kinds, form = self._vocabulary, self._kinds, self._rules.form
        if form == "anything":
            everything = np.ones(kinds.rows, dtype=bool)
            return self._unrepeated(everything, everything)
        if self._stage is _Stage.FIRST_CORNER:
            return self._unrepeated(kinds.places, kinds.places)
        if self._stage is _Stage.SECOND_CORNER:
            return self._unrepeated(self._behind_first_corner(), kinds.places)
        if self._stage is _Stage.BOX_SAID:
            return self._only(vocabulary.object_close, *(() if form == "box" else (vocabulary.delimiter,)))
        if form in ("box", "boxes"):
            begins = self._rules.must_begin and not self.said
            return self._only(vocabulary.object_open, *(() if begins else (vocabulary.eos,)))
        if form == "words":
            tags = self._only(vocabulary.eos)
        elif self._stage is _Stage.PHRASE:
            tags = self._only(vocabulary.phrase_close)
        elif self._stage is _Stage.PHRASE_CLOSED:
            tags = self._only(vocabulary.object_open, vocabulary.phrase_open, vocabulary.eos)
        else:
            tags = self._only(vocabulary.phrase_open, vocabulary.eos)
        return self._unrepeated(kinds.words | tags, kinds.words)

    def _only(self, *ids: int) -> np.ndarray:
        mask = np.zeros(self._kinds.rows, dtype=bool)
        mask[list(ids)] = True
        return mask

    def _behind_first_corner(self) -> np.ndarray:
        """Places neither left of the first corner nor above it."""
        bins = self._vocabulary.bins
        grid = np.zeros((bins, bins), dtype=bool)
        grid[self._first_corner // bins :, self._first_corner % bins :] = True
        mask = np.zeros(self._kinds.rows, dtype=bool)
        mask[self._vocabulary.first_place : self._vocabulary.size] = grid.ravel()
        return mask

    def _unrepeated(self, may: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Without ids of these kinds that would say an n-gram again, unless none were left."""
        n, history = self._rules.ngram, self._history
        if n == 0 or len(history) < n:
            return may
        tail = history[len(history) - n + 1 :]
        starts = range(len(history) - n + 1)
        banned = [history[start + n - 1] for start in starts if history[start : start + n - 1] == tail]
        left = may.copy()
        left[banned] &= ~kinds[banned]
        return left if left.any() else may

    def add(self, id_: int) -> None:
        """Takes the id that was chosen, and ends the answer where it ends."""
        vocabulary, rules = self._vocabulary, self._rules
        self.said.append(id_)
        self._history.append(id_)
        closes = id_ == vocabulary.object_close and rules.form in ("box", "boxes")
        sentence = rules.stop_at_sentence and self._stage is not _Stage.PHRASE and id_ in self._kinds.full_stops
        self.finished = closes or sentence or id_ == vocabulary.eos
        self._advance(id_)

    def _advance(self, id_: int) -> None:
        vocabulary = self._vocabulary
        if id_ in (vocabulary.object_open, vocabulary.delimiter):
            self._stage = _Stage.FIRST_CORNER
        elif vocabulary.is_place(id_) and self._stage is _Stage.FIRST_CORNER:
            self._first_corner, self._stage = vocabulary.cell(id_), _Stage.SECOND_CORNER
        elif vocabulary.is_place(id_):
            self._stage = _Stage.BOX_SAID
        elif id_ == vocabulary.phrase_open:
            self._stage = _Stage.PHRASE
        elif id_ == vocabulary.phrase_close:
            self._stage = _Stage.PHRASE_CLOSED
        elif self._stage is not _Stage.PHRASE:
            self._stage = _Stage.TEXT
