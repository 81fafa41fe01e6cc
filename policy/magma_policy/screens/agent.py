"""An agent's way through a task on a screen, one view and one answer at a time. No model, no browser, no clock.

    view -> `ask` -> Question -> the model's answer -> `decide` -> Act | AskAgain | Stop -> done by the caller -> `done`

An answer is carried out or refused whole. After a refusal the model is asked once more; a second one ends the task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from magma_policy.errors import InstructionError, ScreenError
from magma_policy.marks.drawing import draw_box_marks
from magma_policy.marks.set_of_mark import ui_question
from magma_policy.screens import prompts
from magma_policy.screens.actions import ScreenAction, click_action, phone_action, web_action
from magma_policy.screens.candidates import Candidate, Tile, boxes_of, tiles

MOST_SAME = 3
"""The same action on the same thing so often is a circle."""
MOST_UNCHANGED = 2
"""Steps after which nothing on the screen has changed."""


class Form(Enum):
    """In which of the published formats the model is asked."""

    WEB = "web"
    PHONE = "phone"
    CLICK = "click"
    """one click, without what was done before: the question of Magma's own agent for user interfaces"""
    CLICK_TEXT = "click_text"
    """the same, and role and text of every mark as the page has them behind it: no form of Magma's"""


@dataclass(frozen=True)
class View:
    """What is on the screen: a screenshot, uint8 (H, W, 3) rgb, its candidates in pixels of it, and the address."""

    image: NDArray[np.uint8]
    candidates: Sequence[Candidate]
    address: str = ""

    @property
    def digest(self) -> str:
        """Equal for views that look the same at the same address."""
        return hashlib.sha256(self.address.encode() + self.image.tobytes()).hexdigest()


@dataclass(frozen=True)
class Question:
    """What the model is asked: a picture with marks, uint8 (h, w, 3) rgb, and words. Mark k is `candidates[k]`."""

    image: NDArray[np.uint8]
    words: str
    candidates: tuple[Candidate, ...]
    corner: tuple[float, float] = (0.0, 0.0)
    """(x, y) of the picture's upper left corner in the view"""


@dataclass(frozen=True)
class Act:
    """Carry this out, on this candidate where the action names one, at `point` (x, y) pixels of the view."""

    action: ScreenAction
    candidate: Candidate | None
    point: tuple[float, float] | None


@dataclass(frozen=True)
class AskAgain:
    """The answer was refused, for this reason; look again and ask."""

    reason: str


@dataclass(frozen=True)
class Stop:
    """The task is over: `complete` as the model says, else given up for this reason."""

    complete: bool
    reason: str


_READERS = {Form.WEB: web_action, Form.PHONE: phone_action, Form.CLICK: click_action, Form.CLICK_TEXT: click_action}


def question_words(form: Form, task: str, history: Sequence[str], candidates: Sequence[Candidate]) -> str:
    """What a model is asked about the next step. Of the candidates, the form that tells their text alone tells it."""
    if form is Form.CLICK:
        return ui_question(task)
    if form is Form.CLICK_TEXT:
        return f"{ui_question(task)}\n{prompts.marks_told(candidates)}"
    return (prompts.web_question if form is Form.WEB else prompts.phone_question)(task, history)


