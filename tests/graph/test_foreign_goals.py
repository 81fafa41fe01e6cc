"""Somebody else's goals at the arm's own controller are told, also when results come later than the next goals."""

from __future__ import annotations

import numpy as np
import pytest
from action_msgs.msg import GoalStatusArray
from builtin_interfaces.msg import Duration
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionClient, ActionServer
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from magma_common import qos
from magma_control.drivers.base import make_arm_driver
from magma_control.drivers.follow_joint_trajectory import DEFAULT_ACTION
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import load_robot

PANDA = load_robot("panda")
PERIOD_S = 0.1


class LateServer:
    """Follows whichever goal came last and aborts the one before, as joint_trajectory_controller does; tells no client
    how its goal ended before `tell` is called."""

    def __init__(self, peer):
        self.handles, self.results = [], []
        self.server = ActionServer(
            peer.node,
            FollowJointTrajectory,
            DEFAULT_ACTION,
            self.execute,
            handle_accepted_callback=self.accept,
        )

    def accept(self, handle):
        self.handles.append(handle)
        handle.execute()

    async def execute(self, handle):
        if len(self.handles) > 1:
            self.handles[-2].abort()
        self.results.append(Future())
        await self.results[-1]
        return FollowJointTrajectory.Result(error_code=FollowJointTrajectory.Result.INVALID_GOAL)


@pytest.fixture
def server(peer):
    server = LateServer(peer)
    yield server
    for result in server.results:
        result.set_result(None)


def moving(position):
    """A command of an arm under way, at one joint position for all joints."""
    positions = np.full(len(PANDA.joints.names), position)
    velocities = np.full_like(positions, 0.1)
    zero = np.zeros_like(positions)
    return ArmCommand(
        position=positions,
        velocity=velocities,
        acceleration=zero,
        tool_position=np.zeros(3),
        tool_quaternion_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
        tool_twist=np.zeros(6),
        gripper=1.0,
        brake_positions=positions[None],
        brake_velocities=zero[None],
        period_s=PERIOD_S,
    )


def test_a_foreign_goal_between_two_of_ours_is_told_before_any_result_has_come(server, peer, wait):
    driver = make_arm_driver("follow_joint_trajectory", peer.node, PANDA)
    statuses = peer.collect(GoalStatusArray, f"{DEFAULT_ACTION}/_action/status", qos.ACTION_STATUS)
    wait(driver._client.server_is_ready, "the action's server")
    for count in range(1, 4):
        driver.send(moving(count * 0.01))
        wait(lambda: len(server.results) == count, f"goal {count}")  # noqa: B023
    statuses.wait_for(lambda message: len(message.status_list) == 3)
    assert driver.overruled is None and driver.trouble is None

    client = ActionClient(peer.node, FollowJointTrajectory, DEFAULT_ACTION)
    wait(client.server_is_ready, "the action's server")
    point = JointTrajectoryPoint(positions=[0.0] * 7, time_from_start=Duration(sec=1))
    goal = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(PANDA.joints.names), points=[point]))
    client.send_goal_async(goal)
    wait(lambda: len(server.results) == 4, "the foreign goal")
    driver.send(moving(0.05))
    wait(lambda: len(server.results) == 5, "our next goal")
    wait(lambda: driver.overruled is not None, "the driver to tell that somebody else moved the arm")
    assert "somebody else" in driver.overruled
    client.destroy()
    driver.close()
