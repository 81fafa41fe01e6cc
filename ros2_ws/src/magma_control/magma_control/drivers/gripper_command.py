"""Grippers with the action control_msgs/GripperCommand (gripper_action_controller, most gripper drivers)."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from magma_control.drivers.base import gripper_position, messages
from magma_control.drivers.gripper_action import ActionGripper
from magma_control.robots.robot_config import RobotConfig


class GripperCommandDriver(ActionGripper):
    """A position and the highest effort."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        self._robot = robot
        self._action = messages("control_msgs.action", "control_msgs").GripperCommand
        super().__init__(ActionClient(node, self._action, robot.gripper.name), robot.gripper.name)

    def _goal(self, opening: float) -> Any:
        goal = self._action.Goal()
        goal.command.position = gripper_position(self._robot, opening)
        goal.command.max_effort = self._robot.gripper.max_effort
        return goal
