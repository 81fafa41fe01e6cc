"""Which instruction is in force, in whatever order the requests arrive."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magma_bringup.instruction_arbiter import MAX_LENGTH, InstructionArbiter

S = 1_000_000_000
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TASK, OTHER = "put the carrot on the plate", "stack the blocks"


def asked(arbiter, text, asked_ns, now_ns, **rest):
    return arbiter.ask(text, "a test", asked_ns, now_ns, **rest)


@UNTIMED
@given(st.data())
def test_the_last_word_stands_however_the_requests_are_delayed(data):
    words = data.draw(st.lists(st.sampled_from([TASK, OTHER, "third"]), min_size=1, max_size=8))
    requests = [(text, (number + 1) * S) for number, text in enumerate(words)]
    arbiter = InstructionArbiter()
    for arrival, (text, asked_ns) in enumerate(data.draw(st.permutations(requests))):
        answer = asked(arbiter, text, asked_ns, (20 + arrival) * S)
        assert answer.accepted == (arbiter.in_force.text == text)
    assert arbiter.in_force.text == words[-1]


@UNTIMED
@given(st.data())
def test_what_was_stopped_is_never_taken_up_again_by_a_late_request(data):
    words = [*data.draw(st.lists(st.sampled_from([TASK, OTHER, ""]), max_size=6)), ""]
    requests = [(text, (number + 1) * S) for number, text in enumerate(words)]
    arbiter = InstructionArbiter()
    # Each may also be delivered twice.
    deliveries = data.draw(st.permutations(requests + data.draw(st.lists(st.sampled_from(requests), max_size=4))))
    for arrival, (text, asked_ns) in enumerate(deliveries):
        asked(arbiter, text, asked_ns, (20 + arrival) * S)
    assert arbiter.in_force.text == ""


def test_who_asked_and_when_is_known_and_the_same_words_change_nothing():
    arbiter = InstructionArbiter()
    assert arbiter.in_force is None
    assert arbiter.ask(f"  {TASK}\n", "keyboard", 5 * S, 6 * S).changed
    state = arbiter.in_force
    assert (state.number, state.text, state.asked_by, state.asked_ns, state.since_ns) == (
        1,
        TASK,
        "keyboard",
        5 * S,
        6 * S,
    )
    again = arbiter.ask(TASK, "somebody else", 8 * S, 9 * S)
    assert again.accepted and not again.changed and arbiter.in_force == state
    # Yet it was said again: what was asked for in between comes too late.
    late = asked(arbiter, OTHER, 7 * S, 10 * S)
    assert not late.accepted and "1.000 s before" in late.message and "keyboard" in late.message
    assert asked(arbiter, " ", 0, 11 * S).changed and arbiter.in_force.number == 2


def test_a_stop_is_taken_from_a_clock_that_is_slow():
    arbiter = InstructionArbiter()
    asked(arbiter, TASK, 100 * S, 100 * S)
    assert asked(arbiter, "", 1 * S, 101 * S).accepted and arbiter.in_force.text == ""
    assert not asked(arbiter, OTHER, 99 * S, 102 * S).accepted


def test_a_clock_that_is_fast_or_was_set_back_locks_nobody_out():
    arbiter = InstructionArbiter()
    asked(arbiter, TASK, 5000 * S, 100 * S)
    assert arbiter.in_force.asked_ns == 100 * S
    assert asked(arbiter, OTHER, 101 * S, 101 * S).accepted
    assert asked(arbiter, TASK, 11 * S, 12 * S).accepted, "the clock was set back"
    assert not asked(arbiter, OTHER, 10 * S, 13 * S).accepted


def test_only_the_own_instruction_is_taken_away():
    arbiter = InstructionArbiter()
    assert "nothing is in force" in asked(arbiter, "", 0, S, replaces=1).message
    asked(arbiter, TASK, 0, S)
    asked(arbiter, OTHER, 0, 2 * S)
    refused = asked(arbiter, "", 0, 3 * S, replaces=1)
    assert not refused.accepted and refused.message == "number 2 is in force, not number 1"
    assert asked(arbiter, "", 0, 4 * S, replaces=2).changed


def test_a_book_is_no_instruction():
    arbiter = InstructionArbiter()
    assert asked(arbiter, "x" * MAX_LENGTH, 0, S).accepted
    assert "1001 characters" in asked(arbiter, "x" * (MAX_LENGTH + 1), 0, 2 * S).message
