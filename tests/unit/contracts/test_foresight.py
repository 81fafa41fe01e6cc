"""What a policy knows of the time until its answer takes effect."""

from __future__ import annotations

import numpy as np
import pytest

from magma_contracts.actions import ActionChunk
from magma_contracts.foresight import Foresight


def step(number: int) -> np.ndarray:
    return np.array([0.01 * number, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def ns(seconds: float) -> int:
    return round((100.0 + seconds) * 1e9)


def chunk(captured_s: float, *numbers: int) -> ActionChunk:
    return ActionChunk(np.array([step(number) for number in numbers]), ns(captured_s), 0.2, "test", "", 0)


def numbers(ahead: object) -> list[int]:
    return [round(100 * row[0]) for row in ahead.commands]  # type: ignore[attr-defined]


def test_before_anything_was_measured_nothing_is_ahead() -> None:
    ahead = Foresight(0.2).ahead(ns(0.0), ns(0.05))
    assert ahead.effect_s == 0.0 and len(ahead.commands) == 0


def test_sent_commands_and_the_rest_of_the_last_answer_come_first() -> None:
    foresight = Foresight(0.2)
    foresight.answered(chunk(0.0, 1, 2, 3, 4, 5), ns(0.0), ns(0.5))
    foresight.commanded(step(1), ns(0.5))
    foresight.commanded(step(2), ns(0.7))
    # Asked at 0.75 about the frame of 0.6; the answer is expected at 1.25: at 0.9 and 1.1 two more steps go out.
    ahead = foresight.ahead(ns(0.6), ns(0.75))
    assert numbers(ahead) == [2, 3, 4]
    assert ahead.moments_s == pytest.approx([0.1, 0.3, 0.5])
    assert ahead.effect_s == pytest.approx(0.65)


def test_what_was_planned_for_something_else_is_not_ahead() -> None:
    foresight = Foresight(0.2)
    foresight.answered(chunk(0.0, 1, 2, 3), ns(0.0), ns(0.5))
    foresight.commanded(step(1), ns(0.5))
    foresight.forget()
    assert numbers(foresight.ahead(ns(0.4), ns(0.6))) == [1]
    assert numbers(foresight.ahead(ns(0.6), ns(0.6))) == []


def test_an_answer_that_nobody_carried_out_is_still_to_come_at_once() -> None:
    foresight = Foresight(0.2)
    foresight.answered(chunk(0.0, 1, 2), ns(0.0), ns(0.3))
    ahead = foresight.ahead(ns(0.2), ns(0.3))
    assert numbers(ahead) == [1, 2] and ahead.moments_s == pytest.approx([0.1, 0.3])
