"""A joint-level arm in the graph: the controller as a process, an arm in the test, and the simulated arm."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from control_msgs.action import GripperCommand
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerState, EndEffectorDelta, EndEffectorState, EpisodeStatus
from rclpy.action import ActionServer
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, chunk_to_msg, ns_to_stamp
from magma_common.data import ActionChunk, ActionSpec
from magma_control.robot_config import load_robot

SPEC = ActionSpec("test", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
PANDA = load_robot("panda")
HOME = np.array(PANDA.joints.home)
FORWARD = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REPORT_S = 0.02
STARTING_S = 300.0
"""SAPIEN and the scene take long on a busy machine without a GPU, and so do sixty steps."""


class Arm:
    """A joint_trajectory_controller and a gripper that follow perfectly, and a policy that acts five times a second."""

    def __init__(self, peer):
        self.peer = peer
        self.positions, self.offset = HOME.copy(), np.zeros(7)
        self.opening, self.reports, self.acts = 0.04, True, False
        self.sequence = 0
        self.trajectories = peer.collect(
            JointTrajectory, "/joint_trajectory_controller/joint_trajectory", qos.JOINT_COMMAND
        )
        peer.node.create_subscription(
            JointTrajectory, "/joint_trajectory_controller/joint_trajectory", self.follow, qos.JOINT_COMMAND
        )
        self.gripper = ActionServer(peer.node, GripperCommand, "/gripper_controller/gripper_cmd", self.grip)
        self.states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
        self.poses = peer.collect(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE)
        self.commands = peer.collect(EndEffectorDelta, "/magma/command", qos.COMMAND)
        self.joints = peer.publisher(JointState, "/joint_states", qos.ROBOT_STATE)
        self.chunks = peer.publisher(ActionChunkMsg, "/magma/action_chunk", qos.COMMAND)
        self.button = peer.publisher(Bool, "/magma/estop_button", qos.SAFETY_INPUT)
        peer.publisher(String, "/magma/instruction", qos.STATE).publish(String(data="go"))
        self.spec = peer.publisher(ActionSpecMsg, "/magma/action_spec", qos.STATE)
        self.spec.publish(action_spec_to_msg(SPEC))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def follow(self, message):
        self.positions = np.array(message.points[0].positions)

    def grip(self, goal_handle):
        self.opening = goal_handle.request.command.position
        goal_handle.succeed()
        return GripperCommand.Result(position=self.opening)

    def run(self):
        names, tick = [*PANDA.joints.names, "panda_finger_joint1"], 0
        while not self.ended.wait(REPORT_S):
            stamp_ns = self.peer.now_ns()
            if self.reports:
                positions = [*(self.positions + self.offset).tolist(), max(self.opening, 0.0)]
                message = JointState(name=names, position=positions)
                message.header.stamp = ns_to_stamp(stamp_ns)
                self.joints.publish(message)
            tick += 1
            if self.acts and tick % 5 == 0:
                self.sequence += 1
                chunk = ActionChunk(np.array([FORWARD]), stamp_ns, 0.2, "test", "go", self.sequence)
                self.chunks.publish(chunk_to_msg(chunk))

    def moves(self):
        self.acts = True
        self.states.clear()
        self.states.wait_for(lambda state: state.phase == ControllerState.AUTONOMOUS)
        self.commands.clear()
        self.commands.wait_for()

    def is_in(self, phase, reason=""):
        self.states.clear()
        return self.states.wait_for(lambda state: state.phase == phase and reason in state.reason)

    def rests(self, wait):
        """Waits until nothing moves."""
        previous = [None]

        def still():
            last, previous[0] = previous[0], self.positions.copy()
            threading.Event().wait(0.1)
            return last is not None and np.array_equal(last, self.positions)

        wait(still, "the arm to rest")


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
    made.ended.set()
    made.thread.join()


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


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"arm": "joint_trajectory"}, "needs a robot"),
        ({"arm": "joint_trajectory", "robot": "r2d2"}, "no robot 'r2d2'"),
        ({"arm": "position", "robot": "panda", "tick_source": "joint_states"}, "needs arm joint_trajectory"),
    ],
)
def test_a_wrong_arm_ends_the_node_with_the_reason(start_node, parameters, message):
    node = start_node("magma_control.controller_node", parameters)
    assert node.wait() == 2
    assert message in node.output


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
