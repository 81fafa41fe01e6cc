"""Texts about a scene: what is asked, as the prompts of the family spell it, and the right answer in ids.

The answers have one form each, so that the same grammar (`magma_policy.grounding.expressions`) writes and judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from magma_policy.families.kosmos2 import (
    Prompt,
    Vocabulary,
    answer_prompt,
    describe_prompt,
    encode_boxes,
    locate_prompt,
    refer_prompt,
)
from magma_policy.grounding.clicks import click_square
from magma_policy.grounding.expressions import PLACES, Thing, expressions, resolve
from magma_policy.grounding.scenes import Scene, SceneError, absent_phrase
from magma_policy.training.recipes.grounding.config import TextShares

Box = Sequence[float]
TRIES = 100
"""Draws for each text that is wanted."""
HARD = 3.0
"""How much more often a thing is asked for that only a colour tells from others. Without, a model learns kinds first
and leaves colours alone for thousands of steps: few texts need them."""
PLACED = 6.0
"""… and that only a place or a neighbour does: for that the model must look at the thing's rivals too."""
NEAR = 0.8
"""How many of the absent things that are asked for have near kin in the scene, of the same kind in another colour:
these are what a model takes for present."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
SENTENCES = (
    "An image of nothing. Describe this image in detail: Question: Is there in the image? Answer: yes no What colour "
    "is How many are It is the a an and . ?"
)


@dataclass(frozen=True)
class Sample:
    """One text.

    Attributes:
        ids: behind `<s><image>…</image>`, the prompt and the answer.
        asked: how many of them are the prompt's.
        corners: index into `ids` -> x y of a location token of the answer, before it was rounded to a cell.
    """

    ids: tuple[int, ...]
    asked: int
    corners: dict[int, tuple[float, float]]


def words(names: Sequence[tuple[str, str]]) -> list[str]:
    """Every word of the texts of scenes with these kinds and colours, for a vocabulary of whole words."""
    plain = [word for name in names for word in name] + [_plural(kind) for kind, _ in names]
    places = [word for place in (*PLACES, "next to") for word in place.split()]
    return list(dict.fromkeys([*SENTENCES.split(), *plain, *places, *COUNTS, "image", "detail", "Question", "Answer"]))


class Samples:
    """Draws texts about scenes whose things have `names` (kind, colour)."""

    def __init__(self, vocabulary: Vocabulary, names: Sequence[tuple[str, str]], shares: TextShares) -> None:
        self._vocabulary = vocabulary
        self._names = list(names)
        self._kinds = sorted({kind for kind, _ in names})
        kinds: tuple[tuple[float, Callable[[Scene, np.random.Generator], Sample | None]], ...] = (
            (shares.locate, self._locate),
            (shares.locate_absent, self._locate_absent),
            (shares.locate_several, self._locate_several),
            (shares.refer, self._refer),
            (shares.presence, self._presence),
            (shares.questions, self._question),
        )
        weights = np.array([weight for weight, _ in kinds])
        self._makers = [make for _, make in kinds]
        self._chances = weights / weights.sum()
        self._known: dict[tuple[Thing, ...], list[list[str]]] = {}

    def draw(self, scene: Scene, count: int, rng: np.random.Generator) -> list[Sample]:
        """Texts of random kinds; a kind that a scene has nothing for is drawn again."""
        found: list[Sample] = []
        for _ in range(TRIES * count):
            made = self._makers[int(rng.choice(len(self._makers), p=self._chances))](scene, rng)
            if made is not None:
                found.append(made)
            if len(found) == count:
                return found
        raise SceneError(
            f"nothing of the chosen kinds of texts can be said about a scene of {len(scene.things)} things"
        )

    def caption(self, scene: Scene, *, detailed: bool) -> Sample:
        """A description in which everything has its boxes, from left to right."""
        vocabulary = self._vocabulary
        prompt = describe_prompt(vocabulary, detailed=detailed)
        answer = _Answer(vocabulary)
        groups = _groups(scene.things, with_colour=detailed)
        for number, (phrase, boxes) in enumerate(groups):
            if number:
                answer.text("and")
            answer.phrase(phrase, boxes)
        if not groups:
            answer.text("nothing.")
        return self._sample(prompt, answer)

    # One kind of text each; None where the scene has nothing for it.

    def _locate(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        index = self._named_thing(scene, rng)
        if index is None:
            return None
        every = self._expressions(scene)[index]
        # The canonical one is what the model itself says.
        text = every[0] if rng.random() < 0.5 else every[int(rng.integers(len(every)))]
        answer = _Answer(self._vocabulary)
        answer.boxes([scene.things[index].box])
        return self._sample(locate_prompt(self._vocabulary, _with_article(text, rng)), answer)

    def _locate_absent(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        text = absent_phrase(scene, self._names, rng, NEAR)
        if text is None:
            return None
        return self._sample(locate_prompt(self._vocabulary, _with_article(text, rng)), _Answer(self._vocabulary))

    def _locate_several(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        nouns = sorted({noun for thing in scene.things for noun in (thing.kind, f"{thing.colour} {thing.kind}")})
        several = [noun for noun in nouns if len(resolve(scene.things, f"the {noun}")) > 1]
        if not several:
            return None
        noun = several[int(rng.integers(len(several)))]
        answer = _Answer(self._vocabulary)
        answer.boxes(_from_the_left([scene.things[i].box for i in resolve(scene.things, f"the {noun}")]))
        return self._sample(locate_prompt(self._vocabulary, _with_article(f"the {noun}", rng)), answer)

    def _refer(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        index = self._named_thing(scene, rng)
        if index is None:
            return None
        answer = _Answer(self._vocabulary)
        answer.text(f"{self._expressions(scene)[index][0]}.")
        box = _asked_box(scene, index, rng)
        return self._sample(refer_prompt(self._vocabulary, box), answer)

    def _presence(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        answer = _Answer(self._vocabulary)
        if rng.random() < 0.5:
            index = self._named_thing(scene, rng)
            if index is None:
                return None
            every = self._expressions(scene)[index]
            text, said = every[int(rng.integers(len(every)))], "yes"
        else:
            absent = absent_phrase(scene, self._names, rng)
            if absent is None:
                return None
            text, said = absent, "no"
        answer.text(said)
        question = f"Is there {_with_article(text, rng)} in the image?"
        return self._sample(answer_prompt(self._vocabulary, question, grounded=rng.random() < 0.5), answer)

    def _question(self, scene: Scene, rng: np.random.Generator) -> Sample | None:
        answer = _Answer(self._vocabulary)
        grounded = rng.random() < 0.5
        if rng.random() < 0.5 or not scene.things:
            kind = self._kinds[int(rng.integers(len(self._kinds)))]
            if scene.things and rng.random() < 0.7:
                kind = scene.things[int(rng.integers(len(scene.things)))].kind
            if any(kind == hidden for hidden, _ in scene.hidden):
                return None
            answer.text(COUNTS[min(sum(thing.kind == kind for thing in scene.things), len(COUNTS) - 1)])
            return self._sample(
                answer_prompt(self._vocabulary, f"How many {_plural(kind)} are in the image?", grounded=grounded),
                answer,
            )
        thing = scene.things[int(rng.integers(len(scene.things)))]
        if len({other.colour for other in scene.things if other.kind == thing.kind}) > 1:
            return None
        answer.text(thing.colour)
        question = f"What colour is the {thing.kind}?"
        return self._sample(answer_prompt(self._vocabulary, question, grounded=grounded), answer)

    # What they share.

    def _expressions(self, scene: Scene) -> list[list[str]]:
        if scene.things not in self._known:
            self._known[scene.things] = [expressions(scene.things, i) for i in range(len(scene.things))]
        return self._known[scene.things]

    def _named_thing(self, scene: Scene, rng: np.random.Generator) -> int | None:
        """A thing that has an expression; more often one that is harder to tell apart."""
        weights = np.array(
            [_weight(thing, every) for thing, every in zip(scene.things, self._expressions(scene), strict=True)]
        )
        if not weights.sum():
            return None
        return int(rng.choice(len(weights), p=weights / weights.sum()))

    def _sample(self, prompt: Prompt, answer: _Answer) -> Sample:
        # What stands in front, `<s>` and the picture, is computed once for all texts of a picture.
        asked = prompt.ids[1 + len(self._vocabulary.image_ids) :]
        corners = {len(asked) + place: corner for place, corner in answer.corners.items()}
        return Sample((*asked, *answer.ids, self._vocabulary.eos), len(asked), corners)


class _Answer:
    """An answer under construction."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.ids: list[int] = []
        self.corners: dict[int, tuple[float, float]] = {}

    def text(self, text: str) -> None:
        self.ids += self._vocabulary.encode(text)

    def phrase(self, text: str, boxes: Sequence[Box]) -> None:
        self.ids += [self._vocabulary.phrase_open, *self._vocabulary.encode(text), self._vocabulary.phrase_close]
        self.boxes(boxes)

    def boxes(self, boxes: Sequence[Box]) -> None:
        vocabulary = self._vocabulary
        self.ids.append(vocabulary.object_open)
        cells = encode_boxes(np.array(boxes, dtype=np.float64), vocabulary.bins)
        for number, (box, (first, last)) in enumerate(zip(boxes, cells, strict=True)):
            self.ids += [vocabulary.delimiter] if number else []
            self.corners[len(self.ids)] = (float(box[0]), float(box[1]))
            self.corners[len(self.ids) + 1] = (float(box[2]), float(box[3]))
            self.ids += [vocabulary.place(first), vocabulary.place(last)]
        self.ids.append(vocabulary.object_close)


