"""The emergency stop while everything else is busy."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import rclpy
from controller_peers import INSTRUCTION, Robot
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import chunk_to_msg, delta_to_msg
from magma_contracts.actions import ActionChunk
from magma_control.controller_node import ControllerNode
from magma_control.runtime.emergency_stop import StopInput, StopInputs
from magma_control.runtime.log_thread import LogThread

NODE = "magma_control.controller_node"


@pytest.fixture
def robot(start_node, peer):
    start_node(NODE, {"teleop_timeout_s": 1.0})
    made = Robot(peer)
    yield made
    made.close()


def giant_chunk(peer):
    deltas = np.zeros((60_000, 7))
    return chunk_to_msg(ActionChunk(deltas, peer.now_ns(), 0.2, "test", INSTRUCTION, 1))


def test_a_giant_chunk_is_refused_unread_and_the_stop_is_heard(robot):
    robot.acts()
    button = robot.peer.publisher(Bool, "/magma/estop_button", qos.SAFETY_INPUT)
    giant = giant_chunk(robot.peer)
    for _ in range(3):
        robot.chunks.publish(giant)
    button.publish(Bool(data=True))
    robot.states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
    robot.nothing_moves()
    # The writer keeps its newest message only: one this large is lost when the next comes before all of it has arrived.
    robot.policy_runs = False
    refused = robot.peer.send_until(
        lambda: robot.chunks.publish(giant),
        lambda _: robot.states.wait_for(lambda state: "unreadable message" in state.rejection_reasons, timeout_s=2.0),
    )
    assert refused.chunks_rejected >= 1
    button.publish(Bool(data=False))
    robot.policy_runs = True
    robot.peer.send_until(
        lambda: robot.peer.call(Trigger, "/magma/rearm"), lambda answer: answer.success or pytest.fail("not yet")
    )
    robot.moves_again()


def test_somebody_else_who_commands_the_arm_is_told_with_his_name(robot):
    robot.acts()
    spoofed = robot.peer.publisher(EndEffectorDelta, "/magma/command", qos.COMMAND)
    spoofed.publish(delta_to_msg((0.05, 0, 0, 0, 0, 0, 1), robot.peer.now_ns(), source="test"))
    state = robot.states.wait_for(lambda state: "/test_peer publishes /magma/command" in state.reason)
    assert state.phase == ControllerState.HOLD
    robot.peer.node.destroy_publisher(spoofed)
    robot.moves_again()


def test_somebody_who_repeats_the_controllers_own_commands_is_told(robot):
    """A relay or a player of recordings: the arm would take each step twice."""
    repeated = robot.peer.publisher(EndEffectorDelta, "/magma/command", qos.COMMAND)
    robot.acts()

    def told(_):
        return robot.states.wait_for(lambda state: "/test_peer publishes /magma/command" in state.reason, timeout_s=1.0)

    # Again and again: the queue holds one command, and a busy controller finds the repeated one in place of its own.
    state = robot.peer.send_until(lambda: repeated.publish(robot.commands.last), told)
    assert state.phase == ControllerState.HOLD


def test_two_controllers_hold_and_say_so(robot, start_node):
    robot.acts()
    second = start_node(NODE, {})
    robot.states.wait_for(lambda state: "one controller only" in state.reason)
    robot.states.wait_for(lambda state: state.phase == ControllerState.HOLD)
    second.stop()
    robot.moves_again()


def test_a_core_that_somebody_holds_does_not_hold_up_the_stop(ros_domain, peer, wait):
    """As a callback that hangs would: the stop is answered, said and, for the arm, carried out past it."""
    rclpy.init(domain_id=ros_domain)
    node = ControllerNode()
    stopped = []
    node._arm = type("Arm", (), {"driver": type("Driver", (), {"stop": lambda self: stopped.append(True)})()})()
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    release, held = threading.Event(), threading.Event()

    def hold():
        with node._lock:
            held.set()
            release.wait(60.0)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    try:
        held.wait(60.0)
        assert peer.call(Trigger, "/magma/estop").success
        states.wait_for(lambda state: state.phase == ControllerState.ESTOP)
        assert stopped and node._stop_inputs.stop_waits
        release.set()
        holder.join()
        node._arm = None
        node._on_timer()
        assert node._core.phase == ControllerState.ESTOP and not node._stop_inputs.stop_waits
    finally:
        release.set()
        node._arm = None
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()


def test_a_stop_waits_until_it_is_taken_and_a_release_never():
    inputs = StopInputs()
    inputs.add(StopInput(False))
    assert not inputs.stop_waits
    inputs.add(StopInput(True))
    inputs.add(StopInput(None))
    assert inputs.stop_waits and inputs.take() == StopInput(False) and inputs.take() == StopInput(True)
    assert inputs.stop_waits and inputs.take() == StopInput(None)
    assert not inputs.stop_waits and inputs.take() is None


def test_a_log_that_takes_no_lines_holds_up_nobody():
    blocked, written = threading.Event(), []

    def write(level, line):
        blocked.wait(60.0)
        written.append((level, line))

    lines = LogThread(write)
    for number in range(3000):
        lines.put("info", str(number))
    blocked.set()
    lines.close(60.0)
    while len(written) < 1000:
        time.sleep(0.01)
    assert [line for _, line in written[:3]] == ["0", "1", "2"]


def test_joint_states_of_a_size_that_no_arm_has_are_refused(start_node, peer):
    start_node(NODE, {"arm": "joint_trajectory", "robot": "panda"})
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    joints = peer.publisher(JointState, "/joint_states", qos.ROBOT_STATE)
    joints.publish(JointState(name=[f"joint {number}" for number in range(20_000)], position=[0.0] * 20_000))
    states.wait_for(lambda state: "unreadable message" in state.rejection_reasons)
