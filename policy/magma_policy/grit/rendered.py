"""Captions of rendered scenes from what stands in them, by a small grammar, and which words mean what.

They are for measuring the pipeline and for training on its records. Beside things they name what nobody can point at
(words of place, pronouns, abstract nouns), conjuncts, things that hang on others, and verbs, as people's captions do.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from magma_policy.grounding.expressions import NEXT_TO, PLACES, Thing, expressions

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Meant:
    """Characters [start, end) of a caption that are an expression for a thing, and those of its chunk alone."""

    start: int
    end: int
    chunk_end: int
    thing: int


@dataclass
class Description:
    """A caption under construction, and what its words mean."""

    text: str = ""
    meant: list[Meant] = field(default_factory=list)

    def say(self, words: str) -> None:
        """Words that mean no thing."""
        self.text += words

    def name(self, chunk: str, thing: int, more: str = "") -> None:
        """A thing by a chunk, and words behind it that belong to the same expression."""
        start = len(self.text)
        self.text += chunk + more
        self.meant.append(Meant(start, len(self.text), start + len(chunk), thing))


def describe(things: Sequence[Thing], key: str) -> Description | None:
    """The caption of a scene, always the same for a key; None where nothing can be told apart."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    # Things that words pick out; the order is no order of places.
    told = [i for i in rng.permutation(len(things)).tolist() if expressions(things, i)]
    if not told:
        return None
    makers: list[Callable[[], Description | None]] = [
        lambda: _lists(things, told),
        lambda: _stands(things, told, rng),
        lambda: _hangs(things, told),
        lambda: _moment(things, told),
    ]
    for number in rng.permutation(len(makers)).tolist():
        made = makers[number]()
        if made is not None:
            return made
    return _lists(things, told)


def _lists(things: Sequence[Thing], told: Sequence[int]) -> Description:
    """the green block, the carrot and the plate on the left"""
    made = Description()
    few = told[:3]
    for place, thing in enumerate(few):
        made.say("" if not place else " and " if place == len(few) - 1 else ", ")
        name_thing(made, things, thing)
    return made


def _stands(things: Sequence[Thing], told: Sequence[int], rng: np.random.Generator) -> Description | None:
    """the carrot lies on the table and it looks small"""
    plain = [i for i in told if not _split(expressions(things, i)[0])[1]]
    if not plain:
        return None
    made = Description()
    name_thing(made, things, plain[0])
    made.say(str(rng.choice([" lies on the table", " is in the picture", " can be seen here"])))
    made.say(" and it looks small")
    return made


def _hangs(things: Sequence[Thing], told: Sequence[int]) -> Description | None:
    """the spoon next to the blue plate"""
    for thing in told:
        for words in expressions(things, thing):
            if NEXT_TO in words:
                made = Description()
                _tell(made, things, thing, words)
                return made
    return None


def _moment(things: Sequence[Thing], told: Sequence[int]) -> Description | None:
    """a moment of silence with the spoon on the right"""
    made = Description()
    made.say("a moment of silence with ")
    name_thing(made, things, told[0])
    return made


def name_thing(made: Description, things: Sequence[Thing], thing: int) -> None:
    """Says a thing by its shortest expression."""
    _tell(made, things, thing, expressions(things, thing)[0])


def _tell(made: Description, things: Sequence[Thing], thing: int, words: str) -> None:
    """A thing by an expression; what that lies next to is a thing of its own."""
    chunk, more = _split(words)
    made.name(chunk, thing, more)
    if more.startswith(NEXT_TO):
        end = len(made.text)
        kind = more.removeprefix(f"{NEXT_TO}the ")
        landmark = next(i for i, other in enumerate(things) if other.kind == kind)
        made.meant.append(Meant(end - len(more) + len(NEXT_TO), end, end, landmark))


def _split(words: str) -> tuple[str, str]:
    """An expression's chunk, and what stands behind it."""
    head, beside, landmark = words.partition(NEXT_TO)
    place = next((name for name in PLACES if head.endswith(f" {name}")), None)
    if place is not None:
        return head.removesuffix(f" {place}"), f" {place}"
    return head, beside + landmark
