"""Node instruction_keeper: holds the instruction in force for nodes that start later."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass

from magma_interfaces.msg import EpisodeStatus
from rclpy.node import Node
from std_msgs.msg import String

from magma_common.config import NodeConfig, parameter
from magma_common.node_config import NodeParameters
from magma_common.node_main import run_node
from magma_common.qos import EVERY_STATE, STATE

NO_INSTRUCTION = "none"
ECHO_S = 2.0
"""The node's own words come back to it within so long, or not at all."""


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
        self._heard = False
        """whether anybody else has said anything"""
        self._said: deque[tuple[str, float]] = deque()
        """own words that have not come back yet, and when they were said"""
        self._publisher = self.create_publisher(String, "/magma/instruction", STATE)
        # What was said before this node started; from then on the other one hears everything in order.
        self.create_subscription(String, "/magma/instruction", self._on_earlier, STATE)
        self.create_subscription(String, "/magma/instruction", self._on_instruction, EVERY_STATE)
        if first == NO_INSTRUCTION:
            return
        if first:
            self._keep(first)
        else:
            self.create_subscription(EpisodeStatus, "/magma/episode_status", self._on_status, STATE)

    def _on_earlier(self, message: String) -> None:
        if not self._heard and message.data != self._kept:
            self._heard = True
            self._keep(message.data)

    def _on_instruction(self, message: String) -> None:
        if self._own(message.data):
            return
        self._heard = True
        if message.data != self._kept:
            self._keep(message.data)

    def _own(self, instruction: str) -> bool:
        """Whether it is this node's own voice. Taken for another's, a word that something newer has overtaken on the
        way would be kept again."""
        while self._said and time.monotonic() > self._said[0][1] + ECHO_S:
            self._said.popleft()
        if self._said and self._said[0][0] == instruction:
            self._said.popleft()
            return True
        return False

    def _on_status(self, status: EpisodeStatus) -> None:
        if self._kept is None and status.instruction:
            self._keep(status.instruction)

    def _keep(self, instruction: str) -> None:
        self._kept = instruction
        self.get_logger().info(f"instruction: {instruction or '(none)'}")
        self._said.append((instruction, time.monotonic()))
        self._publisher.publish(String(data=instruction))


def main() -> int:
    """Entry point."""
    return run_node(InstructionKeeper)


if __name__ == "__main__":
    sys.exit(main())
