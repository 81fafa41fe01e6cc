"""A policy that moves the arm to and fro at a steady speed: whatever stops it is easy to see and to measure.

One chunk of two steps per frame, as a policy that looks at the picture gives it. Started as a process of its own.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.node import Node
from sensor_msgs.msg import Image

from magma_common import qos
from magma_common.conversions import action_spec_to_msg, chunk_to_msg, stamp_to_ns, state_from_msg
from magma_common.process.node_main import run_node
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk

HORIZON = 2
SPEC = ActionSpec(
    "shuttle", HORIZON, 0.2, "base", "axis_angle", "absolute_open_1", "not_applicable", "third_person", 128, 128, True
)
TURN_AT_M = 0.10
"""On either side of the middle."""
HEIGHT_M = 0.25


@dataclass(frozen=True)
class ShuttleConfig(NodeConfig):
    """Parameters of the node."""

    step_m: float = parameter(0.02, "Way per step.", minimum=0.001, maximum=0.08)
    delay_s: float = parameter(0.0, "How long it thinks about each frame.", minimum=0.0, maximum=10.0)


class ShuttlePolicy(Node):
    """Goes along y, and back when it is far enough."""

    def __init__(self) -> None:
        super().__init__("policy", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, ShuttleConfig)
        self._direction = 1.0
        self._sequence = 0
        self._position: np.ndarray | None = None
        self._chunks = self.create_publisher(ActionChunkMsg, "/magma/action_chunk", qos.COMMAND)
        self._spec = self.create_publisher(ActionSpecMsg, "/magma/action_spec", qos.STATE)
        self.create_subscription(EndEffectorStateMsg, "/magma/end_effector_state", self._on_state, qos.ROBOT_STATE)
        self.create_subscription(Image, "/magma/frame", self._on_frame, qos.FRAME)
        self._spec.publish(action_spec_to_msg(SPEC))

    def _on_state(self, message: EndEffectorStateMsg) -> None:
        self._position = state_from_msg(message).target_position

    def _on_frame(self, message: Image) -> None:
        if self._position is None:
            return
        config = self._node_parameters.config
        if config.delay_s:
            time.sleep(config.delay_s)
        y, z = self._position[1], self._position[2]
        if abs(y) > TURN_AT_M:
            self._direction = -1.0 if y > 0.0 else 1.0
        step = np.array([0.0, self._direction * config.step_m, np.clip(HEIGHT_M - z, -0.01, 0.01), 0, 0, 0, 1.0])
        chunk = ActionChunk(
            np.array([step] * HORIZON), stamp_to_ns(message.header.stamp), 0.2, SPEC.policy, "", self._sequence
        )
        self._sequence += 1
        self._chunks.publish(chunk_to_msg(chunk))


if __name__ == "__main__":
    sys.exit(run_node(ShuttlePolicy))
