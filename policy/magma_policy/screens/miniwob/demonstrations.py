"""What the scripts do on pages, as rows to learn from (`magma_policy.screens.rows`).

Pictures carry the marks; the question is the agent's own and holds no element's text, unless that is asked for. A page
counts when its script has solved it; its pictures are then those of every step. What the page could have asked just as
well about its first picture is answered by the same script: looking costs a model more than being asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from magma_policy.marks.drawing import draw_box_marks
from magma_policy.screens.actions import ScreenAction, click_answer
from magma_policy.screens.agent import Form, question_words
from magma_policy.screens.candidates import boxes_of
from magma_policy.screens.miniwob.descriptions import descriptions
from magma_policy.screens.miniwob.experts import EXPERTS
from magma_policy.screens.miniwob.observation import PageObservation
from magma_policy.screens.miniwob.other_instructions import other_instructions
from magma_policy.screens.miniwob.task import MiniWobTask
from magma_policy.screens.rows import Mark


@dataclass(frozen=True)
class Step:
    """One step of a script: the picture with marks, uint8 (H, W, 3) rgb, and pairs of what is asked and what is
    answered, the page's own first; what stands at each mark."""

    image: NDArray[np.uint8]
    asked: tuple[tuple[str, str], ...]
    marks: tuple[Mark, ...]


class Demonstrator:
    """Plays the script of one page; a context manager that holds its browser.

    Args:
        name: of the page, one of `EXPERTS`.
        others: further questions at most about an episode's first picture.
        form: in which it is asked.

    Raises:
        CommandError: no pages, or no browser.
    """

    def __init__(self, name: str, others: int = 0, form: Form = Form.CLICK) -> None:
        self._script = EXPERTS[name]
        self._name, self._others, self._form = name, others, form
        self._task = MiniWobTask(name, settle_ms=0.0, reload=False)

    def __enter__(self) -> Demonstrator:
        return self

    def __exit__(self, *_: object) -> None:
        self._task.close()

    def play(self, split: str, layout: int) -> list[Step] | None:
        """Every step of one episode; None when the script does not solve it."""
        rng = np.random.default_rng([zlib.crc32(f"{split} {self._name}".encode()), layout])
        steps = list(self._steps(self._task.reset(split, layout), rng))
        return steps if self._solved else None

    def _steps(self, page: PageObservation, rng: np.random.Generator) -> Iterator[Step]:
        self._solved = False
        further = other_instructions(self._name, page, rng, self._others)
        while not page.ended and page.step < self._task.spec.max_steps:
            action = self._script(page)
            if action is None or page.image is None:
                return
            asked = [_asked(self._form, page, action)]
            for instruction in further:
                other = replace(page, instruction=instruction)
                found = self._script(other)
                asked += [] if found is None else [_asked(self._form, other, found)]
            further = []
            taken = Step(draw_box_marks(page.image, boxes_of(page.candidates)), tuple(asked), _marks(page))
            page = self._task.step(action)
            # What moved meanwhile was not clicked, and is looked at again.
            if not page.refusal:
                yield taken
        self._solved = page.success


def _asked(form: Form, page: PageObservation, action: ScreenAction) -> tuple[str, str]:
    """Question and answer of a click on a page with a picture."""
    if action.mark is None or page.image is None:
        raise ValueError("a script of a page clicks on marks of its picture")
    x, y = page.candidates[action.mark].centre
    height, width = page.image.shape[:2]
    words = question_words(form, page.instruction, (), page.candidates)
    return words, click_answer(action.mark, x / width, y / height)


def _marks(page: PageObservation) -> tuple[Mark, ...]:
    """Of a page with a picture; a middle outside it is moved to its edge."""
    if page.image is None:
        raise ValueError("marks stand on a picture")
    height, width = page.image.shape[:2]
    middles = [candidate.centre for candidate in page.candidates]
    return tuple(
        Mark(number, min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0), words)
        for number, ((x, y), words) in enumerate(zip(middles, descriptions(page), strict=True))
    )
