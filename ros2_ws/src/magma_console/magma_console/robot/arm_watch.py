"""What the console hears of the arm's joints: where they are, and where they were told to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from magma_common import qos
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.process.clocks import steady_s
from magma_console.robot.arm_model import ArmModel
from magma_contracts.errors import ConfigError
from magma_control.drivers.joint_trajectory import DEFAULT_TOPIC
from magma_control.robots.description_topic import AwaitedError, DescriptionTopic
from magma_control.robots.robot_config import DescriptionSection, DriverSection, load_robot

MOST_BYTES = 64 * 1024


class ArmWatch:
    """Follows the joints. Belongs to the node's thread."""

    def __init__(self, node: Node, robot: str, silent_s: Callable[[], float]) -> None:
        """
        Args:
            robot: name or YAML file of the robot, as the controller has it; empty = what the topic robot_description
                says, in the frame of its root.
            silent_s: after so long nothing is told of where the joints are.

        Raises:
            ConfigError: no such robot.
        """
        self._node, self._silent_s = node, silent_s
        config = load_robot(robot) if robot else None
        self._section = config.description if config is not None else DescriptionSection("topic://robot_description")
        self._base = config.frames.base if config is not None else ""
        self._model: ArmModel | None = None
        self._measured: tuple[dict[str, float], float] = ({}, -1e9)
        self._wanted: tuple[dict[str, float], float] = ({}, -1e9)
        self._description = DescriptionTopic(node, self._read)
        self._description.listen(self._section)
        driver = config.driver if config is not None else DriverSection()
        for kind, topic, heard, profile in (
            (JointState, driver.joint_states, self._on_joints, qos.ROBOT_STATE),
            (JointTrajectory, driver.name or DEFAULT_TOPIC, self._on_wanted, qos.JOINT_COMMAND),
        ):
            ForeignSubscription(node, kind, topic, heard, profile, most_bytes=MOST_BYTES)
        self._read()

    def lines(self) -> dict[str, Any]:
        """What is drawn, see `ArmModel.lines`: measured and wanted, each where it was heard lately; and why not."""
        if self._model is None:
            return {}
        now_s, silent_s = steady_s(), self._silent_s()
        told = {}
        for name, (positions, heard_s) in (("measured", self._measured), ("wanted", self._wanted)):
            if positions and now_s - heard_s <= silent_s:
                told[name] = self._model.lines({**self._measured[0], **positions})
        return told

    def _read(self) -> None:
        try:
            self._model = ArmModel(self._description.read(self._section).urdf, self._base)
        except AwaitedError:
            self._model = None
        except ConfigError as error:
            self._model = None
            self._node.get_logger().warning(f"the arm is not drawn: {error}")

    def _on_joints(self, message: JointState) -> None:
        self._measured = self._known(message.name, message.position), steady_s()

    def _on_wanted(self, message: JointTrajectory) -> None:
        if message.points:
            self._wanted = self._known(message.joint_names, message.points[-1].positions), steady_s()

    def _known(self, names: Any, positions: Any) -> dict[str, float]:
        model = self._model
        if model is None:
            return {}
        return {name: float(at) for name, at in zip(names, positions, strict=False) if name in model.names}
