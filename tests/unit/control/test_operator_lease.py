"""Who of several operators has the arm, and who must let go first."""

from __future__ import annotations

import numpy as np
import pytest
from control_builders import FORWARD, at, chunk, ready, spec, state

from magma_contracts.actions import EndEffectorDelta
from magma_control.channels.operator_lease import REMEMBERED, OperatorLease
from magma_control.commands import Source
from magma_control.config import ControllerConfig
from magma_control.inputs import InstructionHeard
from magma_control.phases import Phase
from magma_control.safety import Refusal

LEFT, RIGHT = "keyboard@lab:1-aa", "keyboard@lab:2-bb"


def asked(seconds, who):
    return EndEffectorDelta(np.array(FORWARD), at(seconds).ros_ns, "base", who)


def test_two_devices_of_one_kind_are_two_operators():
    controller = ready()
    assert controller.on_operator(asked(0.1, LEFT), at(0.1)) is None
    refusal = controller.on_operator(asked(0.2, RIGHT), at(0.2))
    assert refusal.code == "another operator has the arm" and LEFT in refusal.text and RIGHT in refusal.text
    # The holder has died: that is a loss, after which another operator may take over, but never the policy.
    controller.on_state(state(0.9), at(0.9))
    assert controller.on_chunk(chunk(0.89), at(0.9)).code == "operator in charge"
    assert controller.on_operator(asked(0.9, RIGHT), at(0.9)) is None
    assert controller.phase is Phase.TELEOP
    assert controller.report(at(0.9)).counts["operator changed"] == 1
    assert any(event.code == "operator changed" and RIGHT in event.text for event in controller.take_events())


@pytest.mark.parametrize("barred_by", ["estop", "fault", "inactive"])
def test_what_is_held_while_the_arm_is_barred_must_be_let_go_once(barred_by):
    controller = ready()
    if barred_by == "inactive":
        controller.deactivate("for a test")
    else:
        getattr(controller, barred_by)("for a test")
    for step in range(1, 5):
        assert controller.on_operator(asked(0.2 * step, LEFT), at(0.2 * step)) is not None
    if barred_by == "inactive":
        controller.activate(at(0.85))
    else:
        assert controller.rearm(at(0.85)).success
    for step in range(5, 12):
        now = at(0.2 * step)
        controller.on_state(state(0.2 * step), now)
        assert controller.on_operator(asked(0.2 * step, LEFT), now).code == "operator has not let go"
        assert controller.tick(now) is None and controller.phase is Phase.HOLD
    assert controller.report(at(2.2)).counts["operator has not let go"] == 7
    controller.on_state(state(2.8), at(2.8))
    assert controller.on_operator(asked(2.8, LEFT), at(2.8)) is None
    assert controller.tick(at(2.8)) is not None


def test_who_did_not_ask_while_it_was_barred_may_take_over_at_once():
    controller = ready()
    controller.estop("for a test")
    assert controller.rearm(at(0.5)).success
    controller.on_state(state(0.55), at(0.55))
    assert controller.on_operator(asked(0.6, RIGHT), at(0.6)) is None


def test_each_operator_has_a_heartbeat_of_its_own():
    controller = ready(ControllerConfig(require_teleop_heartbeat=True, state_timeout_s=60.0, heartbeat_timeout_s=1.0))
    for tenth in range(1, 31):
        controller.on_heartbeat(Source.OPERATOR, at(0.1 * tenth), LEFT)
    assert controller.on_operator(asked(3.0, RIGHT), at(3.0)) is None
    assert controller.tick(at(3.0)) is None
    assert controller.report(at(3.0)).counts["operator without heartbeat"] == 1
    controller.hand_back(at(3.1))
    assert controller.on_operator(asked(3.2, LEFT), at(3.2)) is None
    assert controller.tick(at(3.2)) is not None


def test_ever_new_names_do_not_fill_the_memory():
    lease = OperatorLease()
    for number in range(20 * REMEMBERED):
        lease.refuse(f"nobody {number}", 0.0, 0.3, 0.4, True)
        lease.beat(f"nobody {number}", 0.0)
    assert len(lease._asked_s) == len(lease._barred_s) == REMEMBERED and len(lease._heartbeats) <= REMEMBERED


@pytest.mark.parametrize(
    "follows", ["open the drawer", " open the drawer", "Open the drawer!", "What to do to open the drawer?", "wave"]
)
def test_a_chunk_for_an_instruction_that_is_not_in_force_is_not_carried_out(follows):
    controller = ready()
    controller.on_instruction("open the drawer")
    assert controller.on_chunk(chunk(0.0, instruction="open the drawer"), at(0.05)) is None
    controller.on_instruction("close the drawer ")
    for late_s in (0.1, 0.2):
        controller.on_state(state(late_s), at(late_s))
        refusal = controller.on_chunk(chunk(late_s, instruction=follows), at(late_s))
        assert refusal.code == "chunk for another instruction" and "close the drawer" in refusal.text
        assert controller.tick(at(late_s)) is None
    assert controller.on_chunk(chunk(0.3, instruction="close the drawer"), at(0.3)) is None
    controller.on_instruction("open the drawer")
    assert controller.on_chunk(chunk(0.4, instruction="open the drawer"), at(0.4)) is None


