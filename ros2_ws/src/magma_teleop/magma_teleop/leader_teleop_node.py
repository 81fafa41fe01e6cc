"""The node `leader_teleop`: the pose of a leader arm in, operator's commands out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from magma_interfaces.msg import EndEffectorState
from sensor_msgs.msg import Joy

from magma_common import qos
from magma_common.conversions import pose_to_arrays
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.message_sizes import SMALL, TEXT
from magma_common.process.node_main import run_node
from magma_teleop.device_node import DeviceTeleop
from magma_teleop.device_profile import LeaderProfile
from magma_teleop.leader_operator import LeaderOperator, LeaderSample
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray


class LeaderTeleop(DeviceTeleop[LeaderProfile]):
    """Listens to leader/end_effector_state, and to leader/pedal for the dead-man switch."""

    def __init__(self) -> None:
        super().__init__("leader_teleop", LeaderProfile)
        self._operator = LeaderOperator(self.profile, self._node_parameters.config.step_period_s)
        leader, pedal = "leader/end_effector_state", "leader/pedal"
        ForeignSubscription(self, EndEffectorState, leader, self._on_leader, qos.ROBOT_STATE, most_bytes=SMALL)
        ForeignSubscription(self, Joy, pedal, self._on_pedal, qos.JOY, most_bytes=TEXT)

    def _on_leader(self, message: EndEffectorState) -> None:
        position, quaternion = pose_to_arrays(message.pose)
        self._operator.on_sample(LeaderSample(position, quaternion, float(message.gripper)), time.monotonic())

    def _on_pedal(self, message: Joy) -> None:
        button = self.profile.pedal_button
        pressed = button < len(message.buttons) and bool(message.buttons[button])
        self._operator.on_pedal(pressed, time.monotonic())

    def motion(self, now_s: float, arm: ArmPose | None, camera: Callable[[], FloatArray | None]) -> FloatArray | None:
        return self._operator.command(now_s, arm)

    def device_status(self, now_s: float) -> DeviceStatus:
        return self._operator.status(now_s)

    def let_go(self) -> None:
        self._operator.let_go()


def main() -> int:
    """Entry point of `ros2 run magma_teleop leader_teleop`."""
    return run_node(LeaderTeleop)


if __name__ == "__main__":
    sys.exit(main())
