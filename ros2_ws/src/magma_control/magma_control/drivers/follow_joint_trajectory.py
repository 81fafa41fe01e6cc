"""ros2_control's joint_trajectory_controller by its action, for arms that offer nothing else.

An action per control period would be more bookkeeping than motion, so periods are collected into goals of a tenth of a
second; the arm is behind by as much. Each goal ends with the brake, as in `joint_trajectory`. That a goal is aborted
because the next one came is how it should be; a goal that is rejected, or aborted because the arm did not follow, is
trouble. If the newest goal ends without success all the same, it was not by us: somebody else's goal replaced it, or it
was cancelled.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.node import Node

from magma_control.arm_motion import ArmCommand
from magma_control.drivers.base import ArmDriver, messages
from magma_control.drivers.joint_trajectory import trajectory
from magma_control.robot_config import RobotConfig

DEFAULT_ACTION = "joint_trajectory_controller/follow_joint_trajectory"
GOAL_S = 0.1


class FollowJointTrajectoryDriver(ArmDriver):
    """Sends a control_msgs/FollowJointTrajectory goal every tenth of a second; a new goal replaces the old one."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._action = messages("control_msgs.action", "control_msgs").FollowJointTrajectory
        self._names = list(robot.joints.names)
        self._client = ActionClient(node, self._action, robot.driver.name or DEFAULT_ACTION)
        self._release_by(self._client.destroy)
        self._collected: list[ArmCommand] = []
        self._rested = False
        self._goals = 0

    def _send(self, command: ArmCommand) -> None:
        resting = not (command.velocity.any() or command.acceleration.any())
        if resting and self._rested and not self._collected:
            return
        self._collected.append(command)
        if not resting and len(self._collected) * command.period_s < GOAL_S - 1e-9:
            return
        if self._client.server_is_ready():
            goal = self._action.Goal(trajectory=trajectory(self._names, self._collected))
            self._goals += 1
            self._client.send_goal_async(goal).add_done_callback(partial(self._on_answer, self._goals))
            self._rested = resting
        self._collected = []

    def _start_anew(self) -> None:
        self._collected, self._rested = [], False

    def _on_answer(self, goal: int, future: Any) -> None:
        handle = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, goal))
        else:
            self.trouble = "the arm's controller rejected a trajectory; its log says why"

    def _on_result(self, goal: int, future: Any) -> None:
        status, result, codes = future.result().status, future.result().result, self._action.Result
        if result.error_code in (codes.PATH_TOLERANCE_VIOLATED, codes.GOAL_TOLERANCE_VIOLATED):
            self.trouble = f"the arm's controller gave up a trajectory: {result.error_string}"
        elif status != GoalStatus.STATUS_SUCCEEDED and goal == self._goals:
            self.overruled = f"the newest trajectory was replaced or cancelled by somebody else: {result.error_string}"

    def _brake(self, last: ArmCommand) -> None:
        """Nothing to send: the arm has the brake already."""