def _groups(things: Sequence[Thing], *, with_colour: bool) -> list[tuple[str, list[Box]]]:
    """What a description names, from left to right: one thing, or all that look alike. A colour is told when asked for,
    or where a kind has several."""
    found: dict[str, list[Box]] = {}
    for thing in sorted(things, key=lambda one: one.middle):
        colours = {other.colour for other in things if other.kind == thing.kind}
        told = with_colour or len(colours) > 1
        alike = [other for other in things if (other.kind, other.colour) == (thing.kind, thing.colour)]
        adjective = f"{thing.colour} " if told else ""
        if len(alike) > 1:
            phrase = f"{COUNTS[min(len(alike), len(COUNTS) - 1)]} {adjective}{_plural(thing.kind)}"
        else:
            phrase = f"{_article(adjective + thing.kind)} {adjective}{thing.kind}"
        found.setdefault(phrase, []).append(thing.box)
    return list(found.items())


def _weight(thing: Thing, every: Sequence[str]) -> float:
    """How often a thing with these expressions is asked for, by what its shortest one needs."""
    if not every:
        return 0.0
    if every[0] == f"the {thing.kind}":
        return 1.0
    return HARD if every[0] == f"the {thing.colour} {thing.kind}" else PLACED


def _asked_box(scene: Scene, index: int, rng: np.random.Generator) -> np.ndarray:
    """The box of a thing; one drawn round it by hand; or the square round a click on it."""
    box = np.array(scene.things[index].box)
    kind = rng.random()
    if kind < 0.4:
        return box
    if kind < 0.6:
        size = np.tile(box[2:] - box[:2], 2)
        return (box + rng.uniform(-0.12, 0.12, 4) * size).clip(0.0, 1.0)
    x, y = scene.clicks[index][int(rng.integers(len(scene.clicks[index])))].tolist()
    return click_square(x, y)


def _from_the_left(boxes: Sequence[Box]) -> list[Box]:
    return sorted(boxes, key=lambda box: (box[0] + box[2], box[1] + box[3]))


def _with_article(text: str, rng: np.random.Generator) -> str:
    """An expression as people type it: mostly with "the", sometimes with "a" or nothing."""
    bare = text.removeprefix("the ")
    kind = rng.random()
    return text if kind < 0.75 else f"{_article(bare)} {bare}" if kind < 0.9 else bare


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _plural(kind: str) -> str:
    return f"{kind}s"
