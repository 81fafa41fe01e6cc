"""What is read in training: captions with and without places, texts, documents, and the paper's instructions, in ids.

The loss counts from behind a picture on: `<grounding>` itself is predicted. What stands for pictures never is. Of
instructions only the answer counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from magma_policy.families.kosmos2 import Mention, Vocabulary, encode_boxes, mentioned
from magma_policy.grit import sequences
from magma_policy.grit.records import Record

Corner = tuple[float, float]

TEMPLATES = (
    ("What is", "it", "?", "It is"),
    ("What is", "this", "?", "This is"),
    ("Describe", "this object", ".", "This object is"),
    ("", "It", "is", ""),
    ("", "This", "is", ""),
    ("", "The object", "is", ""),
)
"""Of table 9: words before the place, the phrase that has it, words behind it, and those of the answer before the
expression."""


@dataclass(frozen=True)
class Sample:
    """A sequence.

    Attributes:
        ids: from `<s>` on.
        learned: (len(ids),) bool, which of them are predicted.
        pictures: rows of the pictures whose features stand in it, in order.
        corners: index into `ids` -> x y of a location token, before it was rounded to a cell.
    """

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    pictures: tuple[int, ...] = ()
    corners: dict[int, Corner] = field(default_factory=dict)


class Draft:
    """A sequence under construction, of at most `longest` ids."""

    def __init__(self, vocabulary: Vocabulary, longest: int) -> None:
        self._vocabulary, self._longest = vocabulary, longest
        self.ids = [vocabulary.bos]
        self.learned = [False]
        self.pictures: list[int] = []
        self.corners: dict[int, Corner] = {}

    def add(self, ids: Sequence[int], *, learned: bool = True) -> bool:
        """Whether there was room for them, and for the end."""
        if len(self.ids) + len(ids) >= self._longest:
            return False
        self.ids += ids
        self.learned += [learned] * len(ids)
        return True

    def picture(self, row: int) -> bool:
        """Adds a picture, if there is room."""
        fits = self.add(self._vocabulary.image_ids, learned=False)
        self.pictures += [row] if fits else []
        return fits

    def parts(self, parts: Iterable[str | Mention]) -> None:
        """Adds text and mentions, as many as there is room for; a text may be cut, a mention is there whole or not."""
        for part in parts:
            ids = mentioned(self._vocabulary, [part])
            start = len(self.ids)
            if isinstance(part, str):
                ids = ids[: self._longest - start - 1]
            if not self.add(ids):
                return
            if isinstance(part, Mention):
                self._note_corners(start, ids, part.boxes)

    def boxes(self, boxes: np.ndarray) -> bool:
        """Adds places without a phrase: the answer to a phrase."""
        vocabulary = self._vocabulary
        cells = encode_boxes(boxes, vocabulary.bins)
        ids = [vocabulary.object_open]
        for number, (first, last) in enumerate(cells):
            ids += [vocabulary.delimiter] if number else []
            ids += [vocabulary.place(first), vocabulary.place(last)]
        start = len(self.ids)
        if not self.add([*ids, vocabulary.object_close]):
            return False
        self._note_corners(start, ids, boxes)
        return True

    def done(self, *, ended: bool = True) -> Sample:
        """The sequence; `ended` says that its end is learned, too."""
        ids, learned = [*self.ids, self._vocabulary.eos], [*self.learned, ended]
        return Sample(tuple(ids), tuple(learned), tuple(self.pictures), self.corners)

    def _note_corners(self, start: int, ids: Sequence[int], boxes: np.ndarray) -> None:
        places = [start + at for at, id_ in enumerate(ids) if self._vocabulary.is_place(id_)]
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 2).tolist()
        self.corners |= {place: (x, y) for place, (x, y) in zip(places, corners, strict=True)}


class Samples:
    """Makes sequences of what is given; `longest`: ids of one."""

    def __init__(self, vocabulary: Vocabulary, longest: int) -> None:
        self._vocabulary, self._longest = vocabulary, longest

    def caption(self, text: str, picture: int) -> Sample:
        """`<s><image>…</image> caption </s>`"""
        made = self._begun(picture)
        made.parts([text])
        return made.done()

    def grounded(self, record: Record, picture: int) -> Sample:
        """`<s><image>…</image><grounding>`, and the caption with the places of its outermost expressions."""
        made = self._begun(picture)
        made.add([self._vocabulary.grounding])
        made.parts(sequences.parts(record))
        return made.done()

    def find(self, expression: str, boxes: np.ndarray, picture: int) -> Sample | None:
        """`<grounding><phrase> expression </phrase>`, answered by boxes (N, 4); None where there is no room for it."""
        vocabulary = self._vocabulary
        made = self._begun(picture)
        phrase = [vocabulary.phrase_open, *vocabulary.encode(expression), vocabulary.phrase_close]
        asked = made.add([vocabulary.grounding, *phrase], learned=False)
        return made.done() if asked and made.boxes(boxes) else None

    def name(self, expression: str, boxes: np.ndarray, picture: int, template: int) -> Sample | None:
        """A place, (N, 4), that is asked about in one of the `TEMPLATES`, answered by the expression; None as above."""
        vocabulary = self._vocabulary
        before, word, behind, answer = TEMPLATES[template]
        told: list[str | Mention] = [before] if before else []
        asked = mentioned(vocabulary, [*told, Mention(word, boxes), behind])
        made = self._begun(picture)
        fits = made.add([vocabulary.grounding, *asked], learned=False)
        fits = fits and made.add(vocabulary.encode(f"{answer} {expression}.".strip()))
        return made.done() if fits else None

    def texts(self, text: str) -> list[Sample]:
        """`<s> text </s>`, as many as it takes; only the last one's end is learned."""
        ids, room = self._vocabulary.encode(text), self._longest - 2
        pieces = [ids[start : start + room] for start in range(0, len(ids), room)]
        found = []
        for number, piece in enumerate(pieces):
            made = Draft(self._vocabulary, self._longest)
            made.add(piece)
            found.append(made.done(ended=number == len(pieces) - 1))
        return found

    def document(self, parts: Sequence[str | int]) -> Sample:
        """Text with pictures, given by their rows, between; cut where there is no more room."""
        made = Draft(self._vocabulary, self._longest)
        for part in parts:
            if isinstance(part, str):
                made.parts([part])
            elif not made.picture(part):
                break
        return made.done()

    def _begun(self, picture: int) -> Draft:
        made = Draft(self._vocabulary, self._longest)
        made.picture(picture)
        return made
