"""What a policy knows of the time until its answer takes effect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magma_contracts.action_stream import ActionStream
from magma_contracts.actions import ActionChunk
from magma_contracts.chunk_schedule import OverlapRule
from magma_contracts.foresight import UNDER_WAY_MOST, Ahead, Foresight


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


PERIOD, TICK, TRANSPORT = 0.2, 0.01, 0.003
"""Seconds: between steps, between looks of the control loop, from one process to the other."""


@settings(max_examples=20)
@given(
    latency=st.floats(0.05, 0.75),
    seed=st.integers(0, 2**32 - 1),
    phase=st.floats(0.0, 0.19),
    begins=st.booleans(),
)
def test_what_is_foretold_is_what_the_controller_sends(latency: float, seed: int, phase: float, begins: bool) -> None:
    """Chunks of chance overlap and are blended in the controller; the policy knows of them what it sent and heard.
    `begins`: whether answers begin with what is under way, or contradict it throughout."""
    chance = np.random.default_rng(seed)
    controller, foresight = ActionStream(), Foresight(PERIOD)
    sent: list[tuple[float, np.ndarray]] = []
    foretold: list[tuple[float, float, Ahead]] = []
    heard: list[tuple[float, np.ndarray]] = []
    thinking: tuple[float, float, float, np.ndarray] | None = None
    frame_s, free_s = -1.0, 0.0
    for now_s in np.arange(0.0, 6.0, TICK):
        while heard and heard[0][0] <= now_s:
            at_s, delta = heard.pop(0)
            foresight.commanded(delta, ns(at_s))
        if int((now_s - phase) / PERIOD) > int((now_s - TICK - phase) / PERIOD):
            frame_s = now_s
        if thinking is not None and now_s >= thinking[0]:
            _, asked_s, captured_s, deltas = thinking
            answer = ActionChunk(deltas, ns(captured_s), PERIOD, "test", "", 0)
            foresight.answered(answer, ns(asked_s), ns(now_s))
            controller.accept(answer, 100.0 + max(now_s, free_s), OverlapRule(), keep_references=True)
            thinking = None
        if thinking is None and frame_s >= 0.0:
            ahead = foresight.ahead(ns(frame_s), ns(now_s))
            foretold.append((frame_s, now_s + latency, ahead))
            begin = ahead.commands if begins and len(ahead.commands) <= UNDER_WAY_MOST else np.zeros((0, 7))
            rest = chance.uniform(-0.02, 0.02, (8, 7))
            thinking, frame_s = (now_s + latency, now_s, frame_s, np.concatenate([begin, rest])), -1.0
        due = controller.due(100.0 + now_s)
        if due is not None:
            controller.sent(due[0].delta, ns(now_s))
            sent.append((now_s, due[0].delta))
            heard.append((now_s + TRANSPORT, due[0].delta))
            free_s = now_s + 0.9 * PERIOD
    seen = 0
    for captured_s, effect_s, ahead in foretold[2:]:
        # A loop that looks every 10 ms may send the step at an end of the interval on either side of it.
        sure = [delta for at_s, delta in sent if captured_s + 2 * TICK < at_s < effect_s - 3 * TICK]
        rows = [tuple(np.round(row, 6)) for row in ahead.commands]
        if effect_s < 5.5:
            assert len(sure) <= len(rows) <= len(sure) + 2
            assert all(tuple(np.round(delta, 6)) in rows for delta in sure)
            seen += len(sure)
    assert seen > 5 or latency < 0.3
