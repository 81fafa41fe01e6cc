"""What becomes of chunks whose answers come late."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from magma_contracts.action_stream import ActionStream, CommandLog
from magma_contracts.actions import ActionChunk
from magma_contracts.chunk_schedule import REPLACE, OverlapRule
from magma_contracts.geometry.motions import missing, then, total
from magma_contracts.geometry.rotations import multiply, quaternion_from_axis_angle

PERIOD_S = 0.2
BLEND = OverlapRule()
motions = arrays.arrays(np.float64, 6, elements=st.floats(-0.5, 0.5))
steps = arrays.arrays(np.float64, (4, 7), elements=st.floats(-0.2, 0.2))


def ns(seconds: float) -> int:
    return round((100.0 + seconds) * 1e9)


def chunk(captured_s: float, *deltas: object) -> ActionChunk:
    return ActionChunk(np.array(deltas, dtype=float).reshape(-1, 7), ns(captured_s), PERIOD_S, "test", "", 0)


def x(metres: float, gripper: float = 1.0) -> tuple[float, ...]:
    return (metres, 0.0, 0.0, 0.0, 0.0, 0.0, gripper)


def take(stream: ActionStream, captured_s: float, now_s: float, *deltas: object, keep: bool = True) -> np.ndarray:
    """A chunk is accepted and its first step executed, both now; what the arm is told."""
    stream.accept(chunk(captured_s, *deltas), now_s, BLEND, keep_references=keep)
    return go_on(stream, now_s)


def go_on(stream: ActionStream, now_s: float) -> np.ndarray:
    due = stream.due(now_s)
    assert due is not None
    stream.sent(due[0].delta, ns(now_s))
    return due[0].delta


def turned(quaternion: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    for delta in deltas:
        quaternion = multiply(quaternion_from_axis_angle(delta[3:6]), quaternion)
    return quaternion


@given(motions, motions)
def test_what_is_missing_leads_from_what_was_done_to_what_was_wanted(wanted: np.ndarray, done: np.ndarray) -> None:
    np.testing.assert_allclose(then(done, missing(wanted, done)), wanted, atol=1e-9)
    assert not missing(wanted, wanted)[:3].any()


@given(steps)
def test_the_target_ends_where_the_newest_frame_s_step_leads(deltas: np.ndarray) -> None:
    """Target at capture + delta, whatever was commanded between; rotations do not commute, so their order counts."""
    stream, start = ActionStream(), np.array([0.1, -0.2, 0.3, 0.9])
    start /= np.linalg.norm(start)
    sent = [take(stream, 0.0, 0.4, deltas[0]), take(stream, 0.2, 0.6, deltas[1]), take(stream, 0.4, 0.8, deltas[2])]
    # Of the frame at 0.4 the first command was not seen yet, nor was the second.
    np.testing.assert_allclose(np.sum(sent, axis=0)[:3], deltas[2][:3], atol=1e-12)
    reached, wanted = turned(start, np.array(sent)), turned(start, deltas[2:3])
    assert abs(float(reached @ wanted)) == pytest.approx(1.0, abs=1e-9)
    assert sent[2][6] == deltas[2][6]


@given(steps)
def test_what_comes_in_time_is_executed_as_it_is_to_the_bit(deltas: np.ndarray) -> None:
    kept, plain = ActionStream(), ActionStream()
    for index in range(4):
        now_s = 0.2 * index
        one = take(kept, now_s - 0.01, now_s, *deltas[index:])
        other = take(plain, now_s - 0.01, now_s, *deltas[index:], keep=False)
        assert one.tobytes() == other.tobytes()


def test_a_late_answer_brings_only_what_is_still_missing() -> None:
    stream = ActionStream()
    assert take(stream, 0.0, 0.2, x(0.03))[0] == 0.03
    assert take(stream, 0.2, 0.4, x(0.03))[0] == pytest.approx(0.0)
    assert take(stream, 0.4, 0.6, x(0.02))[0] == pytest.approx(0.02)
    plain = ActionStream()
    take(plain, 0.0, 0.2, x(0.03), keep=False)
    assert take(plain, 0.2, 0.4, x(0.03), keep=False)[0] == 0.03


def test_what_a_limit_cut_from_a_command_was_not_commanded() -> None:
    stream = ActionStream()
    stream.accept(chunk(0.0, x(0.05)), 0.2, BLEND, keep_references=True)
    assert stream.due(0.2) is not None
    stream.sent(np.array(x(0.02)), ns(0.2))
    assert take(stream, 0.1, 0.4, x(0.05))[0] == pytest.approx(0.03)


def test_a_chunk_that_begins_with_what_is_under_way_owes_nothing() -> None:
    stream = ActionStream()
    first = take(stream, 0.0, 0.2, x(0.01), x(0.02), x(0.03))
    second = go_on(stream, 0.4)
    # Its policy looked before both, and knew them.
    stream.accept(chunk(0.1, first, second, x(0.03), x(0.04)), 0.6, BLEND, keep_references=True)
    due = stream.due(0.6)
    assert due is not None and due[1] is None and due[0].index == 2
    assert due[0].delta[0] == pytest.approx(0.03)


def test_a_chunk_whose_first_steps_were_executed_otherwise_makes_up_for_it_once() -> None:
    stream = ActionStream()
    take(stream, 0.0, 0.2, x(0.01))
    # The newer plan had the arm go the other way meanwhile.
    stream.accept(chunk(0.1, x(-0.02), x(-0.02), x(-0.02)), 0.4, BLEND, keep_references=True)
    assert go_on(stream, 0.4)[0] == pytest.approx(-0.02 - 0.03)
    assert go_on(stream, 0.6)[0] == pytest.approx(-0.02)


def test_replacing_and_waiting_worlds_move_from_where_the_target_is() -> None:
    stream = ActionStream()
    take(stream, 0.0, 0.2, x(0.03))
    stream.accept(chunk(0.1, x(0.03)), 0.4, OverlapRule(REPLACE), keep_references=True)
    assert go_on(stream, 0.4)[0] == 0.03
    stream.replace(chunk(0.1, x(0.03)), 0.6)
    assert go_on(stream, 0.6)[0] == 0.03


def test_where_everything_is_slowed_down_a_step_counts_as_long_as_it_was() -> None:
    stream = ActionStream()
    for captured_s, now_s in ((0.0, 0.2), (0.2, 0.4)):
        stream.accept(chunk(captured_s, x(0.05)), now_s, BLEND, keep_references=True, scale=0.1)
        due = stream.due(now_s)
        assert due is not None
        asked = due[0].delta[0]
        stream.sent(np.array(x(0.1 * asked)), ns(now_s))
    assert asked == pytest.approx(0.0)


def test_nothing_of_a_former_stream_is_subtracted() -> None:
    stream = ActionStream()
    take(stream, 0.0, 0.2, x(0.03))
    stream.forget()
    assert not stream.pending
    assert take(stream, 0.1, 0.4, x(0.03))[0] == 0.03
    stream.accept(chunk(0.3, x(0.03)), 0.6, BLEND, keep_references=True)
    stream.clear()
    assert stream.due(0.6) is None and stream.next_step_s is None
    # What was to come is forgotten; what was sent has moved the arm all the same.
    assert take(stream, 0.35, 0.8, x(0.03))[0] == pytest.approx(0.0)


class TestLog:
    def test_a_clock_that_is_set_back_leaves_nothing_that_counts_for_ever(self) -> None:
        log = CommandLog()
        log.add(np.array(x(0.03)), ns(50.0))
        log.add(np.array(x(0.01)), ns(1.0))
        assert log.motion_since(ns(0.5))[0] == 0.01
        assert len(log.steps_since(ns(0.5))) == 1

    def test_a_frame_of_the_same_moment_does_not_show_the_command(self) -> None:
        log = CommandLog()
        log.add(np.array(x(0.03)), ns(1.0))
        assert len(log.steps_since(ns(1.0))) == 1 and len(log.steps_since(ns(1.0) + 1)) == 0

    def test_an_arm_that_did_otherwise_counts_with_what_it_did(self) -> None:
        log, still = CommandLog(), np.array([0.0, 0.0, 0.0, 1.0])
        log.on_target(np.zeros(3), still, ns(0.0))
        log.add(np.array(x(0.03)), ns(0.1))
        log.on_target(np.array([0.03, 0.0, 0.0]), still, ns(0.11))
        assert log.motion_since(ns(0.0))[0] == 0.03
        log.add(np.array(x(0.03)), ns(0.2))
        # It met a limit of its own on the way, and has turned a little.
        log.on_target(np.array([0.04, 0.0, 0.0]), quaternion_from_axis_angle([0.0, 0.0, 0.1]), ns(0.21))
        np.testing.assert_allclose(log.motion_since(ns(0.0)), [0.04, 0, 0, 0, 0, 0.1], atol=1e-9)
        assert len(log.steps_since(ns(0.0))) == 2

    def test_several_commands_between_two_reports_were_told_one_after_the_other(self) -> None:
        log, turned = CommandLog(), [0.01, 0.0, 0.0, 0.0, 0.2, 0.0, 1.0]
        ways = [x(0.03), turned, x(-0.02), turned]
        log.add(np.array(x(0.5)), ns(0.0))  # before the first report: not what the arm is held to
        log.on_target(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), ns(0.05))
        for number, way in enumerate(ways):
            log.add(np.array(way), ns(0.1 + 0.1 * number))
        went = total(np.array(ways))
        log.on_target(went[:3], quaternion_from_axis_angle(went[3:6]), ns(0.6))
        np.testing.assert_array_equal(log.motion_since(ns(0.1)), went)
        log.on_target(went[:3], quaternion_from_axis_angle(went[3:6]), ns(0.7))
        np.testing.assert_array_equal(log.motion_since(ns(0.1)), went)

    def test_commands_of_any_number_compose(self) -> None:
        assert not total(np.zeros((0, 7))).any()
        assert not CommandLog().motion_since(0).any()
