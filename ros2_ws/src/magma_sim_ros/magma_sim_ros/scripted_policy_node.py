"""Node scripted_policy: the expert or a baseline in the place of the policy."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from rclpy.node import Node
from rclpy.timer import Timer
from sensor_msgs.msg import Image

from magma_common.conversions import action_spec_to_msg, chunk_to_msg, delta_from_msg, stamp_to_ns
from magma_common.diagnostics import OK, WARN, DiagnosticsPublisher, Report
from magma_common.instruction_topics import InstructionListener
from magma_common.process.node_main import run_node
from magma_common.qos import COMMAND, EVERY_COMMAND, FRAME, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE, frame_prefix
from magma_contracts.action_spec import ActionSpec
from magma_contracts.actions import ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.foresight import UNDER_WAY_MOST, Foresight
from magma_sim.experts.planning import PLANNED_STEPS
from magma_sim_ros.matched_world import MatchedWorld, Poses
from magma_sim_ros.scripted_policies import KINDS, CannotActError, make_policy
from magma_sim_ros.world_subscriptions import BASE_FRAME, WorldSubscriptions


@dataclass(frozen=True)
class ScriptedPolicyConfig(NodeConfig):
    """Parameters of the node."""

    kind: str = parameter(
        "expert",
        "expert solves the task from /tf; hold never moves; random moves at random.",
        choices=KINDS,
        read_only=True,
    )
    seed: int = parameter(0, "Of the random motions.", minimum=0, read_only=True)
    injected_latency_ms: float = parameter(
        0.0,
        "Experiment: every action comes so much later, as from a slow model; meanwhile the policy looks at nothing.",
        minimum=0.0,
        maximum=60_000.0,
    )
    foretell: bool = parameter(
        False,
        "Answers are for the moment at which they take effect, by how long the last ones took; they begin with what is "
        "under way and have several steps. See docs/latency.md.",
        read_only=True,
    )
    step_period_s: float = parameter(0.2, "Seconds per action.", minimum=0.001, read_only=True)
    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)
    camera: str = parameter("third_person", "Name of the camera to announce.", read_only=True)
    image_height: int = parameter(128, "Pixels of the frame to announce.", minimum=1, maximum=8192, read_only=True)
    image_width: int = parameter(128, "Pixels of the frame to announce.", minimum=1, maximum=8192, read_only=True)


class ScriptedPolicyNode(Node):
    """Publishes one magma/action_chunk for each magma/frame, as a policy that looks at the picture does."""

    def __init__(self) -> None:
        super().__init__("scripted_policy", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, ScriptedPolicyConfig)
        config = self._node_parameters.config
        self._config = config
        self._thinking: Timer | None = None
        self._policy = make_policy(config.kind, config.seed)
        self._world = MatchedWorld()
        self._foresight = Foresight(config.step_period_s)
        self._instruction = ""
        self._trouble: str | None = None
        self._sequence = 0
        self._frame_received_s = 0.0
        self._frame_age_ms = 0.0

        self._chunks = self.create_publisher(ActionChunkMsg, "magma/action_chunk", COMMAND)
        self._spec = self.create_publisher(ActionSpecMsg, "magma/action_spec", STATE)
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        InstructionListener(self, self._on_instruction)
        prefix = frame_prefix(config.frame_prefix, self.get_namespace())
        self._parts = WorldSubscriptions(self, self._world, self._act, prefix)
        self.create_subscription(Image, "magma/frame", self._on_frame, FRAME)
        if config.foretell:
            self.create_subscription(EndEffectorDeltaMsg, "magma/command", self._on_command, EVERY_COMMAND)
        spec = ActionSpec(
            policy=config.kind,
            horizon=PLANNED_STEPS + UNDER_WAY_MOST if config.foretell else 1,
            step_period_s=config.step_period_s,
            frame=BASE_FRAME,
            rotation="axis_angle",
            gripper="absolute_open_1",
            statistics_key="not_applicable",
            camera=config.camera,
            image_height=config.image_height,
            image_width=config.image_width,
            proprioception=True,
        )
        self._spec.publish(action_spec_to_msg(spec))

    def _on_instruction(self, instruction: str) -> None:
        self._instruction = instruction.strip()
        self._stop_thinking()
        self._policy.reset(self._instruction)
        self._foresight.forget()
        self._trouble = None
        self._act()

    def _on_frame(self, message: Image) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._frame_received_s = time.monotonic()
        self._frame_age_ms = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-6
        self._world.add_frame(stamp_ns)
        self._act()

    def _on_command(self, message: EndEffectorDeltaMsg) -> None:
        self._foresight.commanded(delta_from_msg(message).delta, self.get_clock().now().nanoseconds)

    def _act(self) -> None:
        if not self._instruction or self._thinking is not None:
            return
        instant = self._world.take()
        if instant is None:
            return
        state, poses = instant
        started = time.monotonic()
        asked_ns = self.get_clock().now().nanoseconds
        try:
            deltas = self._answer(state, poses, asked_ns)
        except CannotActError as error:
            self._trouble = str(error)
            self._diagnostics.update()
            return
        self._trouble = None
        stages = {"frame": self._frame_age_ms, "wait": (started - self._frame_received_s) * 1e3}
        latency_s = self._node_parameters.config.injected_latency_ms * 1e-3
        if not latency_s:
            self._publish(state.stamp_ns, deltas, stages, started, asked_ns)
            return

        def answer() -> None:
            self._stop_thinking()
            self._publish(state.stamp_ns, deltas, stages, started, asked_ns)
            self._act()

        self._thinking = self.create_timer(latency_s, answer)

    def _answer(self, state: EndEffectorState, poses: Poses, asked_ns: int) -> np.ndarray:
        """The steps (n, 7) from the frame on."""
        if self._config.foretell:
            ahead = self._foresight.ahead(state.stamp_ns, asked_ns)
            if ahead.effect_s > 0.0 and len(ahead.commands) <= UNDER_WAY_MOST:
                return np.concatenate([ahead.commands, self._policy.plan(state, poses, ahead)])
        return self._policy.act(state, poses)[None]

    def _stop_thinking(self) -> None:
        """What was being thought about is dropped."""
        if self._thinking is not None:
            self.destroy_timer(self._thinking)
            self._thinking = None

    def _publish(
        self, stamp_ns: int, deltas: np.ndarray, stages: dict[str, float], started_s: float, asked_ns: int
    ) -> None:
        chunk = ActionChunk(
            deltas=deltas,
            stamp_ns=stamp_ns,
            step_period_s=self._config.step_period_s,
            policy=self._config.kind,
            instruction=self._instruction,
            sequence=self._sequence,
            frame=BASE_FRAME,
            stage_ms={**stages, "policy": (time.monotonic() - started_s) * 1e3},
        )
        self._chunks.publish(chunk_to_msg(chunk))
        self._foresight.answered(chunk, asked_ns, self.get_clock().now().nanoseconds)
        self._sequence += 1

    def _report(self) -> Report:
        kind = self._config.kind
        values = {"chunks": self._sequence, "instruction": self._instruction}
        values |= {"policy": kind, "content": kind, "where": kind}
        if self._trouble is not None:
            return Report(WARN, self._trouble, values)
        return Report(OK, f"{self._config.kind} is ready", values)


def main() -> int:
    """Entry point."""
    return run_node(ScriptedPolicyNode)


if __name__ == "__main__":
    sys.exit(main())
