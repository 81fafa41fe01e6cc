"""Questions about rendered scenes, answered by what the simulator knows: which, where, what colour, how many, left of.

Only what the picture leaves no doubt about is asked: a word of place where things lie clearly apart, a noun where it
picks one thing out. Every kind of question is asked with every answer about equally often, so that a guess shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from magma_policy.grounding.expressions import MARGIN, Thing, expressions
from magma_policy.grounding.scenes import Scene

APART = 2 * MARGIN
"""Middles are told to be left or right of each other from this share of the picture on."""
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Asked:
    """A question of a kind, and its answer."""

    kind: str
    question: str
    answer: str


class SceneQuestions:
    """Draws questions about scenes; `names` are the kinds and colours of all of them."""

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self._kinds = sorted({kind for kind, _ in names})
        self._colours = sorted({colour for _, colour in names})
        self._makers: tuple[Callable[[Scene, np.random.Generator], Asked | None], ...] = (
            self.which,
            self.where,
            self.colour,
            self.count,
            self.beside,
            self.present,
        )

    def draw(self, scene: Scene, count: int, rng: np.random.Generator) -> list[Asked]:
        """At most `count` different questions, kinds taking turns; fewer where a scene tells less."""
        found: dict[str, Asked] = {}
        order = rng.permutation(len(self._makers)).tolist()
        for turn in range(6 * count):
            made = self._makers[order[turn % len(order)]](scene, rng)
            if made is not None:
                found.setdefault(made.question, made)
            if len(found) == count:
                break
        return list(found.values())

    def which(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """The outermost thing on a side."""
        side = int(rng.integers(2))
        places = [thing.middle[0] * (1 if side else -1) for thing in scene.things]
        order = np.argsort(places)[::-1]
        if len(order) < 2 or places[order[0]] - places[order[1]] < APART or scene.hidden:
            return None
        thing = scene.things[order[0]]
        word = "right" if side else "left"
        return Asked("which", f"Which thing is furthest to the {word}?", f"The {thing.colour} {thing.kind}.")

    def where(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """The third of the picture that a thing's middle lies in."""
        named = _named(scene.things, rng)
        if named is None:
            return None
        thing, words = named
        x = thing.middle[0]
        if min(abs(x - 1 / 3), abs(x - 2 / 3)) < MARGIN / 2:
            return None
        place = "on the left" if x < 1 / 3 else "on the right" if x > 2 / 3 else "in the middle"
        return Asked("where", f"Is {words} on the left, in the middle or on the right?", f"{place.capitalize()}.")

    def colour(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """Of a thing that its noun alone picks out."""
        alone = [t for t in scene.things if sum(other.kind == t.kind for other in scene.things) == 1]
        if not alone:
            return None
        thing = alone[int(rng.integers(len(alone)))]
        return Asked("colour", f"What colour is the {thing.kind}?", f"{thing.colour.capitalize()}.")

    def count(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """Of a kind, also of one that is not there."""
        if scene.hidden:
            return None
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        number = sum(thing.kind == kind for thing in scene.things)
        if number >= len(NUMBERS) or (number == 0 and rng.random() < 0.5):
            return None
        return Asked("how many", f"How many {_plural(kind)} are there?", f"{NUMBERS[number].capitalize()}.")

    def beside(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """Whether one thing lies left or right of another."""
        first, second = _named(scene.things, rng), _named(scene.things, rng)
        if first is None or second is None or first[0] is second[0]:
            return None
        gap = first[0].middle[0] - second[0].middle[0]
        if abs(gap) < APART:
            return None
        side = ("left", "right")[int(rng.integers(2))]
        right = (gap > 0) == (side == "right")
        return Asked("left of", f"Is {first[1]} to the {side} of {second[1]}?", "Yes." if right else "No.")

    def present(self, scene: Scene, rng: np.random.Generator) -> Asked | None:
        """Whether a coloured thing is there; half of those asked for are, and of the others most have near kin."""
        there = {(thing.kind, thing.colour) for thing in scene.things}
        if rng.random() < 0.5 and there:
            kind, colour = sorted(there)[int(rng.integers(len(there)))]
        else:
            kinds = sorted({kind for kind, _ in there}) if there and rng.random() < 0.5 else self._kinds
            kind = kinds[int(rng.integers(len(kinds)))]
            colour = self._colours[int(rng.integers(len(self._colours)))]
            if (kind, colour) in there | scene.hidden:
                return None
        article = "an" if colour[0] in "aeiou" else "a"
        answer = "Yes." if (kind, colour) in there else "No."
        return Asked("yes or no", f"Is there {article} {colour} {kind} in the picture?", answer)


def _named(things: Sequence[Thing], rng: np.random.Generator) -> tuple[Thing, str] | None:
    """A thing and words without a place that pick it out."""
    if not things:
        return None
    index = int(rng.integers(len(things)))
    thing = things[index]
    plain = [f"the {thing.kind}", f"the {thing.colour} {thing.kind}"]
    fits = [words for words in expressions(things, index) if words in plain]
    return (thing, fits[0]) if fits else None


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith(("s", "x", "ch", "sh")) else f"{kind}s"
