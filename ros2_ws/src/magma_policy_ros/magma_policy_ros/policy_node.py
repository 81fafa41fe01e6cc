"""Node policy: a Magma checkpoint that acts on the newest frame."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import rclpy
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from magma_common.config import NodeConfig, parameter
from magma_common.conversions import action_spec_to_msg, chunk_to_msg, image_from_msg, stamp_to_ns, state_from_msg
from magma_common.data import ActionChunk, EndEffectorState
from magma_common.diagnostics import ERROR, OK, WARN, DiagnosticsPublisher, Report
from magma_common.node_config import NodeParameters
from magma_common.node_main import end_process, run_node
from magma_common.qos import COMMAND, FRAME, ROBOT_STATE, STATE
from magma_policy_ros.control_experiment import CONTROLS, NEUTRAL_INSTRUCTION, Control, observe, policy_name
from magma_policy_ros.newest_observation import ActRequest, NewestObservation

if TYPE_CHECKING:
    from magma_policy.policy import Policy, Proprioception

WARM_UP_CALLS = 3
"""The first calls of a model allocate and tune; they are made before the policy announces itself."""
REST_AFTER_ERROR_S = 0.2
"""A policy that fails on each frame must not fill the log at camera rate."""


@dataclass(frozen=True)
class PolicyConfig(NodeConfig):
    """Parameters of the node."""

    checkpoint: str = parameter("magma-tiny", "Folder of a checkpoint, or name of a shipped one.", read_only=True)
    device: str = parameter(
        "auto",
        "Where the model runs; auto = the GPU when there is one.",
        choices=("auto", "cuda", "cpu"),
        read_only=True,
    )
    threads: int = parameter(
        1,
        "CPU threads of the model; 0 = torch's own choice. More than there are idle cores makes it slower, and the "
        "other nodes need some too.",
        minimum=0,
        maximum=256,
        read_only=True,
    )
    control: str = parameter(
        "none",
        "Control experiment: blind = a grey picture, deaf = the same neutral instruction always.",
        choices=CONTROLS,
        read_only=True,
    )
    state_tolerance_s: float = parameter(
        0.02,
        "How far apart the stamps of a frame and its end effector state may lie, in seconds; 0 = equal.",
        minimum=0.0,
        maximum=1.0,
        read_only=True,
    )


class PolicyNode(Node):
    """Publishes /magma/action_spec once the model is ready, and one /magma/action_chunk per frame acted on.

    The executor's thread only receives; the model runs in a thread of its own, which takes the newest frame whenever
    it is free. Publishing from there is safe: rclpy's publishers may be used from any thread.
    """

    def __init__(self) -> None:
        super().__init__("policy", automatically_declare_parameters_from_overrides=True)
        self._config = NodeParameters(self, PolicyConfig).config
        self._control = cast(Control, self._config.control)
        self._observation: NewestObservation | None = None
        self._policy_name = self._config.checkpoint
        self._status = Report(WARN, f"loading checkpoint {self._config.checkpoint}")
        self._sequence = 0
        self._errors = 0
        self._dropped = 0
        self._instruction = ""
        self._stopping = threading.Event()
        self.failure: str | None = None
        """Why the node cannot go on; None while it can."""

        self._chunks = self.create_publisher(ActionChunkMsg, "/magma/action_chunk", COMMAND)
        self._spec = self.create_publisher(ActionSpecMsg, "/magma/action_spec", STATE)
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        self.create_subscription(String, "/magma/instruction", self._on_instruction, STATE)
        self.create_subscription(EndEffectorStateMsg, "/magma/end_effector_state", self._on_state, ROBOT_STATE)
        self.create_subscription(Image, "/magma/frame", self._on_frame, FRAME)
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the inference thread; waits for a call of the model that is under way, but not for long."""
        self._stopping.set()
        if self._observation is not None:
            self._observation.stop()
        self._thread.join(timeout=2.0)

    # Executor's thread.

    def _on_instruction(self, message: String) -> None:
        self._instruction = message.data
        if self._observation is not None:
            self._observation.set_instruction(message.data)

    def _on_state(self, message: EndEffectorStateMsg) -> None:
        if self._observation is not None:
            self._observation.add_state(state_from_msg(message))

    def _on_frame(self, message: Image) -> None:
        if self._observation is None:
            return
        try:
            pixels = image_from_msg(message)
        except ValueError as error:
            self._fail(f"bad frame: {error}")
            return
        self._observation.add_frame(stamp_to_ns(message.header.stamp), pixels)

    def _report(self) -> Report:
        values: dict[str, object] = {"chunks": self._sequence, "errors": self._errors, "dropped": self._dropped}
        report = self._status
        observation = self._observation
        if observation is not None:
            values["overtaken frames"] = observation.overtaken
            waiting = observation.waiting_for()
            if report.level == OK and waiting is not None:
                values["waiting for"] = waiting
        return Report(report.level, report.message, {**report.values, **values})

    # Inference thread.

    def _run(self) -> None:
        try:
            policy = self._load()
        except Exception as error:  # whatever the model raises: without a model the node is of no use
            self.failure = f"cannot load policy: {error}"
            self.get_logger().fatal(self.failure)
            rclpy.try_shutdown()
            return
        observation = NewestObservation(policy.spec.proprioception, self._config.state_tolerance_s)
        # In this order an instruction that arrives in between is not lost.
        self._observation = observation
        observation.set_instruction(self._instruction)
        self._spec.publish(action_spec_to_msg(dataclasses.replace(policy.spec, policy=self._policy_name)))
        self._status = Report(OK, f"policy {self._policy_name} is ready")
        self._diagnostics.update()
        while (request := observation.take()) is not None:
            try:
                self._act(policy, request)
            except Exception as error:  # a model that fails gives no action; the arm holds and the node lives on
                if self._stopping.is_set() or not self.context.ok():
                    return
                self._fail(f"policy {self._policy_name} failed: {type(error).__name__}: {error}")
                self._stopping.wait(REST_AFTER_ERROR_S)

    def _load(self) -> Policy:
        # Imported here, in the thread, because torch takes seconds and the node should answer meanwhile.
        import torch

        import magma_policy
        from magma_policy.checkpoint_paths import find_checkpoint

        config = self._config
        if config.threads:
            torch.set_num_threads(config.threads)
        path = find_checkpoint(config.checkpoint)
        started = time.monotonic()
        policy = magma_policy.load(path, device=config.device)
        self._policy_name = policy_name(policy.spec.policy, self._control)
        spec = policy.spec
        grey = np.full((spec.image_height, spec.image_width, 3), 128, dtype=np.uint8)
        rest = _proprioception(_REST) if spec.proprioception else None
        for _ in range(WARM_UP_CALLS):
            if self._stopping.is_set():
                break
            policy.act(grey, NEUTRAL_INSTRUCTION, rest)
        policy.reset()
        took_s = time.monotonic() - started
        self.get_logger().info(f"loaded {self._policy_name} from {path} in {took_s:.1f} s, warm-up included")
        return policy

    def _act(self, policy: Policy, request: ActRequest) -> None:
        if request.restarted:
            policy.reset()
        # Two clocks: the frame's age is a matter of ROS time, the durations of a clock that never jumps.
        waited_s = time.monotonic() - request.received_s
        age_ms = (self.get_clock().now().nanoseconds - request.stamp_ns) * 1e-6
        pixels, instruction = observe(request.pixels, request.instruction, self._control)
        started = time.monotonic()
        result = policy.act(pixels, instruction, _proprioception(request.state) if request.state is not None else None)
        stages = {
            "frame": age_ms - waited_s * 1e3,
            "wait": waited_s * 1e3,
            "policy": (time.monotonic() - started) * 1e3,
        }
        observation = self._observation
        if observation is None or observation.current_generation() != request.generation:
            self._dropped += 1
            return
        chunk = ActionChunk(
            deltas=result.deltas,
            stamp_ns=request.stamp_ns,
            step_period_s=policy.spec.step_period_s,
            policy=self._policy_name,
            instruction=request.instruction,
            sequence=self._sequence,
            frame=policy.spec.frame,
            stage_ms={**stages, **result.stage_ms},
        )
        self._chunks.publish(chunk_to_msg(chunk))
        self._sequence += 1
        if self._status.level != OK:
            self._status = Report(OK, f"policy {self._policy_name} is acting again")
            self._diagnostics.update()

    # Both.

    def _fail(self, message: str) -> None:
        self._errors += 1
        if self._status.message != message:
            self._status = Report(ERROR, message)
            self._diagnostics.update()


_REST = EndEffectorState(
    stamp_ns=0,
    position=np.zeros(3),
    quaternion_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
    target_position=np.zeros(3),
    target_quaternion_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
    gripper=1.0,
    gripper_target=1.0,
)


def _proprioception(state: EndEffectorState) -> Proprioception:
    from magma_policy.policy import Proprioception

    return Proprioception(
        position=state.position,
        quaternion_xyzw=state.quaternion_xyzw,
        target_position=state.target_position,
        target_quaternion_xyzw=state.target_quaternion_xyzw,
        gripper=state.gripper,
        gripper_target=state.gripper_target,
    )


def main() -> None:
    """Entry point; ends the process, with status 1 when the policy cannot be loaded."""
    made: list[PolicyNode] = []

    def make_node() -> PolicyNode:
        made.append(PolicyNode())
        return made[0]

    status = run_node(make_node)
    if made and made[0].failure is not None:
        status = 1
    end_process(status)


if __name__ == "__main__":
    main()
