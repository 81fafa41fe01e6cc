"""Grippers with the action control_msgs/GripperCommand (gripper_action_controller, most gripper drivers)."""

from __future__ import annotations

from rclpy.action import ActionClient
from rclpy.node import Node

from magma_control.drivers.base import GripperDriver, gripper_position, messages
from magma_control.robot_config import RobotConfig


class GripperCommandDriver(GripperDriver):
    """Sends a goal per change of opening; a new goal replaces the one before. What becomes of a goal shows in the
    gripper's measured opening, so results are not waited for."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._robot = robot
        self._action = messages("control_msgs.action", "control_msgs").GripperCommand
        self._client = ActionClient(node, self._action, robot.gripper.name)
        self._release_by(self._client.destroy)

    def _send(self, opening: float) -> bool:
        if not self._client.server_is_ready():
            return False
        goal = self._action.Goal()
        goal.command.position = gripper_position(self._robot, opening)
        goal.command.max_effort = self._robot.gripper.max_effort
        self._client.send_goal_async(goal)
        return True
