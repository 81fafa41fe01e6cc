"""Node instruction_keeper: takes what anybody asks for, and says, alone, which instruction is in force."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from magma_interfaces.msg import EpisodeStatus, Instruction
from magma_interfaces.srv import Instruct
from rclpy.node import Node
from std_msgs.msg import String

from magma_bringup.instruction_arbiter import Answer, InstructionArbiter
from magma_common.conversions import NAME_LENGTH, ns_to_stamp, stamp_to_ns
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import ASK_SERVICE, ASK_TOPIC, IN_FORCE_TOPIC
from magma_common.message_sizes import TEXT
from magma_common.process.node_main import run_node
from magma_common.qos import EVERY_STATE, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.text import printable

NO_INSTRUCTION = "none"


@dataclass(frozen=True)
class InstructionKeeperConfig(NodeConfig):
    """Parameters of the node."""

    instruction: str = parameter(
        "", "First instruction; empty = what the simulated task asks for; none = wait for one.", read_only=True
    )


class InstructionKeeper(Node):
    """Hears requests and publishes the instruction in force; it never hears itself.

    Whoever asks may end a moment later (`ros2 topic pub --once`), and its word with it. This node stays, so that a
    policy that is started again learns what it was doing.
    """

    def __init__(self) -> None:
        super().__init__("instruction_keeper", automatically_declare_parameters_from_overrides=True)
        first = NodeParameters(self, InstructionKeeperConfig).config.instruction
        self._arbiter = InstructionArbiter()
        self._publisher = self.create_publisher(Instruction, IN_FORCE_TOPIC, STATE)
        # What was said on the topic before is not heard: it may be of another day.
        ForeignSubscription(self, String, ASK_TOPIC, self._on_topic, EVERY_STATE, most_bytes=TEXT, with_info=True)
        self.create_service(Instruct, ASK_SERVICE, self._on_service)
        if first == "":
            self.create_subscription(EpisodeStatus, "magma/episode_status", self._on_status, STATE)
        elif first != NO_INSTRUCTION:
            self._ask(first, "the parameter instruction", 0)

    def _on_topic(self, message: String, info: Mapping[str, int]) -> None:
        # The middleware's stamp of the moment of publishing is system time, which simulated time has no part in.
        asked_ns = 0 if self.get_clock().ros_time_is_active else info["source_timestamp"]
        names = sorted({endpoint.node_name for endpoint in self.get_publishers_info_by_topic(ASK_TOPIC)})
        self._ask(message.data, ", ".join(names) or f"somebody on {self.resolve_topic_name(ASK_TOPIC)}", asked_ns)

    def _on_service(self, request: Instruct.Request, response: Instruct.Response) -> Instruct.Response:
        named = printable(request.asked_by, NAME_LENGTH)
        asked_by = named or f"somebody who called {self.resolve_service_name(ASK_SERVICE)}"
        answer = self._ask(request.instruction, asked_by, stamp_to_ns(request.asked), int(request.replaces))
        in_force = self._arbiter.in_force
        response.accepted, response.message = answer.accepted, answer.message
        response.number = in_force.number if in_force is not None else 0
        return response

    def _on_status(self, status: EpisodeStatus) -> None:
        if self._arbiter.in_force is None and status.instruction:
            self._ask(status.instruction, f"the simulated task {status.task}", 0)

    def _ask(self, text: str, asked_by: str, asked_ns: int, replaces: int = 0) -> Answer:
        now_ns = self.get_clock().now().nanoseconds
        answer = self._arbiter.ask(text, asked_by, asked_ns, now_ns, replaces)
        if not answer.accepted:
            self.get_logger().warning(f"refused, asked for by {asked_by}: {answer.message}")
        elif answer.changed:
            self._publish()
        return answer

    def _publish(self) -> None:
        in_force = self._arbiter.in_force
        if in_force is None:
            return
        message = Instruction(number=in_force.number, instruction=in_force.text, asked_by=in_force.asked_by)
        message.header.stamp = ns_to_stamp(in_force.since_ns)
        message.asked = ns_to_stamp(in_force.asked_ns)
        self._publisher.publish(message)
        what = repr(in_force.text) if in_force.text else "nothing to do"
        self.get_logger().info(f"instruction {in_force.number}: {what}, asked for by {in_force.asked_by}")


def main() -> int:
    """Entry point."""
    return run_node(InstructionKeeper)


if __name__ == "__main__":
    sys.exit(main())
