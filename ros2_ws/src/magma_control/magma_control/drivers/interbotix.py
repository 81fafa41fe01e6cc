"""Interbotix X-series arms (WidowX 250s and its relatives) through xs_sdk.

https://docs.trossenrobotics.com/interbotix_xsarms_docs/ : JointGroupCommand on /<robot>/commands/joint_group, and for
the gripper JointSingleCommand on /<robot>/commands/joint_single, both of interbotix_xs_msgs. The joint group must be
in operating mode "position", and the gripper in "linear_position" so that it takes metres.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from magma_common import qos
from magma_control.drivers.base import ArmDriver, GripperDriver, gripper_position, messages
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import RobotConfig

PACKAGE = "interbotix_xs_msgs"


class InterbotixDriver(ArmDriver):
    """Publishes interbotix_xs_msgs/JointGroupCommand; `driver.name` is the robot's namespace."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._message = messages(f"{PACKAGE}.msg", PACKAGE).JointGroupCommand
        self._group = robot.driver.group
        self._publisher = node.create_publisher(
            self._message, _below(robot.driver.name, "commands/joint_group"), qos.JOINT_COMMAND
        )
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, command: ArmCommand) -> None:
        self._publisher.publish(self._message(name=self._group, cmd=command.position.tolist()))

    def _send_rest(self, position: Any, velocity: Any, last: ArmCommand) -> None:
        self._publisher.publish(self._message(name=self._group, cmd=position.tolist()))


class InterbotixGripper(GripperDriver):
    """Publishes interbotix_xs_msgs/JointSingleCommand; `gripper.name` is the gripper's name there."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._robot = robot
        self._message = messages(f"{PACKAGE}.msg", PACKAGE).JointSingleCommand
        self._publisher = node.create_publisher(
            self._message, _below(robot.driver.name, "commands/joint_single"), qos.JOINT_COMMAND
        )
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, opening: float) -> bool:
        if self._publisher.get_subscription_count() == 0:
            return False
        self._publisher.publish(
            self._message(name=self._robot.gripper.name, cmd=gripper_position(self._robot, opening))
        )
        return True


def _below(namespace: str, name: str) -> str:
    """A name in the robot's namespace; an empty one is the node's."""
    return f"{namespace.rstrip('/')}/{name}" if namespace else name
