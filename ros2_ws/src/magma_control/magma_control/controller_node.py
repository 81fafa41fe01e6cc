"""The node `controller`: topics, services and timers around `magma_control.controller.Controller`."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from magma_interfaces.msg import ActionChunk, ActionSpec, ControllerState, EndEffectorDelta, EndEffectorState
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from magma_common import diagnostics, qos
from magma_common.conversions import (
    action_spec_from_msg,
    chunk_from_msg,
    delta_from_msg,
    delta_to_msg,
    ns_to_stamp,
    state_from_msg,
)
from magma_common.node_config import NodeParameters
from magma_common.node_main import run_node
from magma_control.config import ControllerConfig
from magma_control.controller import Controller, Outcome, Report
from magma_control.freshness import Instant
from magma_control.latency import LatencyWindow
from magma_control.log_throttle import LogThrottle
from magma_control.phases import Phase

LOG_PERIOD_S = 5.0
"""One log line per kind of refusal in this time."""

_LEVELS = {
    Phase.HOLD: diagnostics.WARN,
    Phase.AUTONOMOUS: diagnostics.OK,
    Phase.TELEOP: diagnostics.OK,
    Phase.ESTOP: diagnostics.ERROR,
    Phase.FAULT: diagnostics.ERROR,
}


class ControllerNode(Node):
    """Feeds every message to the core as it arrives, ticks it, and publishes what it decides."""

    def __init__(self) -> None:
        super().__init__("controller", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, ControllerConfig, self._on_config)
        config = self._node_parameters.config
        self._core = Controller(config, self._now())
        self._throttle = LogThrottle(LOG_PERIOD_S)
        self._latency = LatencyWindow()
        self._published_key: tuple[Any, ...] = ()

        self._commands = self.create_publisher(EndEffectorDelta, "/magma/command", qos.COMMAND)
        self._states = self.create_publisher(ControllerState, "/magma/controller_state", qos.STATE)
        # The core's own events are logged, so levels need not be.
        diagnostics.DiagnosticsPublisher(self, self._diagnose, log_changes=False)

        self.create_subscription(ActionSpec, "/magma/action_spec", self._on_spec, qos.STATE)
        self.create_subscription(
            EndEffectorState, "/magma/end_effector_state", self._on_end_effector_state, qos.ROBOT_STATE
        )
        self.create_subscription(String, "/magma/instruction", self._on_instruction, qos.STATE)
        self.create_subscription(ActionChunk, "/magma/action_chunk", self._on_chunk, qos.COMMAND)
        self.create_subscription(EndEffectorDelta, "/teleop/command", self._on_teleop, qos.COMMAND)

        self.create_service(Trigger, "/magma/estop", self._on_estop)
        self.create_service(Trigger, "/magma/rearm", self._on_rearm)
        self.create_service(Trigger, "/magma/hand_back", self._on_hand_back)

        # Steady timers: a clock that is set, or a paused simulation, must not stop the watchdog.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / config.tick_rate_hz, lambda: self._handle(lambda now: None), clock=steady)
        self.create_timer(1.0 / config.state_rate_hz, self._publish_state, clock=steady)
        self._publish_state()
        self.get_logger().info("holding; waiting for a policy, an arm and an instruction")

    def _now(self) -> Instant:
        return Instant(time.monotonic(), self.get_clock().now().nanoseconds)

    def _handle(self, feed: Callable[[Instant], Any]) -> Any:
        """Feeds one input to the core and does at once what follows from it. An error in our own code stops the arm."""
        now = self._now()
        answer = None
        try:
            answer = feed(now)
            command = self._core.tick(now)
            if command is not None:
                self._commands.publish(delta_to_msg(command.delta, command.stamp_ns, self._core.config.frame))
                self._latency.add((self._now().ros_ns - command.stamp_ns) * 1e-6)
        except Exception as error:  # whatever it was, the arm must not go on
            self.get_logger().error(traceback.format_exc())
            self._core.fault(f"internal error: {error!r}")
        for event in self._core.take_events():
            line = self._throttle.pass_through(event.code, event.text, now.steady_s)
            if line is not None:
                log = self.get_logger()
                log.warning(line) if event.warning else log.info(line)
        report = self._core.report(now)
        if _key(report) != self._published_key:
            self._publish_report(report, now)
        return answer

    def _on_config(self, config: ControllerConfig) -> None:
        self._core.reconfigure(config)

    def _on_spec(self, message: ActionSpec) -> None:
        self._handle(lambda now: self._core.on_spec(action_spec_from_msg(message), now))

    def _on_end_effector_state(self, message: EndEffectorState) -> None:
        self._handle(lambda now: self._core.on_state(state_from_msg(message), now))

    def _on_instruction(self, message: String) -> None:
        self._handle(lambda now: self._core.on_instruction(message.data))

    def _on_chunk(self, message: ActionChunk) -> None:
        self._handle(lambda now: self._core.on_chunk(chunk_from_msg(message), now))

    def _on_teleop(self, message: EndEffectorDelta) -> None:
        self._handle(lambda now: self._core.on_operator(delta_from_msg(message), now))

    def _on_estop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, self._handle(lambda now: self._core.estop("service /magma/estop was called")))

    def _on_rearm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, self._handle(self._core.rearm))

    def _on_hand_back(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, self._handle(self._core.hand_back))

    def _publish_state(self) -> None:
        now = self._now()
        self._publish_report(self._core.report(now), now)

    def _publish_report(self, report: Report, now: Instant) -> None:
        message = ControllerState()
        message.header.stamp = ns_to_stamp(now.ros_ns)
        message.header.frame_id = self._core.config.frame
        message.phase = int(report.phase)
        message.reason = report.reason
        message.instruction = report.instruction
        message.frame_age_ms = report.frame_age_ms
        message.chunk_age_ms = report.chunk_age_ms
        message.teleop_age_ms = report.teleop_age_ms
        message.state_age_ms = report.state_age_ms
        message.chunks_received = report.chunks_received
        message.commands_sent = report.commands_sent
        message.chunks_rejected = report.chunks_rejected
        message.commands_clipped = report.commands_clipped
        message.rejection_reasons = list(report.counts)
        message.rejection_counts = list(report.counts.values())
        self._states.publish(message)
        self._published_key = _key(report)

    def _diagnose(self) -> diagnostics.Report:
        report = self._core.report(self._now())
        values = {
            "phase": report.phase.name,
            "instruction": report.instruction,
            "capture_to_command_p50_ms": f"{self._latency.percentile_ms(50):.2f}",
            "capture_to_command_p95_ms": f"{self._latency.percentile_ms(95):.2f}",
            "end_effector_state_age_ms": f"{report.state_age_ms:.1f}",
            "chunks_received": report.chunks_received,
            "chunks_rejected": report.chunks_rejected,
            "commands_sent": report.commands_sent,
            "commands_clipped": report.commands_clipped,
            **{f"count: {reason}": count for reason, count in report.counts.items()},
        }
        return diagnostics.Report(_LEVELS[report.phase], report.reason, values)


def _key(report: Report) -> tuple[Any, ...]:
    """What makes a report worth publishing at once; ages and counters wait for the next regular one."""
    return (report.phase, report.reason_code, report.instruction)


def _answer(response: Trigger.Response, outcome: Outcome | None) -> Trigger.Response:
    response.success = outcome is not None and outcome.success
    response.message = outcome.message if outcome is not None else "the controller had an internal error; see its log"
    return response


def main() -> int:
    """Entry point of `ros2 run magma_control controller`."""
    return run_node(ControllerNode)


if __name__ == "__main__":
    sys.exit(main())
