"""MoveIt Servo, by twists or by poses. Servo does its own inverse kinematics; what it gets is the motion of the tool
that has passed the checks here, joints included.

https://moveit.picknik.ai/main/doc/examples/realtime_servo/realtime_servo_tutorial.html : unitless or speed_units
twists on ~/delta_twist_cmds (speed_units is what this driver sends), poses on ~/pose_target_cmds. Servo itself must be
switched to that command type with its service switch_command_type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node

from magma_common import qos
from magma_common.conversions import pose_from_arrays, vector3_from_array
from magma_control.drivers.base import ArmDriver
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import RobotConfig

DEFAULT_TOPICS = {"twist": "servo_node/delta_twist_cmds", "pose": "servo_node/pose_target_cmds"}


class ServoDriver(ArmDriver):
    """Publishes geometry_msgs/TwistStamped (m/s, rad/s) or PoseStamped of the tool in the base link's frame."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._node = node
        self._frame = robot.frames.base
        self._poses = robot.driver.servo_input == "pose"
        self._publisher = node.create_publisher(
            PoseStamped if self._poses else TwistStamped,
            robot.driver.name or DEFAULT_TOPICS[robot.driver.servo_input],
            qos.JOINT_COMMAND,
        )
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, command: ArmCommand) -> None:
        message: Any
        if self._poses:
            message = PoseStamped(pose=pose_from_arrays(command.tool_position, command.tool_quaternion_xyzw))
        else:
            message = self._twist(command.tool_twist)
        self._publish(message)

    def _brake(self, last: ArmCommand) -> None:
        """A pose is where it rests. A twist goes on until another one comes, so it is brought down to zero along the
        brake, and zero is said."""
        if not self._poses:
            super()._brake(last)

    def _send_rest(self, position: Any, velocity: Any, last: ArmCommand) -> None:
        fastest = float(np.abs(last.velocity).max())
        share = min(1.0, float(np.abs(velocity).max()) / fastest) if fastest > 0.0 else 0.0
        self._publish(self._twist(share * last.tool_twist))

    @staticmethod
    def _twist(twist: Any) -> TwistStamped:
        message = TwistStamped()
        message.twist.linear = vector3_from_array(twist[:3])
        message.twist.angular = vector3_from_array(twist[3:])
        return message

    def _publish(self, message: Any) -> None:
        message.header.frame_id = self._frame
        # Servo drops what is older than its incoming_command_timeout.
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
