"""The controller as a process, fed over DDS with what goes wrong in practice: it holds, says why, and goes on."""

from __future__ import annotations

import signal
import threading

import pytest
from controller_peers import SPEC, Robot
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import action_spec_to_msg
from magma_contracts.action_spec import ActionSpec


@pytest.fixture
def controller(start_node):
    # A machine busy with other tests may hold up a single message for longer than an operator would tolerate.
    return start_node("magma_control.controller_node", {"teleop_timeout_s": 1.0})


@pytest.fixture
def robot(controller, peer):
    robot = Robot(peer)
    yield robot
    robot.close()


def test_the_policy_moves_the_arm_and_every_command_carries_its_frame(robot):
    robot.acts()
    command = robot.commands.last
    assert command.header.frame_id == "base"
    assert command.translation.x == pytest.approx(0.01)
    state = robot.states.wait_for(lambda state: state.commands_sent > 2)
    assert state.instruction == "put the carrot on the plate"
    assert state.frame_age_ms >= 0.0


def test_a_policy_that_dies_and_comes_back(robot):
    robot.acts()
    robot.policy_runs = False
    robot.holds("policy silent")
    robot.policy_runs = True
    robot.moves_again()


def test_a_camera_that_freezes_and_thaws(robot):
    robot.acts()
    robot.frozen_stamp_ns = robot.peer.now_ns()
    state = robot.states.wait_for(lambda state: state.phase == ControllerState.HOLD)
    assert "stamp is not advancing" in state.reason or "old" in state.reason
    robot.nothing_moves()
    robot.frozen_stamp_ns = None
    robot.moves_again()


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("delta", (float("nan"), 0, 0, 0, 0, 0, 1), "not finite"),
        ("delta", (10.0, 0, 0, 0, 0, 0, 1), "asks for 10 m"),
        ("delta", (0, 0, 0, 0, 0, 0, 7.0), "gripper opening of 7"),
        ("frame", "camera", "frame 'camera', this arm takes 'base'"),
        ("steps", 0, "no steps"),
        ("steps", 3, "3 steps, its action spec allows 2"),
        ("refusal", "logits are not finite", "policy 'test' gives no action: logits are not finite"),
    ],
)
def test_a_wild_chunk(robot, attribute, value, reason):
    robot.acts()
    sane = getattr(robot, attribute)
    setattr(robot, attribute, value)
    state = robot.holds(reason)
    assert sum(state.rejection_counts) > 0 and len(state.rejection_counts) == len(state.rejection_reasons)
    assert all(command.translation.x < 0.1 for command in robot.commands.messages)
    setattr(robot, attribute, sane)
    robot.moves_again()


def test_a_policy_that_does_not_fit(robot):
    robot.spec.publish(action_spec_to_msg(ActionSpec(**{**SPEC.__dict__, "step_period_s": 0.1})))
    robot.policy_runs = True
    robot.holds("step_period_s is 0.1, this arm takes 0.2")
    assert robot.commands.messages == []
    robot.spec.publish(action_spec_to_msg(SPEC))
    robot.moves_again()


def test_emergency_stop_and_re_arm(robot):
    robot.acts()
    assert robot.peer.call(Trigger, "/magma/estop").success
    robot.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.ESTOP
    assert not robot.peer.call(Trigger, "/magma/hand_back").success
    rearmed_ns = robot.peer.now_ns()
    robot.commands.clear()
    assert robot.peer.call(Trigger, "/magma/rearm").success
    command = robot.commands.wait_for()
    assert command.header.stamp.sec * 10**9 + command.header.stamp.nanosec > rearmed_ns


def test_the_operator_takes_over_and_hands_back(robot):
    teleop = robot.peer.publisher(EndEffectorDelta, "/teleop/command", qos.COMMAND)
    robot.acts()
    robot.operated(teleop, (0, 0.015, 0, 0, 0, 0, 0))
    command = robot.commands.wait_for(lambda command: command.translation.y != 0.0)
    assert (command.translation.x, command.translation.y, command.gripper) == (0.0, 0.015, 0.0)
    # A silent operator keeps the arm.
    robot.states.wait_for(lambda state: "operator silent" in state.reason)
    robot.nothing_moves()
    assert robot.states.last.phase == ControllerState.TELEOP
    assert robot.peer.call(Trigger, "/magma/hand_back").success
    robot.moves_again()


def test_a_controller_that_was_stopped_for_a_while_executes_nothing_old(robot, controller):
    robot.acts()
    controller.send_signal(signal.SIGSTOP)
    robot.policy_runs = False
    robot.commands.clear()
    threading.Event().wait(1.0)
    controller.send_signal(signal.SIGCONT)
    robot.holds("policy silent")
    assert robot.commands.messages == []


def test_a_wrong_parameter_is_named_and_nothing_starts(start_node):
    node = start_node("magma_control.controller_node", {"watchdog": 1.0})
    assert node.wait() == 2
    assert "unknown parameter watchdog" in node.output
    node = start_node("magma_control.controller_node", {"max_speed_m_s": 0.0})
    assert node.wait() == 2
    assert "max_speed_m_s must be at least" in node.output