class ScreenAgent:
    """One task.

    Args:
        task: what is to be done, in words.
        form: the format of questions and answers.
        most_steps: actions at most.

    Raises:
        InstructionError: an empty or far too long task.
    """

    def __init__(self, task: str, form: Form = Form.WEB, most_steps: int = 30) -> None:
        self._task = " ".join(task.split())
        if not self._task:
            raise InstructionError('the task is empty: say what is to be done, such as "open the settings"')
        if len(self._task) > prompts.MOST_WORDS:
            raise InstructionError(f"the task has {len(self._task)} characters, at most {prompts.MOST_WORDS} are asked")
        if most_steps < 1:
            raise ValueError(f"a task takes at least 1 step, got {most_steps}")
        self._form, self._most_steps = form, most_steps
        self._history: list[str] = []
        self._taken: list[tuple[ScreenAction, str]] = []
        self._refused = ""
        self._before = ""
        self._unchanged = 0
        self._parts: list[Tile] = []
        self._part = 0
        self._question: Question | None = None

    @property
    def history(self) -> tuple[str, ...]:
        """The steps taken, as the model is told of them."""
        return tuple(self._history)

    def ask(self, view: View) -> Question | Stop:
        """What the model is asked about a view, or why it is not asked any more."""
        if len(self._history) >= self._most_steps:
            return Stop(False, f"{self._most_steps} steps were taken")
        digest = view.digest
        if digest != self._before:
            self._unchanged, self._part = 0, 0
        elif not self._refused and self._history:
            self._unchanged += 1
            if self._unchanged >= MOST_UNCHANGED:
                return Stop(False, f"nothing on the screen has changed for {self._unchanged} steps")
        self._before = digest
        height, width = view.image.shape[:2]
        self._parts = tiles(view.candidates, width, height) or [Tile((0.0, 0.0, float(width), float(height)), ())]
        part = self._parts[min(self._part, len(self._parts) - 1)]
        self._question = self._asked(view.image, part)
        return self._question

    def decide(self, answer: str) -> Act | AskAgain | Stop:
        """What follows from the model's answer to the last question.

        Raises:
            RuntimeError: nothing was asked.
        """
        question = self._question
        if question is None:
            raise RuntimeError("decide was called before ask")
        try:
            action = _READERS[self._form](answer, len(question.candidates))
        except ScreenError as error:
            return self.refuse(str(error))
        if action.ends:
            return Stop(action.text == "COMPLETE", f"the model says {action.text}")
        candidate = question.candidates[action.mark] if action.mark is not None else None
        if action.text and candidate is not None and candidate.options and action.text not in candidate.options:
            return self.refuse(f"{action.text!r} is none of the options {', '.join(candidate.options[:10])}")
        if self._taken[-MOST_SAME + 1 :].count((action, _of(candidate))) == MOST_SAME - 1:
            return Stop(False, f"the same action {MOST_SAME} times: {prompts.web_history(action, candidate)}")
        return Act(action, candidate, self._place(action, candidate, question))

    def refuse(self, reason: str) -> AskAgain | Stop:
        """An answer is not carried out; the caller says so too when a person or a changed screen forbids it."""
        if self._refused:
            return Stop(False, f"refused twice: {self._refused}; then: {reason}")
        self._refused = reason
        # Of a view in parts, the next part may hold what was not found.
        self._part += 1 if self._part + 1 < len(self._parts) else 0
        return AskAgain(reason)

    def done(self, act: Act) -> None:
        """The action was carried out."""
        self._refused = ""
        self._taken.append((act.action, _of(act.candidate)))
        phone = self._form is Form.PHONE
        self._history.append(
            prompts.phone_history(act.action) if phone else prompts.web_history(act.action, act.candidate)
        )

    def _asked(self, image: NDArray[np.uint8], part: Tile) -> Question:
        x1, y1, x2, y2 = (round(value) for value in part.box)
        shown = np.ascontiguousarray(image[y1:y2, x1:x2])
        marked = draw_box_marks(shown, boxes_of(part.candidates) - (x1, y1, x1, y1))
        words = question_words(self._form, self._task, self._history, part.candidates)
        return Question(marked, words, part.candidates, (float(x1), float(y1)))

    def _place(
        self, action: ScreenAction, candidate: Candidate | None, question: Question
    ) -> tuple[float, float] | None:
        if candidate is not None:
            return candidate.centre
        if action.point is None:
            return None
        height, width = question.image.shape[:2]
        return question.corner[0] + action.point[0] * width, question.corner[1] + action.point[1] * height


def _of(candidate: Candidate | None) -> str:
    return "" if candidate is None else f"{candidate.key} {candidate.name} {candidate.box if not candidate.key else ''}"
