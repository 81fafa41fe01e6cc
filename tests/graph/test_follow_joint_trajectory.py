"""The action FollowJointTrajectory: the simulated arm serves it, and the controller moves that arm by it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from controller_peers import FORWARD, PANDA, SPEC
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import ControllerState, EndEffectorState
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, chunk_to_msg
from magma_contracts.actions import ActionChunk

pytestmark = pytest.mark.render
ACTION = "/joint_trajectory_controller/follow_joint_trajectory"
STARTING_S = 300.0
"""SAPIEN and the scene take long on a busy machine without a GPU."""
REPORTS_AT_REST = 50
"""One report is a hundredth of a second of the simulated world."""
Result = FollowJointTrajectory.Result


@pytest.fixture
def simulator(start_node):
    return start_node("magma_sim_ros.joint_simulator_node", {"task": "carrot_on_plate", "clock": "realtime"})


class Joints:
    """The arm as it reports itself."""

    def __init__(self, peer):
        self.reports = peer.collect(JointState, "/joint_states", qos.ROBOT_STATE, matched=0)
        self.reports.wait_for(timeout_s=STARTING_S)

    @property
    def positions(self):
        return np.array(self.reports.last.position[:7])

    def rests(self, wait):
        """Waits until nothing has moved for half a second of the world's own time, and returns where.

        The world pauses for its pictures, and on a busy machine for long: only its reports tell that time has passed.
        """

        def still():
            self.reports.clear()
            wait(lambda: len(self.reports.messages) >= REPORTS_AT_REST, "reports of the joints")
            positions = np.array([message.position[:7] for message in self.reports.messages])
            return np.ptp(positions, axis=0).max() < 1e-3

        wait(still, "the arm to rest")
        return self.positions


class Client:
    """A client of the action, as MoveIt is one."""

    def __init__(self, peer, wait):
        self.client = ActionClient(peer.node, FollowJointTrajectory, ACTION)
        self.wait = wait
        wait(self.client.server_is_ready, "the action's server")

    def send(self, positions, seconds, names=PANDA.joints.names, **tolerances):
        """Sends a goal with one point, at rest; returns its handle and where the feedback is collected."""
        point = JointTrajectoryPoint(positions=list(positions), velocities=[0.0] * len(positions))
        point.time_from_start = duration(seconds)
        goal = FollowJointTrajectory.Goal(
            trajectory=JointTrajectory(joint_names=list(names), points=[point]), **tolerances
        )
        feedback = []
        future = self.client.send_goal_async(goal, feedback_callback=feedback.append)
        self.wait(future.done, "an answer to the goal")
        return future.result(), feedback

    def end(self, handle):
        future = handle.get_result_async()
        self.wait(future.done, "the goal's result")
        return future.result().status, future.result().result


def duration(seconds):
    return Duration(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))


def test_goals_end_as_those_of_joint_trajectory_controller(simulator, peer, wait):
    joints = Joints(peer)
    client = Client(peer, wait)
    start = joints.rests(wait)
    there = start + np.array([0.2, 0, 0, 0, 0, 0, 0])

    # Reached.
    handle, feedback = client.send(there, 1.0)
    assert handle.accepted
    status, result = client.end(handle)
    assert (status, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, Result.SUCCESSFUL), result
    assert joints.rests(wait) == pytest.approx(there, abs=0.02)
    assert tuple(feedback[0].feedback.joint_names) == PANDA.joints.names
    desired = [message.feedback.desired.positions[0] for message in feedback]
    assert desired == sorted(desired) and desired[-1] == pytest.approx(there[0], abs=0.02)

    # Rejected: it is for another arm, or ends nowhere.
    assert not client.send(there, 1.0, names=[f"ur_{number}" for number in range(7)])[0].accepted
    assert not client.send([float("nan")] * 7, 1.0)[0].accepted

    # Replaced: a newer goal takes over from where the arm is, and the older one is told so.
    older, _ = client.send(start, 20.0)
    newer, _ = client.send(there, 0.5)
    status, result = client.end(older)
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.INVALID_GOAL)
    assert "preempted" in result.error_string
    assert client.end(newer)[0] == GoalStatus.STATUS_SUCCEEDED

    # Cancelled in motion: it stays where it is.
    handle, _ = client.send(start, 4.0)
    wait(lambda: joints.positions[0] < there[0] - 0.03, "the arm to move")
    handle.cancel_goal_async()
    assert client.end(handle)[0] == GoalStatus.STATUS_CANCELED
    place = joints.rests(wait)
    assert start[0] + 0.02 < place[0] < there[0] - 0.02
    assert joints.rests(wait) == pytest.approx(place, abs=0.01)

    # Too fast for the arm: it is behind the path by more than was allowed, so the goal is given up, and the arm holds.
    tight = [JointTolerance(name=PANDA.joints.names[0], position=0.002)]
    handle, _ = client.send(place + np.array([0.6, 0, 0, 0, 0, 0, 0]), 0.3, path_tolerance=tight)
    status, result = client.end(handle)
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.PATH_TOLERANCE_VIOLATED)
    assert joints.rests(wait)[0] < place[0] + 0.5

    # Somewhere where it does not arrive in the time that was given.
    place = joints.rests(wait)
    impossible = place.copy()
    impossible[3] = 0.5
    arriving = [JointTolerance(name=name, position=0.01) for name in PANDA.joints.names]
    handle, _ = client.send(impossible, 1.0, goal_tolerance=arriving, goal_time_tolerance=duration(0.5))
    status, result = client.end(handle)
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, Result.GOAL_TOLERANCE_VIOLATED)
    assert "goal_time_tolerance" in result.error_string


def test_the_controller_moves_the_simulated_arm_by_the_action(simulator, start_node, peer, wait):
    joints = Joints(peer)
    start_node(
        "magma_control.controller_node",
        {
            "arm": "follow_joint_trajectory",
            "robot": "panda",
            "control_rate_hz": 50.0,
            # The world pauses for its pictures, and a machine busy with other tests holds single threads up for long.
            "bring_up_scale": 0.3,
            "executor_timeout_s": 20.0,
            "state_timeout_s": 5.0,
            "watchdog_s": 5.0,
            "max_frame_age_s": 5.0,
        },
    )
    states = peer.collect(ControllerState, "/magma/controller_state", qos.STATE)
    poses = peer.collect(EndEffectorState, "/magma/end_effector_state", qos.ROBOT_STATE)
    chunks = peer.publisher(ActionChunkMsg, "/magma/action_chunk", qos.COMMAND)
    instruction = peer.publisher(String, "/magma/instruction", qos.STATE)
    instruction.publish(String(data="go"))
    peer.publisher(ActionSpecMsg, "/magma/action_spec", qos.STATE, matched=2).publish(action_spec_to_msg(SPEC))
    start = poses.wait_for().pose.position
    sequence = 0

    def step():
        """A policy that goes forward five times a second."""
        nonlocal sequence
        sequence += 1
        chunk = ActionChunk(np.array([FORWARD]), peer.now_ns(), 0.2, "test", "go", sequence)
        chunks.publish(chunk_to_msg(chunk))
        threading.Event().wait(0.2)

    def act(until):
        def once():
            step()
            assert states.last.phase != ControllerState.FAULT, states.last.reason
            return until()

        wait(once, lambda: f"the arm to move; {states.last.reason}")

    act(lambda: poses.last.pose.position.x > start.x + 0.03)
    assert poses.last.pose.position.y == pytest.approx(start.y, abs=0.01)
    assert poses.last.pose.position.z == pytest.approx(start.z, abs=0.01)

    # Stopped in motion it rests, and stays there.
    assert peer.call(Trigger, "/magma/estop").success
    place = joints.rests(wait)
    assert joints.rests(wait) == pytest.approx(place, abs=5e-3)
    assert peer.call(Trigger, "/magma/rearm").success
    states.clear()
    states.wait_for(lambda state: state.phase == ControllerState.HOLD)
    here = poses.wait_for().pose.position.x
    act(lambda: poses.last.pose.position.x > here + 0.01)

    # Somebody else's goal replaces the controller's own, which is a fault, however little the arm has moved by it.
    other = Client(peer, wait)

    def overruled():
        step()
        other.send(joints.positions, 0.2)
        return states.last.phase == ControllerState.FAULT

    wait(overruled, lambda: f"the fault; {states.last.reason}")
    assert "somebody else" in states.last.reason
