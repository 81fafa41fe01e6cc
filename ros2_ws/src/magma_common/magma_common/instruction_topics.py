"""Where an instruction is asked for and where the one in force is told; and how a node follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from magma_interfaces.msg import Instruction
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from magma_common.conversions import stamp_to_ns
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.message_sizes import TEXT
from magma_common.qos import STATE

ASK_TOPIC = "magma/instruction"
"""std_msgs/String: anybody says what to do."""
ASK_SERVICE = "magma/instruct"
"""magma_interfaces/Instruct: the same with an answer, for programs."""
IN_FORCE_TOPIC = "magma/instruction_in_force"
"""magma_interfaces/Instruction: what is to be done. Published by the instruction keeper, and by nobody else."""

LOOK_PERIOD_S = 0.25
ABSENT_S = 1.0
"""A keeper that has not been seen for so long is not there: discovery on a busy machine takes a good part of that."""


class InstructionListener:
    """Follows the instruction in force.

    That is what the instruction keeper says. What others say on the topic for requests is obeyed only in a graph that
    has no keeper, such as a controller and a policy started by hand: between two of them nobody guarantees an order.
    When the keeper is gone, nothing is in force any more.
    """

    def __init__(self, node: Node, follow: Callable[[str], None]) -> None:
        """
        Args:
            node: hears for it; its executor calls back.
            follow: gets each instruction that comes into force; empty = nothing is to be done. Not called for one that
                is in force already.
        """
        self._node = node
        self._follow = follow
        self._heard: tuple[int, int] | None = None
        """number and stamp of what the keeper said last, while it is there"""
        self._keeper_known = False
        self._followed = ""
        self._absent_since_s: float | None = time.monotonic()
        self._direct: ForeignSubscription | None = None
        self._in_force = self._hear(Instruction, IN_FORCE_TOPIC, self._on_in_force)
        self._timer = node.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Hears no more."""
        self._node.destroy_timer(self._timer)
        self._in_force.close()
        self._stop_hearing_requests()

    def _hear(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> ForeignSubscription:
        def refuse(why: str) -> None:
            self._node.get_logger().warning(f"not followed: {why}")

        return ForeignSubscription(self._node, kind, topic, callback, STATE, most_bytes=TEXT, on_refused=refuse)

    def _on_in_force(self, message: Instruction) -> None:
        self._keeper_known = True
        self._stop_hearing_requests()
        heard = int(message.number), stamp_to_ns(message.header.stamp)
        if heard == self._heard:
            return
        self._heard = heard
        if message.instruction and message.instruction == self._followed:
            # It was taken away and given again between two looks: a new task with the same words.
            self._tell("")
        self._tell(message.instruction)

    def _on_request(self, message: String) -> None:
        if not self._keeper_known:
            self._tell(message.data)

    def _tell(self, instruction: str) -> None:
        self._followed = instruction
        self._follow(instruction)

    def _look(self) -> None:
        """Whether there is a keeper."""
        if self._node.count_publishers(self._node.resolve_topic_name(IN_FORCE_TOPIC)):
            self._absent_since_s = None
            self._stop_hearing_requests()
            return
        now_s = time.monotonic()
        if self._absent_since_s is None:
            self._absent_since_s = now_s
        if now_s - self._absent_since_s < ABSENT_S:
            return
        if not self._keeper_known:
            if self._direct is None:
                self._direct = self._hear(String, ASK_TOPIC, self._on_request)
        elif self._heard is not None:
            self._heard = None
            self._node.get_logger().warning("the instruction keeper is gone: nothing is to be done until it is back")
            self._tell("")

    def _stop_hearing_requests(self) -> None:
        if self._direct is not None:
            self._direct.close()
            self._direct = None
