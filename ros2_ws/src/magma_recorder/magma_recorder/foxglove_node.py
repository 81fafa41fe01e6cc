"""Node foxglove: the live graph for the Foxglove app, by WebSocket, for environments without ROS 2.

With ROS 2 there is a bridge for that, `foxglove_bridge`; this node serves what the recorder records, as it came. Who
connects reads, and can say nothing: no publishing, no parameters, no services.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from magma_common.foreign_subscription import ForeignSubscription
from magma_common.process.node_main import run_node
from magma_common.qos import FRAME, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.errors import ConfigError
from magma_contracts.hosts import is_address, is_loopback
from magma_recorder.definitions import message_class, schema_of
from magma_recorder.topics import JOURNAL, SHOWN_TOO, TOPICS, Topic

BACKLOG = 32
"""Messages that wait for a slow viewer; then the oldest go."""


@dataclass(frozen=True)
class FoxgloveConfig(NodeConfig):
    """Where it listens."""

    host: str = parameter(
        "127.0.0.1",
        "Address to listen on. There is no token: whoever reaches another one than loopback sees the robot.",
        read_only=True,
    )
    port: int = parameter(8765, "Port; 0 = any free one.", minimum=0, maximum=65535, read_only=True)

    def check(self) -> None:
        if not is_address(self.host):
            raise ConfigError(f"host is an IP address such as 127.0.0.1, got {self.host[:60]!r}")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can look."""
        return is_loopback(self.host)


class Foxglove(Node):
    """One channel per topic; a topic at which nobody looks is not passed on."""

    def __init__(self) -> None:
        super().__init__("foxglove_server", automatically_declare_parameters_from_overrides=True)
        config = NodeParameters(self, FoxgloveConfig).config
        try:
            import foxglove
        except ImportError:
            raise ConfigError("node foxglove needs foxglove-sdk: run ./run setup foxglove") from None
        robot = self.get_namespace().rstrip("/")
        name = f"Magma{' ' + robot if robot else ''}"
        try:
            self._server = foxglove.start_server(
                name=name, host=config.host, port=config.port, capabilities=[], message_backlog_size=BACKLOG
            )
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"node foxglove: port {config.port} of {config.host} cannot be used: {error}") from None
        # The journal is for replay: half of all bytes, and nothing to look at.
        chosen = [topic for topic in (*TOPICS, *SHOWN_TOO) if topic.name != JOURNAL and _is_known(topic)]
        self._ears = []
        for topic in chosen:
            there = topic.of_robot(robot)
            channel = foxglove.Channel(
                there.namespace + there.name,
                schema=foxglove.Schema(
                    name=there.type_name, encoding="ros2msg", data=schema_of(there.type_name).encode()
                ),
                message_encoding="cdr",
            )
            self._ears.append(
                ForeignSubscription(
                    self,
                    message_class(there.type_name),
                    there.namespace + there.name,
                    _passer(channel),
                    STATE if there.latched else FRAME,
                    raw=True,
                    with_info=True,
                )
            )
        if not config.on_loopback:
            self.get_logger().warning(
                f"whoever reaches {config.host}:{self._server.port} sees the robot, without a token and without "
                "encryption: keep it on 127.0.0.1 and use an SSH tunnel"
            )
        self.get_logger().info(f"foxglove: open ws://{config.host}:{self._server.port} in the Foxglove app")

    def close(self) -> None:
        """Nobody looks any more."""
        for ear in self._ears:
            ear.close()
        self._server.stop()


def _is_known(topic: Topic) -> bool:
    """Whether a viewer can be told what its messages mean; vision_msgs is not part of every ROS 2."""
    try:
        schema_of(topic.type_name)
    except KeyError:
        return False
    return True


def _passer(channel: Any) -> Callable[[bytes, Any], None]:
    def take(data: bytes, info: Any) -> None:
        if channel.has_sinks():
            channel.log(bytes(data), log_time=info["received_timestamp"] or time.time_ns())

    return take


def main() -> int:
    """Entry point of `ros2 run magma_recorder foxglove`."""
    return run_node(Foxglove)


if __name__ == "__main__":
    sys.exit(main())
