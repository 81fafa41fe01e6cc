"""The node `joy_teleop`: a gamepad or a 3D mouse (sensor_msgs/Joy) in, operator's commands and requests out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from sensor_msgs.msg import Joy

from magma_common import qos
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.message_sizes import TEXT
from magma_common.process.node_main import run_node
from magma_teleop.device_node import DeviceTeleop
from magma_teleop.device_profile import DeviceProfile
from magma_teleop.joy_operator import JoyOperator, JoySample
from magma_teleop.operator_device import ArmPose, DeviceStatus, FloatArray


class JoyTeleop(DeviceTeleop[DeviceProfile]):
    """Listens to joy; remap it for spacenav_node's spacenav/joy."""

    def __init__(self) -> None:
        super().__init__("joy_teleop", DeviceProfile)
        self._operator = JoyOperator(self.profile, self._node_parameters.config.step_period_s)
        ForeignSubscription(self, Joy, "joy", self._on_joy, qos.JOY, most_bytes=TEXT)

    def _on_joy(self, message: Joy) -> None:
        sample = JoySample(tuple(message.axes), tuple(message.buttons))
        for request in self._operator.on_sample(sample, time.monotonic()):
            self.ask(request)

    def motion(self, now_s: float, arm: ArmPose | None, camera: Callable[[], FloatArray | None]) -> FloatArray | None:
        return self._operator.command(now_s, arm, camera() if self._operator.due(now_s) else None)

    def device_status(self, now_s: float) -> DeviceStatus:
        return self._operator.status(now_s)

    def let_go(self) -> None:
        self._operator.let_go()


def main() -> int:
    """Entry point of `ros2 run magma_teleop joy_teleop`."""
    return run_node(JoyTeleop)


if __name__ == "__main__":
    sys.exit(main())
