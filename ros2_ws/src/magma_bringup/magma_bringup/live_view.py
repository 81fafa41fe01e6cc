"""Node live_view: a page on this machine with the camera's picture and the controller's state. It publishes nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from magma_interfaces.msg import ControllerState
from rclpy.node import Node
from sensor_msgs.msg import Image

from magma_bringup.live_page import LatestView, serve
from magma_common.conversions import image_from_msg
from magma_common.process.node_main import run_node
from magma_common.qos import SENSOR, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError

PHASES = {
    ControllerState.HOLD: "HOLD",
    ControllerState.AUTONOMOUS: "AUTONOMOUS",
    ControllerState.TELEOP: "TELEOP",
    ControllerState.ESTOP: "ESTOP",
    ControllerState.FAULT: "FAULT",
}


@dataclass(frozen=True)
class LiveViewConfig(NodeConfig):
    """Parameters of the node."""

    port: int = parameter(
        8088, "Port of the page on 127.0.0.1; 0 = a free one.", minimum=0, maximum=65535, read_only=True
    )


class LiveView(Node):
    """Hands the newest picture and state to the page."""

    def __init__(self) -> None:
        super().__init__("live_view", automatically_declare_parameters_from_overrides=True)
        config = NodeParameters(self, LiveViewConfig).config
        self._view = LatestView()
        try:
            self._server = serve(self._view, config.port)
        except OSError as error:
            raise ConfigError(f"node live_view: port {config.port} cannot be used: {error.strerror}") from error
        self.create_subscription(Image, "camera/image_raw", self._on_image, SENSOR)
        self.create_subscription(ControllerState, "magma/controller_state", self._on_state, STATE)
        self.get_logger().info(f"look at http://127.0.0.1:{self._server.server_address[1]}/")

    def close(self) -> None:
        """Ends the page."""
        self._view.close()
        self._server.shutdown()
        self._server.server_close()

    def _on_image(self, message: Image) -> None:
        try:
            # A copy: the message's memory belongs to the middleware.
            self._view.show(image_from_msg(message).copy())
        except ValueError as error:
            self.get_logger().warning(f"a picture that cannot be shown: {error}", throttle_duration_sec=5.0)

    def _on_state(self, message: ControllerState) -> None:
        phase = PHASES.get(message.phase, f"phase {message.phase}")
        # Of several arms each has a page.
        self._view.tell(f"{self.get_namespace().strip('/')} {phase}".lstrip(), message.reason, message.instruction)


def main() -> int:
    """Entry point."""
    return run_node(LiveView)


if __name__ == "__main__":
    sys.exit(main())
