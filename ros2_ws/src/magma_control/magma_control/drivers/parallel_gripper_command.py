"""Grippers with the action control_msgs/ParallelGripperCommand (parallel_gripper_action_controller, Jazzy and
later)."""

from __future__ import annotations

from rclpy.action import ActionClient
from rclpy.node import Node

from magma_control.drivers.base import GripperDriver, gripper_position, messages
from magma_control.robot_config import RobotConfig


class ParallelGripperCommandDriver(GripperDriver):
    """Sends a goal per change of opening: position and effort of one named joint."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._robot = robot
        self._action = messages("control_msgs.action", "control_msgs").ParallelGripperCommand
        self._client = ActionClient(node, self._action, robot.gripper.name)
        self._release_by(self._client.destroy)

    def _send(self, opening: float) -> bool:
        if not self._client.server_is_ready():
            return False
        gripper = self._robot.gripper
        goal = self._action.Goal()
        goal.command.name = [gripper.joint]
        goal.command.position = [gripper_position(self._robot, opening)]
        goal.command.effort = [gripper.max_effort]
        self._client.send_goal_async(goal)
        return True
