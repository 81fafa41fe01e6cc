"""ros2_control's joint_trajectory_controller by its topic.

Every message holds the next instant and the brake after it. The arm's own controller executes it when nothing else
comes: a lost network, a killed process or a hanging one brings the arm to rest on a path that has been checked.
https://control.ros.org/jazzy/doc/ros2_controllers/joint_trajectory_controller/doc/userdoc.html
"""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from magma_common import qos
from magma_common.conversions import ns_to_stamp
from magma_control.drivers.base import ArmDriver
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import RobotConfig

DEFAULT_TOPIC = "joint_trajectory_controller/joint_trajectory"
BRAKE_STRIDE = 4
"""Of the instants of a brake every so manieth becomes a point; cubic splines lie between."""


class JointTrajectoryDriver(ArmDriver):
    """Publishes trajectory_msgs/JointTrajectory once per period."""

    def __init__(self, node: Node, robot: RobotConfig, *, answering: bool = False) -> None:
        """
        Args:
            answering: stamp each message like the joint state that it answers, for a simulation that waits for it;
                otherwise it carries no stamp, which means: begin at once.
        """
        super().__init__()
        self._names = list(robot.joints.names)
        self._stamped = answering
        self._publisher = node.create_publisher(JointTrajectory, robot.driver.name or DEFAULT_TOPIC, qos.JOINT_COMMAND)
        self._release_by(lambda: node.destroy_publisher(self._publisher))

    def _send(self, command: ArmCommand) -> None:
        message = trajectory(self._names, [command])
        if self._stamped:
            message.header.stamp = ns_to_stamp(command.stamp_ns)
        self._publisher.publish(message)

    def _brake(self, last: ArmCommand) -> None:
        """Nothing to send: the arm has the brake already."""


def trajectory(names: list[str], commands: Sequence[ArmCommand]) -> JointTrajectory:
    """The commands of successive periods, and the brake after the last of them; stamp 0: begin at once."""
    message = JointTrajectory(joint_names=names)
    last = commands[-1]
    points = []
    for index, command in enumerate(commands, start=1):
        points.append(
            JointTrajectoryPoint(
                positions=command.position.tolist(),
                velocities=command.velocity.tolist(),
                time_from_start=duration(index * command.period_s),
            )
        )
    if last.velocity.any() or last.acceleration.any():
        rows = len(last.brake_positions)
        for row in sorted({*range(BRAKE_STRIDE - 1, rows, BRAKE_STRIDE), rows - 1}):
            points.append(
                JointTrajectoryPoint(
                    positions=last.brake_positions[row].tolist(),
                    velocities=last.brake_velocities[row].tolist(),
                    time_from_start=duration((len(commands) + row + 1) * last.period_s),
                )
            )
    message.points = points
    return message


def duration(seconds: float) -> Duration:
    """Seconds -> builtin_interfaces/Duration."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
