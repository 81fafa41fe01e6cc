"""What the controller has around it, played by a test: an arm and a policy."""

from __future__ import annotations

import threading

import numpy as np
from control_msgs.action import GripperCommand
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerState, EndEffectorDelta
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.action import ActionServer
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, chunk_to_msg, delta_to_msg, ns_to_stamp, state_to_msg
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_control.robots.robot_config import load_robot

SPEC = ActionSpec("test", 2, 0.2, "base", "axis_angle", "absolute_open_1", "none", "third_person", 128, 128, True)
PANDA = load_robot("panda")
INSTRUCTION = "put the carrot on the plate"
HOME = np.array(PANDA.joints.home)
FORWARD = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
REPORT_S = 0.02
STEP_S = 0.05


class Robot:
    """An arm that reports where it is, and a policy that acts on a frame captured just before, at 20 Hz."""

    def __init__(self, peer, configured=True, namespace=""):
        """`configured`: whether the controller listens to a robot already. `namespace`: "/left", or empty."""
        self.peer = peer
        there = int(configured)
        self.spec = peer.publisher(ActionSpecMsg, f"{namespace}/magma/action_spec", qos.STATE, there)
        self.chunks = peer.publisher(ActionChunkMsg, f"{namespace}/magma/action_chunk", qos.COMMAND, there)
        self.arm = peer.publisher(EndEffectorStateMsg, f"{namespace}/magma/end_effector_state", qos.ROBOT_STATE, there)
        self.instruction = peer.publisher(String, f"{namespace}/magma/instruction", qos.STATE, there)
        self.states = peer.collect(ControllerState, f"{namespace}/magma/controller_state", qos.STATE)
        self.commands = peer.collect(EndEffectorDelta, f"{namespace}/magma/command", qos.COMMAND, there)
        self.policy_runs = False
        self.frozen_stamp_ns = None
        self.delta = (0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        self.frame = "base"
        self.steps = 1
        self.refusal = ""
        self.sequence = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.instruction.publish(String(data=INSTRUCTION))
        self.spec.publish(action_spec_to_msg(SPEC))

    def run(self):
        position, down = np.array([0.5, 0.0, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])
        while not self.stopped.wait(STEP_S):
            stamp_ns = self.peer.now_ns()
            self.arm.publish(state_to_msg(EndEffectorState(stamp_ns, position, down, position, down, 1.0, 1.0)))
            if self.policy_runs:
                self.sequence += 1
                deltas = np.array([self.delta] * self.steps, dtype=float).reshape(-1, 7)
                captured_ns = stamp_ns if self.frozen_stamp_ns is None else self.frozen_stamp_ns
                self.chunks.publish(
                    chunk_to_msg(
                        ActionChunk(
                            deltas,
                            captured_ns,
                            0.2,
                            "test",
                            INSTRUCTION,
                            self.sequence,
                            self.frame,
                            refusal=self.refusal,
                        )
                    )
                )

    def acts(self):
        """Starts the policy and waits until the arm moves."""
        self.policy_runs = True
        self.moves_again()

    def moves_again(self):
        self.commands.clear()
        self.states.clear()
        self.states.wait_for(lambda state: state.phase == ControllerState.AUTONOMOUS)
        self.commands.wait_for()
        self.states.clear()

    def operated(self, teleop, delta, source="test"):
        """An operator asks for a motion until the arm is his: a busy machine may deliver one command too late."""

        def ask():
            self.states.clear()
            teleop.publish(delta_to_msg(delta, self.peer.now_ns(), source=source))

        def taken(_):
            return self.states.wait_for(lambda state: state.phase == ControllerState.TELEOP, timeout_s=1.0)

        return self.peer.send_until(ask, taken)

    def holds(self, reason):
        """Waits until the arm holds for this reason, and makes sure that no command comes from then on."""
        state = self.states.wait_for(lambda state: state.phase == ControllerState.HOLD and reason in state.reason)
        self.nothing_moves()
        return state

    def nothing_moves(self):
        self.states.clear()
        self.states.wait_for()
        before = len(self.commands.messages)
        for _ in range(3):
            self.states.clear()
            self.states.wait_for()
        assert len(self.commands.messages) == before

    def close(self):
        self.stopped.set()
        self.thread.join()


class Arm:
    """A joint_trajectory_controller and a gripper that follow perfectly, and a policy that acts five times a second."""

    def __init__(self, peer, configured=True, namespace=""):
        """`configured`: whether the controller listens to a robot already. `namespace`: "/left", or empty."""
        self.peer = peer
        there = int(configured)
        self.positions, self.offset = HOME.copy(), np.zeros(7)
        self.opening, self.reports, self.acts = 0.04, True, False
        self.sequence = 0
        self.trajectories = peer.collect(
            JointTrajectory, f"{namespace}/joint_trajectory_controller/joint_trajectory", qos.JOINT_COMMAND, there
        )
        peer.node.create_subscription(
            JointTrajectory, f"{namespace}/joint_trajectory_controller/joint_trajectory", self.follow, qos.JOINT_COMMAND
        )
        self.gripper = ActionServer(peer.node, GripperCommand, f"{namespace}/gripper_controller/gripper_cmd", self.grip)
        self.states = peer.collect(ControllerState, f"{namespace}/magma/controller_state", qos.STATE)
        self.poses = peer.collect(EndEffectorStateMsg, f"{namespace}/magma/end_effector_state", qos.ROBOT_STATE, there)
        self.commands = peer.collect(EndEffectorDelta, f"{namespace}/magma/command", qos.COMMAND, there)
        self.joints = peer.publisher(JointState, f"{namespace}/joint_states", qos.ROBOT_STATE, there)
        self.chunks = peer.publisher(ActionChunkMsg, f"{namespace}/magma/action_chunk", qos.COMMAND, there)
        self.button = peer.publisher(Bool, f"{namespace}/magma/estop_button", qos.SAFETY_INPUT)
        peer.publisher(String, f"{namespace}/magma/instruction", qos.STATE, there).publish(String(data="go"))
        self.spec = peer.publisher(ActionSpecMsg, f"{namespace}/magma/action_spec", qos.STATE, there)
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

    def close(self):
        self.ended.set()
        self.thread.join()
