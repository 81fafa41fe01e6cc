"""Node policy: a Magma checkpoint, here or behind a policy server, that acts on the newest frame."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass
from typing import cast

import numpy as np
import rclpy
from magma_interfaces.msg import ActionChunk as ActionChunkMsg
from magma_interfaces.msg import ActionSpec as ActionSpecMsg
from magma_interfaces.msg import EndEffectorDelta as EndEffectorDeltaMsg
from magma_interfaces.msg import EndEffectorState as EndEffectorStateMsg
from rclpy.node import Node
from sensor_msgs.msg import Image

from magma_common.conversions import (
    action_spec_to_msg,
    chunk_to_msg,
    delta_from_msg,
    image_from_msg,
    stamp_to_ns,
    state_from_msg,
)
from magma_common.diagnostics import ERROR, OK, WARN, DiagnosticsPublisher, Report
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import InstructionListener
from magma_common.message_sizes import SMALL
from magma_common.process.node_main import end_process, run_node
from magma_common.process.program import cannot_start
from magma_common.qos import COMMAND, EVERY_COMMAND, FRAME, ROBOT_STATE, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_contracts.actions import DELTA_SIZE, ActionChunk
from magma_contracts.arm_state import EndEffectorState
from magma_contracts.errors import ConfigError
from magma_contracts.files.server_tokens import read_token
from magma_contracts.foresight import UNDER_WAY_MOST, Foresight, foretell
from magma_contracts.policies import is_server
from magma_policy_ros.control_experiment import CONTROLS, Control, observe, policy_name
from magma_policy_ros.newest_observation import ActRequest, NewestObservation
from magma_policy_ros.policies import ActingPolicy, LocalPolicy, PolicyGoneError, connect

EXIT_NOT_LOADED = 1
EXIT_LOST = 3
"""A policy was there, and its server has another one now."""
REST_AFTER_ERROR_S = 0.2
"""A policy that fails on each frame must not fill the log at camera rate."""


@dataclass(frozen=True)
class PolicyConfig(NodeConfig):
    """Parameters of the node."""

    checkpoint: str = parameter(
        "magma-tiny",
        "Folder of a checkpoint, name of a shipped one, or address of a policy server (ws://host:port; "
        "openpi://host:port?model=FILE or vla-eval://host:port?model=FILE with a model file).",
        read_only=True,
    )
    device: str = parameter(
        "auto",
        "Where the model runs; auto = the GPU when there is one.",
        choices=("auto", "cuda", "cpu"),
        read_only=True,
    )
    robot: str = parameter(
        "",
        "For a checkpoint that does not name its robot: widowx, google_robot, or a folder with action_spec.json.",
        read_only=True,
    )
    task_robot: str = parameter(
        "",
        "Which robot to act for, by name, with a checkpoint or server of several; its default one if it does not know "
        "the name. May change while the node runs.",
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
    server_deadline_s: float = parameter(
        5.0,
        "With a server: seconds to wait for an action before trying the next frame.",
        minimum=0.01,
        maximum=600.0,
        read_only=True,
    )
    server_token_file: str = parameter(
        "", "With a server: file with its token; empty = environment variable MAGMA_SERVE_TOKEN.", read_only=True
    )
    injected_latency_ms: float = parameter(
        0.0,
        "Experiment: every action comes so much later, as from a slower model; meanwhile the policy looks at nothing.",
        minimum=0.0,
        maximum=60_000.0,
    )
    foretell: bool = parameter(
        False,
        "The policy is given the arm's state foretold for the moment at which its answer takes effect, by how long the "
        "last ones took, and its answer begins with what is under way; for policies that read the arm's state. See "
        "docs/latency.md.",
        read_only=True,
    )
    state_tolerance_s: float = parameter(
        0.02,
        "How far apart the stamps of a frame and its end effector state may lie, in seconds; 0 = equal.",
        minimum=0.0,
        maximum=1.0,
        read_only=True,
    )

    def check(self) -> None:
        if is_server(self.checkpoint) and (self.device != "auto" or self.robot):
            given = f"device {self.device!r}" if self.device != "auto" else f"robot {self.robot!r}"
            raise ConfigError(f"{given} is for a checkpoint; a policy server has its own --device and --robot")


class PolicyNode(Node):
    """Publishes magma/action_spec once the model is ready, and one magma/action_chunk per frame acted on.

    The executor's thread only receives; the model runs in a thread of its own, which takes the newest frame whenever
    it is free. Publishing from there is safe: rclpy's publishers may be used from any thread.
    """

    def __init__(self) -> None:
        super().__init__("policy", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, PolicyConfig)
        self._config = self._node_parameters.config
        self._control = cast(Control, self._config.control)
        self._observation: NewestObservation | None = None
        self._foresight: Foresight | None = None
        self._foresight_lock = threading.Lock()
        """commands are heard by the executor's thread"""
        self._policy: ActingPolicy | None = None
        self._policy_name = self._config.checkpoint
        self._task_robot = ""
        self._status = Report(WARN, f"loading {self._config.checkpoint}")
        self._sequence = 0
        self._errors = 0
        self._dropped = 0
        self._instruction = ""
        self._stopping = threading.Event()
        self.exit_status = 0
        """Not 0 when the node cannot go on."""

        self._chunks = self.create_publisher(ActionChunkMsg, "magma/action_chunk", COMMAND)
        self._spec = self.create_publisher(ActionSpecMsg, "magma/action_spec", STATE)
        self._diagnostics = DiagnosticsPublisher(self, self._report)
        InstructionListener(self, self._on_instruction)
        arm = "magma/end_effector_state"
        ForeignSubscription(self, EndEffectorStateMsg, arm, self._on_state, ROBOT_STATE, most_bytes=SMALL)
        self.create_subscription(Image, "magma/frame", self._on_frame, FRAME)
        if self._config.foretell:
            self.create_subscription(EndEffectorDeltaMsg, "magma/command", self._on_command, EVERY_COMMAND)
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        # Once the node spins: an end that comes sooner would find no executor to stop.
        self._starter = self.create_timer(0.001, self._start)

    def close(self) -> None:
        """Ends the inference thread; waits for a call of the model that is under way, but not for long."""
        self._stopping.set()
        if self._observation is not None:
            self._observation.stop()
        if self._policy is not None:
            self._policy.close()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    # Executor's thread.

    def _start(self) -> None:
        self.destroy_timer(self._starter)
        self._thread.start()

    def _on_instruction(self, instruction: str) -> None:
        self._instruction = instruction
        with self._foresight_lock:
            if self._foresight is not None:
                self._foresight.forget()
        if self._observation is not None:
            self._observation.set_instruction(instruction)

    def _on_command(self, message: EndEffectorDeltaMsg) -> None:
        delta, now_ns = delta_from_msg(message).delta, self.get_clock().now().nanoseconds
        with self._foresight_lock:
            if self._foresight is not None:
                self._foresight.commanded(delta, now_ns)

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
        if self._policy is not None:
            # Which policy it is, whatever it is called: results name it so.
            values |= {"policy": self._policy_name, "content": self._policy.identity, "where": self._policy.where}
        report = self._status
        observation = self._observation
        if observation is not None:
            values["overtaken frames"] = observation.overtaken
            waiting = observation.waiting_for()
            trouble = self._policy.trouble() if self._policy is not None else None
            if report.level == OK and trouble is not None:
                report = Report(WARN, trouble)
            if report.level == OK and waiting is not None:
                values["waiting for"] = waiting
        return Report(report.level, report.message, {**report.values, **values})

    # Inference thread.

    def _run(self) -> None:
        try:
            policy = self._load()
        except ImportError as error:
            self._give_up(EXIT_NOT_LOADED, cannot_start(error))
            return
        except Exception as error:  # whatever the model raises: without a model the node is of no use
            self._give_up(EXIT_NOT_LOADED, f"cannot load policy: {error}")
            return
        if policy is None:
            return
        self._policy = policy
        if self._config.foretell and policy.spec.proprioception:
            self._foresight = Foresight(policy.spec.step_period_s)
        observation = NewestObservation(
            policy.spec.proprioception, self._config.state_tolerance_s, self.resolve_topic_name
        )
        # In this order an instruction that arrives in between is not lost.
        self._observation = observation
        observation.set_instruction(self._instruction)
        self._announce(policy)
        self._status = Report(OK, f"policy {self._policy_name} is ready")
        self._diagnostics.update()
        while (request := observation.take()) is not None:
            try:
                if self._follow_task_robot(policy):
                    self._announce(policy)
                self._act(policy, request)
            except PolicyGoneError as error:
                self._give_up(EXIT_LOST, str(error))
                return
            except Exception as error:  # a model that fails gives no action; the arm holds and the node lives on
                if self._stopping.is_set() or not self.context.ok():
                    return
                self._fail(f"policy {self._policy_name} failed: {type(error).__name__}: {error}")
                if not policy.was_away(error) and observation.current_generation() == request.generation:
                    self._refuse(policy, request, str(error))
                self._stopping.wait(REST_AFTER_ERROR_S)

    def _load(self) -> ActingPolicy | None:
        config = self._config
        started = time.monotonic()
        policy: ActingPolicy | None
        if is_server(config.checkpoint):
            token = read_token(config.server_token_file)
            policy = connect(
                config.checkpoint, token, config.server_deadline_s, self._wait_for_server, self._stopping.wait
            )
            if policy is None:
                return None
            how = f"connected to {config.checkpoint}"
        else:
            policy = LocalPolicy(config.checkpoint, config.device, config.threads, config.robot, self._stopping.is_set)
            how = f"loaded {policy.path} in {time.monotonic() - started:.1f} s, warm-up included"
        self._policy_name = policy_name(policy.spec.policy, self._control)
        self._follow_task_robot(policy)
        self.get_logger().info(f"{self._policy_name}: {how}")
        return policy

    def _follow_task_robot(self, policy: ActingPolicy) -> bool:
        """Acts for the robot that the parameter names now; whether that is another one than before."""
        wanted = self._node_parameters.config.task_robot
        if wanted == self._task_robot:
            return False
        policy.use(wanted)
        self._task_robot = wanted
        return True

    def _announce(self, policy: ActingPolicy) -> None:
        horizon = policy.spec.horizon + (UNDER_WAY_MOST if self._foresight is not None else 0)
        spec = dataclasses.replace(policy.spec, policy=self._policy_name, horizon=horizon)
        self._spec.publish(action_spec_to_msg(spec))

    def _wait_for_server(self, reason: str) -> None:
        if self._status.message != reason:
            self.get_logger().warning(f"waiting for a policy server: {reason}")
            self._status = Report(WARN, reason)
            self._diagnostics.update()

    def _give_up(self, status: int, reason: str) -> None:
        self.exit_status = status
        self.get_logger().fatal(reason)
        rclpy.try_shutdown()

    def _act(self, policy: ActingPolicy, request: ActRequest) -> None:
        if request.restarted:
            policy.reset()
        # Two clocks: the frame's age is a matter of ROS time, the durations of a clock that never jumps.
        waited_s = time.monotonic() - request.received_s
        age_ms = (self.get_clock().now().nanoseconds - request.stamp_ns) * 1e-6
        pixels, instruction = observe(request.pixels, request.instruction, self._control)
        started, asked_ns = time.monotonic(), self.get_clock().now().nanoseconds
        state, under_way = self._foretold(request, asked_ns)
        result = policy.act(pixels, instruction, state)
        injected_ms = self._node_parameters.config.injected_latency_ms
        if injected_ms:
            self._stopping.wait(injected_ms * 1e-3)
        stages = {
            "frame": age_ms - waited_s * 1e3,
            "wait": waited_s * 1e3,
            "policy": (time.monotonic() - started) * 1e3,
        }
        observation = self._observation
        if observation is None or observation.current_generation() != request.generation:
            self._dropped += 1
            return
        chunk = self._chunk(policy, request, np.concatenate([under_way, result.deltas]))
        self._publish(dataclasses.replace(chunk, stage_ms={**stages, **result.stage_ms}))
        with self._foresight_lock:
            if self._foresight is not None:
                self._foresight.answered(chunk, asked_ns, self.get_clock().now().nanoseconds)
        if self._status.level != OK:
            self._status = Report(OK, f"policy {self._policy_name} is acting again")
            self._diagnostics.update()

    def _foretold(self, request: ActRequest, now_ns: int) -> tuple[EndEffectorState | None, np.ndarray]:
        """The state that the policy is given, and the commands (n, 7) that its answer begins with."""
        nothing = np.zeros((0, DELTA_SIZE))
        if self._foresight is None or request.state is None:
            return request.state, nothing
        with self._foresight_lock:
            ahead = self._foresight.ahead(request.stamp_ns, now_ns)
        if ahead.effect_s <= 0.0 or len(ahead.commands) > UNDER_WAY_MOST:
            return request.state, nothing
        return foretell(request.state, ahead), ahead.commands

    def _refuse(self, policy: ActingPolicy, request: ActRequest, why: str) -> None:
        """Tells the controller why there is no action for a frame, so that the arm holds at once and says so."""
        self._publish(dataclasses.replace(self._chunk(policy, request, np.zeros((0, DELTA_SIZE))), refusal=why))

    def _chunk(self, policy: ActingPolicy, request: ActRequest, deltas: np.ndarray) -> ActionChunk:
        return ActionChunk(
            deltas=deltas,
            stamp_ns=request.stamp_ns,
            step_period_s=policy.spec.step_period_s,
            policy=self._policy_name,
            instruction=request.instruction,
            sequence=self._sequence,
            frame=policy.spec.frame,
        )

    def _publish(self, chunk: ActionChunk) -> None:
        self._chunks.publish(chunk_to_msg(chunk))
        self._sequence += 1

    # Both.

    def _fail(self, message: str) -> None:
        self._errors += 1
        if self._status.message != message:
            self._status = Report(ERROR, message)
            self._diagnostics.update()


def main() -> None:
    """Entry point; ends the process, with a status that says whether a policy was there at all."""
    made: list[PolicyNode] = []

    def make_node() -> PolicyNode:
        made.append(PolicyNode())
        return made[0]

    status = run_node(make_node)
    if made:
        status = status or made[0].exit_status
    end_process(status)


if __name__ == "__main__":
    main()
