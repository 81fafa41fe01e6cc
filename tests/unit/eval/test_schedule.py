"""When actions take effect, on a virtual clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magma_eval.rollout.schedule import Due, RealTimeSchedule

PERIOD = 200_000


def executed(latency_us: int, steps: int, horizon: int = 1, *, within_steps: bool = False) -> list[str]:
    """What each step executes: frame and place in the chunk, and ms after its beginning; or "-"."""
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD, within_steps=within_steps)
    result = []
    for step in range(steps):
        if schedule.question(step) is not None:
            schedule.answer(step, latency_us, [f"{step}.{place}" for place in range(horizon)])
        due = schedule.due(step)
        if due is None:
            result.append("-")
            continue
        assert due.action.startswith(f"{due.frame}.") and 0 <= due.late_us < PERIOD
        result.append(due.action + (f"+{due.late_us // 1000}" if due.late_us else ""))
    return result


def test_without_latency_it_is_lockstep() -> None:
    assert executed(0, 4) == ["0.0", "1.0", "2.0", "3.0"]


@pytest.mark.parametrize("latency_us", [1, 50_000, 199_999, 200_000])
def test_up_to_one_period_delays_by_one_step_and_answers_every_frame(latency_us: int) -> None:
    assert executed(latency_us, 5) == ["-", "0.0", "1.0", "2.0", "3.0"]


@pytest.mark.parametrize("horizon", [1, 3])
def test_within_steps_an_answer_takes_effect_when_it_arrives(horizon: int) -> None:
    def at(latency_us: int, steps: int) -> list[str]:
        return executed(latency_us, steps, horizon, within_steps=True)

    assert at(0, 3) == ["0.0", "1.0", "2.0"]
    assert at(50_000, 3) == ["0.0+50", "1.0+50", "2.0+50"]
    assert at(200_000, 3) == ["-", "0.0", "1.0"]
    if horizon == 1:
        assert at(250_000, 7) == ["-", "0.0+50", "1.0+100", "2.0+150", "-", "3.0", "5.0+50"]
        assert at(500_000, 7) == ["-", "-", "0.0+100", "-", "-", "2.0", "-"]
    else:
        assert at(500_000, 7) == ["-", "-", "0.0+100", "0.1+100", "0.2+100", "2.0", "2.1"]


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
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD, within_steps=False)
    schedule.answer(0, 0, ["a", "b", "c"])
    assert schedule.due(0) == Due("a", 0, 0)
    schedule.answer(1, 0, [])
    assert schedule.due(1) is None


def test_misuse_is_refused() -> None:
    schedule: RealTimeSchedule[str] = RealTimeSchedule(PERIOD, within_steps=False)
    with pytest.raises(ValueError, match="negative"):
        schedule.answer(0, -1, ["a"])
    schedule.answer(0, 900_000, ["a"])
    with pytest.raises(ValueError, match="no question is open"):
        schedule.answer(1, 0, ["b"])
    with pytest.raises(ValueError, match="period"):
        RealTimeSchedule(0, within_steps=True)


@given(st.lists(st.integers(0, 3 * PERIOD), min_size=1, max_size=40), st.booleans())
def test_frames_never_go_back_and_nothing_comes_before_it_can(latencies: list[int], within_steps: bool) -> None:
    schedule: RealTimeSchedule[tuple[int, int]] = RealTimeSchedule(PERIOD, within_steps=within_steps)
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
            assert schedule.question(step) is None
        due = schedule.due(step)
        if due is not None:
            frame, arrival = due.action
            assert frame == due.frame > newest
            assert due.late_us == max(0, arrival - step * PERIOD) and (within_steps or due.late_us == 0)
            newest = frame
