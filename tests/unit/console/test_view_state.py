"""What the pages show: phase, reason, who has the arm, ages, counts, events, traces."""

from __future__ import annotations

import json
import math

import numpy as np

from magma_console.robot.view_state import AUTONOMOUS, ESTOP, HOLD, TELEOP, Controller, ViewState

NAN = math.nan
UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def report(phase=HOLD, reason="waiting", counts=None, **ages):
    return Controller(
        phase, reason, "go", {"frame": NAN, "chunk": NAN, "teleop": NAN, "state": NAN, **ages}, 3, 2, 1, 0, counts or {}
    )


def test_a_controller_that_is_not_heard_is_said_to_be_so():
    state = ViewState()
    assert state.snapshot(0.0, 2.0)["phase"] == "NO CONTROLLER"
    state.controller(report(AUTONOMOUS), 1.0)
    assert state.snapshot(2.9, 2.0)["phase"] == "AUTONOMOUS"
    silent = state.snapshot(4.0, 2.0)
    assert silent["phase"] == "NO CONTROLLER" and "silent for 3 s" in silent["reason"] and silent["ages"] == []


def test_ages_come_with_their_limits_and_what_is_unknown_is_none():
    state = ViewState()
    state.limits({"watchdog_s": 0.5, "state_timeout_s": 1.0, "other": 9.0})
    state.controller(report(chunk=120.04), 0.0)
    told = state.snapshot(0.0, 2.0)
    assert told["ages"][1] == {"name": "chunk", "ms": 120.0, "limit_ms": 500.0}
    assert told["ages"][0] == {"name": "frame", "ms": None, "limit_ms": None}
    json.dumps(told, allow_nan=False)


def test_who_has_the_arm_is_who_is_followed():
    state = ViewState()
    state.device("console1", True, 0.0)
    assert state.holder(0.0) == "", "somebody who asks has nothing yet"
    state.controller(report(TELEOP), 0.0)
    assert state.holder(0.0) == "console1"
    state.device("keyboard", True, 0.1)
    assert state.holder(0.1) == "", "two ask, and nobody is known to be followed"
    state.commanded([0.0] * 7, "keyboard", 0.2)
    assert state.holder(0.2) == "keyboard"
    state.controller(report(HOLD), 0.3)
    assert state.holder(0.3) == ""
    assert (
        state.lives("keyboard", 0.5, 1.0) and not state.lives("keyboard", 2.0, 1.0) and not state.lives("x", 0.0, 1.0)
    )


def test_changes_are_events_and_what_only_counts_up_is_none():
    state = ViewState()
    state.controller(report(HOLD, "silent for 0.5 s"), 0.0)
    state.controller(report(HOLD, "silent for 0.6 s"), 0.1)
    state.controller(report(ESTOP, "pressed", {"clipped: speed": 2}), 0.2)
    state.controller(report(ESTOP, "pressed", {"clipped: speed": 3, "stale": 1}), 0.3)
    number, events = state.events_after(0, 1.0)
    assert [(kind, text) for _, kind, text in events] == [
        ("phase", "HOLD: silent for 0.5 s"),
        ("alarm", "ESTOP: pressed"),
        ("clip", "clipped: speed (2 times)"),
        ("clip", "clipped: speed"),
        ("refusal", "stale"),
    ]
    assert state.events_after(number, 1.0)[1] == [] and events[0][0] == 1.0


def test_what_was_counted_before_the_console_came_is_no_event():
    state = ViewState()
    state.controller(report(counts={"stale": 500}), 0.0)
    assert [kind for _, kind, _ in state.events_after(0, 0.0)[1]] == ["phase"]


def test_traces_hold_what_was_asked_commanded_and_executed():
    state = ViewState()
    state.pose(np.array([0.5, 0.0, 0.3]), UPRIGHT, 1.0, 0.0)
    state.asked([0.02, 0, 0, 0, 0, 0, 1.0], 0.0)
    state.commanded([0.01, 0, 0, 0, 0, 0, 1.0], "policy", 0.0)
    state.pose(np.array([0.509, 0.0, 0.3]), UPRIGHT, 1.0, 0.2)
    state.commanded([0.01, 0, 0, 0, 0, 0, 1.0], "policy", 0.2)
    number, points = state.points_after(0, 0.2)
    executed = [values for _, name, values in points if name == "executed"]
    assert [name for _, name, _ in points] == ["asked", "commanded", "commanded", "executed"]
    np.testing.assert_allclose(executed[0], [0.009, 0, 0, 0, 0, 0, 1.0], atol=1e-9)
    assert state.points_after(number, 0.2)[1] == [] and state.points_after(0, 100.0)[1] == []


def test_what_is_not_finite_is_not_drawn():
    state = ViewState()
    state.asked([NAN] * 7, 0.0)
    assert state.points_after(0, 0.0)[1] == []


def test_memory_stays_bounded():
    state = ViewState()
    for number in range(5000):
        state.asked([0.0] * 7, number * 1e-3)
        state.device(f"device {number}", True, number * 1e-3)
        state.event(number * 1e-3, "note", "x" * 1000)
    assert len(state._points) <= 1800 and len(state._devices) <= 65 and len(state._events) <= 60
    assert all(len(text) <= 500 for _, _, text in state.events_after(0, 5.0)[1])
