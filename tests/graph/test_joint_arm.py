"""A joint-level arm in the graph: the controller as a process, an arm in the test, and the simulated arm."""

from __future__ import annotations

import numpy as np
import pytest
from controller_peers import Arm
from magma_interfaces.msg import ControllerState, EpisodeStatus
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from magma_common import qos

STARTING_S = 300.0
"""SAPIEN and the scene take long on a busy machine without a GPU, and so do sixty steps."""


@pytest.fixture
def arm(start_node, peer):
    parameters = {
        "arm": "joint_trajectory",
        "robot": "panda",
        "control_rate_hz": 50.0,
        # A machine busy with other tests holds single threads up for long.
        "executor_timeout_s": 20.0,
        "state_timeout_s": 2.0,
        "watchdog_s": 2.0,
    }
    start_node("magma_control.controller_node", parameters)
    made = Arm(peer)
    yield made
    made.close()


def test_a_joint_level_arm_is_moved_stopped_and_moved_again(arm, wait):
    # It moves, by as much as was asked for, and the graph sees poses.
    state = arm.poses.wait_for()
    start = np.array([state.pose.position.x, state.pose.position.y, state.pose.position.z])
    assert state.header.frame_id == "base"
    assert start == pytest.approx([0.537, 0.0, 0.195], abs=2e-3)
    arm.moves()
    arm.poses.wait_for(lambda message: message.pose.position.x > start[0] + 0.03)
    wait(lambda: arm.opening < 0.0, "the gripper to close")
    assert abs(arm.poses.last.pose.position.z - start[2]) < 5e-3
    point = arm.trajectories.last.points[-1]
    assert not any(point.velocities), "every trajectory ends at rest"

    # The button: it brakes, latches, and letting it go moves nothing.
    arm.button.publish(Bool(data=True))
    arm.is_in(ControllerState.ESTOP, "button is pressed")
    arm.rests(wait)
    place = arm.positions.copy()
    assert not arm.peer.call(Trigger, "/magma/rearm").success
    arm.button.publish(Bool(data=False))
    arm.is_in(ControllerState.ESTOP)
    arm.acts = False
    assert arm.peer.call(Trigger, "/magma/rearm").success
    arm.is_in(ControllerState.HOLD)
    arm.rests(wait)
    assert np.array_equal(arm.positions, place)

    # From where it really is, not from where it was left.
    arm.offset[0] = 0.2
    arm.moves()
    arm.acts = False
    arm.is_in(ControllerState.HOLD, "policy silent")
    arm.offset[0] = 0.0
    arm.rests(wait)

    # Reports that cannot be true.
    arm.moves()
    arm.offset[2] = 0.9
    state = arm.is_in(ControllerState.FAULT)
    assert "panda_joint3" in state.reason
    arm.offset[2] = 0.0
    arm.rests(wait)
    assert arm.peer.call(Trigger, "/magma/rearm").success

    # A driver that falls silent.
    arm.moves()
    arm.reports = False
    arm.is_in(ControllerState.HOLD, "arm driver silent")
    arm.rests(wait)
    arm.reports = True
    arm.moves()


def test_a_joint_level_arm_without_a_robot_ends_the_node_with_the_reason(start_node):
    node = start_node("magma_control.controller_node", {"arm": "joint_trajectory"})
    assert node.wait() == 2
    assert "needs a robot" in node.output


@pytest.mark.render
def test_the_expert_succeeds_through_inverse_kinematics(start_node, peer):
    start_node(
        "magma_sim_ros.joint_simulator_node",
        {"task": "carrot_on_plate", "success_hold_steps": 3, "after_episode": "stop"},
    )
    start_node(
        "magma_control.controller_node",
        {
            "arm": "joint_trajectory",
            "robot": "panda",
            "tick_source": "joint_states",
            "min_command_interval_s": 0.0,
            "max_frame_age_s": 30.0,
        },
    )
    start_node("magma_camera.camera_subscriber", {"frozen_after_s": 0.0})
    start_node("magma_sim_ros.scripted_policy_node")
    status = peer.collect(EpisodeStatus, "/magma/episode_status", qos.STATE, matched=0)
    first = status.wait_for(timeout_s=STARTING_S)
    instruction = peer.publisher(String, "/magma/instruction", qos.STATE, matched=2)
    instruction.publish(String(data=first.instruction))
    done = status.wait_for(lambda message: message.done, timeout_s=STARTING_S)
    assert done.success
    assert done.step < 60
