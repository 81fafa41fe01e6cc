"""When actions take effect, on a virtual clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_sim.evaluation.clock import RealTimeSchedule

PERIOD = 200_000


def executed(latency_us: int, steps: int, horizon: int = 1) -> list[str]:
    """What each step executes: frame and place in the chunk, or "-"."""
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD)
    result = []
    for step in range(steps):
        if schedule.question(step) is not None:
            schedule.answer(step, latency_us, [f"{step}.{place}" for place in range(horizon)])
        due = schedule.due(step)
        result.append("-" if due is None else due[0])
        assert due is None or due[0].startswith(f"{due[1]}.")
    return result


def test_without_latency_it_is_lockstep() -> None:
    assert executed(0, 4) == ["0.0", "1.0", "2.0", "3.0"]


@pytest.mark.parametrize("latency_us", [1, 50_000, 199_999, 200_000])
def test_up_to_one_period_delays_by_one_step_and_answers_every_frame(latency_us: int) -> None:
    assert executed(latency_us, 5) == ["-", "0.0", "1.0", "2.0", "3.0"]


def test_a_policy_slower_than_the_world_skips_frames_and_the_arm_holds_between() -> None:
    # 400 ms: busy over two frames; looks at frames 0, 2, 4.
    assert executed(400_000, 7) == ["-", "-", "0.0", "-", "2.0", "-", "4.0"]


def test_it_begins_on_the_newest_frame_in_the_middle_of_a_period() -> None:
    # 250 ms: asked at 0, 250 (frame 1), 500 (frame 2), 750 (frame 3), 1000 (frame 5; 4 was never looked at).
    assert executed(250_000, 8) == ["-", "-", "0.0", "1.0", "2.0", "3.0", "-", "5.0"]


def test_a_chunk_bridges_the_wait_until_a_newer_one_replaces_it() -> None:
    assert executed(400_000, 7, horizon=2) == ["-", "-", "0.0", "0.1", "2.0", "2.1", "4.0"]
    assert executed(400_000, 7, horizon=4) == ["-", "-", "0.0", "0.1", "2.0", "2.1", "4.0"]


def test_a_late_answer_of_nothing_stops_the_old_chunk() -> None:
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD)
    schedule.answer(0, 0, ["a", "b", "c"])
    assert schedule.due(0) == ("a", 0)
    schedule.answer(1, 0, [])
    assert schedule.due(1) is None


def test_misuse_is_refused() -> None:
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD)
    with pytest.raises(ValueError, match="negative"):
        schedule.answer(0, -1, ["a"])
    schedule.answer(0, 900_000, ["a"])
    with pytest.raises(ValueError, match="no question is open"):
        schedule.answer(1, 0, ["b"])
    with pytest.raises(ValueError, match="period"):
        RealTimeSchedule(0)


@given(st.lists(st.integers(0, 3 * PERIOD), min_size=1, max_size=40))
def test_frames_never_go_back_and_nothing_comes_before_it_can(latencies: list[int]) -> None:
    schedule: RealTimeSchedule[tuple[int, int]] = RealTimeSchedule(PERIOD)
    newest = -1
    free = 0
    for step, latency_us in enumerate(latencies):
        looks = schedule.looks_at(step)
        begin = schedule.question(step)
        assert looks == (begin is not None)
        if begin is not None:
            assert begin >= step * PERIOD and begin >= free
            free = begin + latency_us
            schedule.answer(step, latency_us, [(step, free)])
        due = schedule.due(step)
        if due is not None:
            (frame, arrival), of = due
            assert frame == of > newest or frame == of == newest
            assert arrival <= step * PERIOD
            newest = frame