def test_a_policy_that_names_no_instruction_follows_the_one_in_force():
    controller = ready()
    controller.on_instruction("open the drawer")
    assert controller.on_chunk(chunk(0.0, instruction=""), at(0.05)) is None
    controller.on_instruction("")
    assert controller.on_chunk(chunk(0.1, instruction=""), at(0.1)).code == "no instruction"


def test_a_late_chunk_that_names_no_instruction_is_not_carried_out_after_a_change():
    controller = ready()
    controller.handle(InstructionHeard("open the drawer"), at(0.1))
    assert controller.on_chunk(chunk(0.15, instruction=""), at(0.2)) is None
    controller.handle(InstructionHeard("close the drawer"), at(0.3))
    late = controller.on_chunk(chunk(0.25, instruction=""), at(0.35))
    assert late.code == "frame from before the change of instruction"
    controller.on_state(state(0.4), at(0.4))
    assert controller.tick(at(0.4)) is None
    assert controller.on_chunk(chunk(0.41, instruction=""), at(0.45)) is None


@pytest.mark.parametrize(("period_s", "horizon"), [(0.2, 16), (0.2, 1000)])
def test_a_long_chunk_is_not_carried_out_blindly(period_s, horizon):
    controller = ready(ControllerConfig(max_horizon=1000, state_timeout_s=60.0))
    controller.on_spec(spec(horizon=horizon), at(0.0))
    assert controller.on_chunk(chunk(0.0, *[FORWARD] * horizon), at(0.05)) is None
    last_s = 0.0
    for tick in range(1, 300):
        now = at(0.05 + 0.02 * tick)
        controller.on_state(state(0.05 + 0.02 * tick), now)
        if controller.tick(now) is not None:
            last_s = now.steady_s
    assert 1.7 <= last_s <= 2.0
    assert controller.phase is Phase.HOLD and controller.report(at(6.1)).counts["step too old"] == 1


def test_a_clock_that_is_set_back_makes_no_step_younger():
    controller = ready(ControllerConfig(state_timeout_s=60.0))
    controller.on_spec(spec(horizon=16), at(0.0))
    assert controller.on_chunk(chunk(0.0, *[FORWARD] * 16), at(0.05)) is None
    sent = [controller.tick(type(at(0))(0.05 + 0.02 * tick, at(-5.0).ros_ns)) for tick in range(300)]
    assert sum(command is not None for command in sent) <= 11


@pytest.mark.parametrize("spacing_s", [0.18, 0.19, 0.2, 0.25])
def test_the_speed_limit_holds_for_the_time_between_two_commands(spacing_s):
    config = ControllerConfig(workspace_min_m=(-50.0, -50.0, -50.0), workspace_max_m=(50.0, 50.0, 50.0))
    controller, path = ready(config), []
    for step in range(12):
        now_s = 0.1 + spacing_s * step
        controller.on_state(state(now_s), at(now_s))
        wish = EndEffectorDelta(np.array([0.2, 0, 0, 0, 0, 1.0, 1.0]), at(now_s).ros_ns, "base", LEFT)
        assert controller.on_operator(wish, at(now_s)) is None
        command = controller.tick(at(now_s))
        path.append((np.linalg.norm(command.delta[:3]), np.linalg.norm(command.delta[3:6])))
    for way_m, turn_rad in path[1:]:
        assert way_m <= config.max_speed_m_s * spacing_s + 1e-9
        assert turn_rad <= config.max_angular_speed_rad_s * spacing_s + 1e-9
    assert path[-1][0] >= 0.99 * config.max_speed_m_s * min(spacing_s, config.step_period_s)


def test_somebody_else_who_commands_the_arm_makes_it_hold_until_that_has_ended():
    controller = ready(ControllerConfig(state_timeout_s=60.0, watchdog_s=60.0))
    assert controller.on_chunk(chunk(0.0), at(0.05)) is None
    controller.on_rival("/spoofer publishes /magma/command besides this controller", at(0.06))
    assert controller.tick(at(0.07)) is None
    report = controller.report(at(0.07))
    assert report.phase is Phase.HOLD and "/spoofer" in report.reason and "end the other one" in report.reason
    assert controller.on_chunk(chunk(0.08), at(0.1)).code == "another controller"
    assert controller.on_operator(asked(0.2, LEFT), at(0.2)) is None and controller.tick(at(0.2)) is None
    controller.hand_back(at(0.3))
    assert controller.on_chunk(chunk(2.4), at(2.5)) is None
    assert controller.tick(at(2.5)) is not None


@pytest.mark.parametrize("source", [Source.POLICY, None])
def test_what_was_refused_unread_is_told_and_a_policy_that_sends_it_is_not_followed(source):
    controller = ready()
    assert controller.on_chunk(chunk(0.0), at(0.05)) is None
    controller.refuse_unread(Refusal("unreadable message", "a message has 10 MB", True), at(0.06), source)
    report = controller.report(at(0.07))
    assert report.counts == {"unreadable message": 1} and report.chunks_rejected == (source is Source.POLICY)
    assert (report.phase is Phase.HOLD) is (source is Source.POLICY)
