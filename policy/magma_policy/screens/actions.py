"""What can be done on a screen, and which answers of a model say it: enumerated, refused whole when malformed.

As for an arm, nothing is made to fit: a mark that is not on the picture, a missing text, an unknown word are no action.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

from magma_contracts.text import printable
from magma_policy.errors import ScreenError, shown
from magma_policy.marks.set_of_mark import Gesture, parse_gestures, parse_ui_answer

MOST_TYPED = 1000
"""Characters of one text that a model may type."""


class Kind(Enum):
    """What is done; the values are the words of the published formats."""

    CLICK = "CLICK"
    TYPE = "TYPE"
    SELECT = "SELECT"
    TAP = "TAP"
    SWIPE = "SWIPE"
    NAVIGATE = "NAVIGATE"
    STATUS = "SET_TASK_STATUS"


DIRECTIONS = ("UP", "DOWN", "LEFT", "RIGHT")
PLACES = ("BACK", "HOME", "ENTER")
ENDS = ("COMPLETE", "IMPOSSIBLE")


@dataclass(frozen=True)
class ScreenAction:
    """One step. Raises ScreenError for parts that do not belong together.

    Attributes:
        kind: what is done.
        mark: number of the candidate it is done to, from 0.
        point: (x, y) as fractions of the picture, for a tap that names no mark.
        text: what is typed or chosen; a direction, a place or an end for the kinds that take one.
    """

    kind: Kind
    mark: int | None = None
    point: tuple[float, float] | None = None
    text: str = ""

    def __post_init__(self) -> None:
        kind = self.kind
        if kind in (Kind.CLICK, Kind.SELECT) and self.mark is None:
            raise ScreenError(f"{kind.value} names no mark")
        if kind is Kind.TAP and (self.mark is None) == (self.point is None):
            raise ScreenError("TAP names a mark or a place, one of them")
        if kind in (Kind.TYPE, Kind.SELECT):
            _check_text(kind, self.text)
        for other, words in ((Kind.SWIPE, DIRECTIONS), (Kind.NAVIGATE, PLACES), (Kind.STATUS, ENDS)):
            if kind is other and self.text not in words:
                raise ScreenError(f"{kind.value} is one of {', '.join(words)}, not {shown(self.text)}")

    @property
    def ends(self) -> bool:
        """Whether the model says that there is no more to do."""
        return self.kind is Kind.STATUS

    def as_answer(self) -> str:
        """The answer that says it, in the phone's format (web: in the format of Mind2Web), as training data has it."""
        if self.kind in (Kind.CLICK, Kind.SELECT) or (self.kind is Kind.TYPE and self.mark is not None):
            value = self.text if self.kind is not Kind.CLICK else "None"
            return json.dumps({"ACTION": self.kind.value, "MARK": self.mark, "VALUE": value}, ensure_ascii=False)
        if self.kind is Kind.TAP:
            place = ("MARK", self.mark) if self.point is None else ("NORMALIZED_COORDINATE", self.point[::-1])
            return json.dumps({"TAP": dict([place])})
        return json.dumps({self.kind.value: self.text}, ensure_ascii=False)


def web_action(answer: str, marks: int) -> ScreenAction:
    """The action in an answer to `prompts.web_question`.

    Args:
        answer: what the model said.
        marks: candidates on the picture; they carry the numbers 0 … marks - 1.

    Raises:
        ScreenError: it says none, several different ones, or one that cannot be carried out.
    """
    return _action(answer, marks, (Kind.CLICK, Kind.TYPE, Kind.SELECT, Kind.STATUS), typed_into_mark=True)


def phone_action(answer: str, marks: int) -> ScreenAction:
    """The action in an answer to `prompts.phone_question`; arguments and errors as for `web_action`."""
    kinds = (Kind.TAP, Kind.SWIPE, Kind.NAVIGATE, Kind.TYPE, Kind.STATUS)
    return _action(answer, marks, kinds, typed_into_mark=False)


def click_action(answer: str, marks: int) -> ScreenAction:
    """The click in an answer to `magma_policy.marks.set_of_mark.ui_question`, `Coordinate: (0.52, 0.31). Mark: 7`;
    arguments and errors as for `web_action`. What names no mark is refused: only what was marked may be clicked."""
    mark = parse_ui_answer(answer).mark
    if mark is None:
        raise ScreenError(f"the answer names no mark: {shown(printable(answer))}")
    if mark >= marks:
        raise ScreenError(f"mark {mark} is not on the picture, which has {marks} marks, numbered from 0")
    return ScreenAction(Kind.CLICK, mark)


def click_answer(mark: int, x: float, y: float) -> str:
    """The answer that `click_action` reads, as training data has it; x and y are fractions of the picture."""
    return f"Coordinate: ({x:.2f}, {y:.2f}). Mark: {mark}"


def _action(answer: str, marks: int, kinds: tuple[Kind, ...], *, typed_into_mark: bool) -> ScreenAction:
    gestures = list(dict.fromkeys(parse_gestures(answer)))
    if not gestures:
        raise ScreenError(f"the answer holds no action: {shown(printable(answer))}")
    if len(gestures) > 1:
        raise ScreenError(f"the answer holds {len(gestures)} different actions: {shown(printable(answer))}")
    gesture = gestures[0]
    if gesture.kind not in [kind.value for kind in kinds]:
        raise ScreenError(f"{gesture.kind} is no action here; there are {', '.join(kind.value for kind in kinds)}")
    kind = Kind(gesture.kind)
    if gesture.mark is not None and gesture.mark >= marks:
        raise ScreenError(f"mark {gesture.mark} is not on the picture, which has {marks} marks, numbered from 0")
    if kind is Kind.TYPE and typed_into_mark and gesture.mark is None:
        raise ScreenError("TYPE names no mark to type into")
    return ScreenAction(kind, _mark(kind, gesture, typed_into_mark), _point(kind, gesture), _text(kind, gesture))


def _mark(kind: Kind, gesture: Gesture, typed_into_mark: bool) -> int | None:
    takes = kind in (Kind.CLICK, Kind.SELECT, Kind.TAP) or (kind is Kind.TYPE and typed_into_mark)
    return gesture.mark if takes else None


def _point(kind: Kind, gesture: Gesture) -> tuple[float, float] | None:
    return gesture.point if kind is Kind.TAP and gesture.mark is None else None


def _text(kind: Kind, gesture: Gesture) -> str:
    if kind in (Kind.CLICK, Kind.TAP):
        return ""
    if gesture.value is None:
        raise ScreenError(f"{kind.value} says no value")
    return gesture.value.strip().upper() if kind in (Kind.SWIPE, Kind.NAVIGATE, Kind.STATUS) else gesture.value


def _check_text(kind: Kind, text: str) -> None:
    if not text.strip():
        raise ScreenError(f"{kind.value} has an empty value")
    if len(text) > MOST_TYPED:
        raise ScreenError(f"{kind.value} has a value of {len(text)} characters, at most {MOST_TYPED} are typed")
    # Keys that are no letters would press buttons or leave the field.
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ScreenError(f"{kind.value} has control characters in its value: {shown(text)}")
