"""How well a model points, counted on scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from magma_contracts.geometry.boxes import overlap
from magma_contracts.grounding import Grounder
from magma_policy.grounding.clicks import PRESENT, SAME, ClickError, name_click, noun_phrase
from magma_policy.grounding.expressions import PLACES, Thing, expressions, is_placed, resolve
from magma_policy.grounding.scenes import Scene, Scenes, absent_phrase

ABSENT_PER_SCENE = 2


@dataclass
class Count:
    """So many of so many."""

    right: int = 0
    all: int = 0

    def note(self, right: bool) -> None:
        """Takes in one more."""
        self.right += bool(right)
        self.all += 1

    @property
    def percent(self) -> float:
        """100 when there was none: nothing was wrong."""
        return 100.0 * self.right / self.all if self.all else 100.0


@dataclass
class Tally:
    """What was counted.

    Attributes:
        found: boxes of expressions that overlap the thing by half or more.
        found_by_place: those of expressions with a word of place.
        named: names of boxes that pick out the thing by the scene's truth.
        named_by_place: of those, the ones that need a word of place.
        needless: names with a word of place, or a neighbour, of things that need none.
        led_back: names that the model itself finds again there.
        clicked: names of clicks that pick out what was clicked; a click that got no name is wrong.
        needless_clicked: names of clicks with a word of place, or a neighbour, of things that need none.
        refused, falsely_refused: absent and present things whose presence is below `PRESENT`.
        failures: what went wrong, for people: scene row, what was asked, what was answered.
    """

    found: Count = field(default_factory=Count)
    found_by_place: Count = field(default_factory=Count)
    named: Count = field(default_factory=Count)
    named_by_place: Count = field(default_factory=Count)
    needless: Count = field(default_factory=Count)
    led_back: Count = field(default_factory=Count)
    clicked: Count = field(default_factory=Count)
    needless_clicked: Count = field(default_factory=Count)
    refused: Count = field(default_factory=Count)
    falsely_refused: Count = field(default_factory=Count)
    overlaps: list[float] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    failures: list[tuple[int, str, str, str]] = field(default_factory=list)

    @property
    def mean_overlap(self) -> float:
        """Intersection over union, 0 for what was not found."""
        return float(np.mean(self.overlaps)) if self.overlaps else 0.0


def evaluate(
    grounder: Grounder,
    scenes: Scenes,
    rows: Sequence[int] | np.ndarray,
    names: Sequence[tuple[str, str]],
    *,
    clicks: bool = False,
) -> Tally:
    """Asks about the scenes `rows`.

    Args:
        grounder: the model.
        scenes: where.
        rows: which of them.
        names: kinds and colours that there are at all, for asking about absent ones.
        clicks: also click on everything, which takes several questions each.
    """
    tally = Tally()
    for row in rows:
        _Scene(grounder, int(row), scenes.images[row], scenes.scenes[row], tally).ask(names, clicks)
    return tally


class _Scene:
    def __init__(self, grounder: Grounder, row: int, image: np.ndarray, scene: Scene, tally: Tally) -> None:
        self._grounder, self._row, self._image, self._scene, self._tally = grounder, row, image, scene, tally

    def ask(self, names: Sequence[tuple[str, str]], clicks: bool) -> None:
        """Everything there is to ask about this scene."""
        rng = np.random.default_rng([0x5EE, self._row])
        things = self._scene.things
        told = {i: every[0] for i in range(len(things)) if (every := expressions(things, i))}
        absent = [absent_phrase(self._scene, names, rng) for _ in range(ABSENT_PER_SCENE)]
        missing = [phrase for phrase in absent if phrase is not None]
        self._locate(told, missing)
        for index, expected in told.items():
            self._name(index, expected)
            if clicks:
                points = self._scene.clicks[index]
                self._click(index, expected, points[int(rng.integers(len(points)))])

    def _locate(self, told: dict[int, str], missing: Sequence[str]) -> None:
        asked = [*told.values(), *missing]
        if not asked:
            return
        answers = self._grounder.ground(self._image, asked)
        for index, answer in zip(told, answers, strict=False):
            box = self._thing(index).box
            best = float(overlap(box, answer.boxes[:1])[0]) if len(answer.boxes) else 0.0
            self._tally.overlaps.append(best)
            self._tally.boxes.append(box)
            self._tally.found.note(best >= SAME)
            if answer.phrase.endswith(tuple(PLACES)):
                self._tally.found_by_place.note(best >= SAME)
            self._tally.falsely_refused.note(answer.presence < PRESENT)
            self._failed(best >= SAME, "find", answer.phrase, f"overlap {best:.2f}")
            self._failed(answer.presence >= PRESENT, "present", answer.phrase, f"presence {answer.presence:.2f}")
        for answer in answers[len(told) :]:
            self._tally.refused.note(answer.presence < PRESENT)
            self._failed(answer.presence < PRESENT, "absent", answer.phrase, f"presence {answer.presence:.2f}")

    def _name(self, index: int, expected: str) -> None:
        thing = self._thing(index)
        said = noun_phrase(self._grounder.refer(self._image, np.array(thing.box)).text)
        right = resolve(self._scene.things, said) == [index]
        self._tally.named.note(right)
        if expected.endswith(tuple(PLACES)):
            self._tally.named_by_place.note(right)
        if not is_placed(expected):
            self._tally.needless.note(is_placed(said))
        self._failed(right, "name", expected, said)
        if said:
            answer = self._grounder.ground(self._image, [said])[0]
            best = float(overlap(thing.box, answer.boxes[:1])[0]) if len(answer.boxes) else 0.0
            self._tally.led_back.note(best >= SAME)
        else:
            self._tally.led_back.note(False)

    def _click(self, index: int, expected: str, point: np.ndarray) -> None:
        try:
            said = name_click(self._grounder, self._image, float(point[0]), float(point[1])).phrase
        except ClickError as error:
            said = f"({error})"
        right = resolve(self._scene.things, said) == [index]
        self._tally.clicked.note(right)
        if not is_placed(expected):
            self._tally.needless_clicked.note(is_placed(said))
        self._failed(right, "click", expected, said)

    def _thing(self, index: int) -> Thing:
        return self._scene.things[index]

    def _failed(self, right: bool, what: str, asked: str, answered: str) -> None:
        if not right:
            self._tally.failures.append((self._row, what, asked, answered))
