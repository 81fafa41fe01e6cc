"""Grippers with the action control_msgs/ParallelGripperCommand (parallel_gripper_action_controller, Jazzy and
later)."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node

from magma_control.drivers.base import gripper_position, messages
from magma_control.drivers.gripper_action import ActionGripper
from magma_control.robots.robot_config import RobotConfig


class ParallelGripperCommandDriver(ActionGripper):
    """Position and effort of one named joint."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        self._robot = robot
        self._action = messages("control_msgs.action", "control_msgs").ParallelGripperCommand
        super().__init__(ActionClient(node, self._action, robot.gripper.name), robot.gripper.name)

    def _goal(self, opening: float) -> Any:
        gripper = self._robot.gripper
        goal = self._action.Goal()
        goal.command.name = [gripper.joint]
        goal.command.position = [gripper_position(self._robot, opening)]
        goal.command.effort = [gripper.max_effort]
        return goal
