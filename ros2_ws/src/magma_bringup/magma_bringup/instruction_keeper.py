"""Node instruction_keeper: holds the instruction in force for nodes that start later."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from magma_interfaces.msg import EpisodeStatus
from rclpy.node import Node
from std_msgs.msg import String

from magma_common.config import NodeConfig, parameter
from magma_common.node_config import NodeParameters
from magma_common.node_main import run_node
from magma_common.qos import STATE, STATE_FROM_ANYBODY

NO_INSTRUCTION = "none"


@dataclass(frozen=True)
class InstructionKeeperConfig(NodeConfig):
    """Parameters of the node."""

    instruction: str = parameter(
        "", "First instruction; empty = what the simulated task asks for; none = wait for one.", read_only=True
    )


class InstructionKeeper(Node):
    """Publishes the first instruction, and repeats what others publish.

    Whoever publishes an instruction may end a moment later (`ros2 topic pub --once`), and its word with it. This node
    stays, so that a policy that is started again learns what it was doing. It also hears publishers that keep nothing
    for latecomers, whom nodes that want the latest state cannot hear themselves.
    """

    def __init__(self) -> None:
        super().__init__("instruction_keeper", automatically_declare_parameters_from_overrides=True)
        first = NodeParameters(self, InstructionKeeperConfig).config.instruction
        self._kept: str | None = None
        self._publisher = self.create_publisher(String, "/magma/instruction", STATE)
        # The first also hears what was said before this node started, the second also who keeps nothing.
        for profile in (STATE, STATE_FROM_ANYBODY):
            self.create_subscription(String, "/magma/instruction", self._on_instruction, profile)
        if first == NO_INSTRUCTION:
            return
        if first:
            self._keep(first)
        else:
            self.create_subscription(EpisodeStatus, "/magma/episode_status", self._on_status, STATE)

    def _on_instruction(self, message: String) -> None:
        if message.data != self._kept:
            self._keep(message.data)

    def _on_status(self, status: EpisodeStatus) -> None:
        if self._kept is None and status.instruction:
            self._keep(status.instruction)

    def _keep(self, instruction: str) -> None:
        self._kept = instruction
        self.get_logger().info(f"instruction: {instruction or '(none)'}")
        self._publisher.publish(String(data=instruction))


def main() -> int:
    """Entry point."""
    return run_node(InstructionKeeper)


if __name__ == "__main__":
    sys.exit(main())
