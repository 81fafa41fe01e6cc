"""ros2_control's forward_command_controller for positions, for an arm and for a gripper.

This controller goes where the last message said and knows no brake: it must be sent, so an arm whose control process is
killed stops abruptly. Prefer `joint_trajectory` where the arm has it.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from magma_common import qos
from magma_control.drivers.base import ArmDriver, GripperDriver, gripper_position
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import RobotConfig

DEFAULT_TOPIC = "forward_position_controller/commands"


class PositionDriver(ArmDriver):
    """Publishes std_msgs/Float64MultiArray, one position per joint in the order of `joints.names`."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._publisher = node.create_publisher(
            Float64MultiArray, robot.driver.name or DEFAULT_TOPIC, qos.JOINT_COMMAND
        )
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, command: ArmCommand) -> None:
        self._publisher.publish(Float64MultiArray(data=command.position.tolist()))

    def _send_rest(self, position: Any, velocity: Any, last: ArmCommand) -> None:
        self._publisher.publish(Float64MultiArray(data=position.tolist()))


class PositionGripper(GripperDriver):
    """The gripper behind a forward_command_controller: one position."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._robot = robot
        self._publisher = node.create_publisher(Float64MultiArray, robot.gripper.name, qos.JOINT_COMMAND)
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, opening: float) -> bool:
        if self._publisher.get_subscription_count() == 0:
            return False
        self._publisher.publish(Float64MultiArray(data=[gripper_position(self._robot, opening)]))
        return True
