"""The node `keyboard_teleop`: a terminal in, operator's commands and requests out."""

from __future__ import annotations

import math
import sys
import time
from functools import partial

import rclpy
from magma_interfaces.msg import ControllerState, EndEffectorDelta, EndEffectorState, TeleopStatus
from magma_interfaces.srv import Instruct
from rclpy.client import Client
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import delta_to_msg
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import ASK_SERVICE, ASK_TOPIC
from magma_common.message_sizes import SMALL, TEXT
from magma_common.process.node_main import run_node
from magma_common.settings.node_config import NodeParameters
from magma_teleop.config import KeyboardConfig
from magma_teleop.display import PHASE_NAMES, Status, status_lines
from magma_teleop.identity import operator_identity
from magma_teleop.keys import KeyDecoder, Request, help_lines
from magma_teleop.session import KeyboardSession, NewInstruction
from magma_teleop.terminal import KeyTerminal, TerminalClosedError

DEVICE = "keyboard"
"""Who is named in commands, recordings and messages."""
STATUS_PERIOD_S = 0.1
POLL_PERIOD_S = 0.02
"""How often keys are read: short beside a person's reaction time, long beside what it costs."""


class KeyboardTeleop(Node):
    """Reads keys at 50 Hz, sends at most one command per step period, and shows what the controller says."""

    def __init__(self) -> None:
        super().__init__("keyboard_teleop", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, KeyboardConfig, self._on_config)
        self._identity = operator_identity(DEVICE)
        self._session = KeyboardSession(self._node_parameters.config)
        self._decoder = KeyDecoder()
        self._controller: tuple[ControllerState, float] | None = None
        self._gripper_target: float | None = None
        self._shown: list[str] = []

        self._commands = self.create_publisher(EndEffectorDelta, "teleop/command", qos.COMMAND)
        self._statuses = self.create_publisher(TeleopStatus, "teleop/status", qos.ROBOT_STATE)
        self._heartbeats = self.create_publisher(Header, "magma/teleop_heartbeat", qos.ROBOT_STATE)
        self._instruct = self.create_client(Instruct, ASK_SERVICE)
        self._instructions = self.create_publisher(String, ASK_TOPIC, qos.STATE)
        arm, controller, hear = "magma/end_effector_state", "magma/controller_state", partial(ForeignSubscription, self)
        hear(ControllerState, controller, self._on_controller, qos.STATE, most_bytes=TEXT)
        hear(EndEffectorState, arm, self._on_end_effector_state, qos.ROBOT_STATE, most_bytes=SMALL)
        self._requests: dict[Request, Client] = {
            Request.ESTOP: self.create_client(Trigger, "magma/estop"),
            Request.REARM: self.create_client(Trigger, "magma/rearm"),
            Request.HAND_BACK: self.create_client(Trigger, "magma/hand_back"),
        }
        # Last, so that whatever fails before it leaves the terminal alone.
        self._terminal = KeyTerminal()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(POLL_PERIOD_S, self._work, clock=steady)
        self.create_timer(STATUS_PERIOD_S, self._report, clock=steady)

    def close(self) -> None:
        """Puts the terminal back."""
        self._terminal.close()

    def _on_config(self, config: KeyboardConfig) -> None:
        self._session.reconfigure(config)

    def _on_controller(self, message: ControllerState) -> None:
        before = self._controller[0].phase if self._controller else None
        self._controller = (message, time.monotonic())
        self._session.latched = message.phase in (ControllerState.ESTOP, ControllerState.FAULT)
        if before == ControllerState.TELEOP and message.phase != ControllerState.TELEOP:
            self._session.operator_lost_the_arm()

    def _on_end_effector_state(self, message: EndEffectorState) -> None:
        if math.isfinite(message.gripper_target):
            self._gripper_target = min(1.0, max(0.0, message.gripper_target))

    def _work(self) -> None:
        now_s = time.monotonic()
        try:
            data = self._terminal.read()
        except TerminalClosedError as error:
            self.get_logger().warning(f"{error}; ending")
            rclpy.try_shutdown()
            return
        keys = self._decoder.feed(data) if data else self._decoder.flush()
        for key in self._session.meant(keys):
            wanted = self._session.press(key, now_s)
            if isinstance(wanted, NewInstruction):
                self._ask_for(wanted.text)
            elif wanted is not None:
                self._call(wanted)
        delta = self._session.command(now_s, self._gripper_target)
        if delta is not None:
            stamp_ns = self.get_clock().now().nanoseconds
            self._commands.publish(delta_to_msg(delta, stamp_ns, self._node_parameters.config.frame, self._identity))
        self._draw(now_s)

    def _report(self) -> None:
        """The heartbeat: the terminal is there, and whether the operator moves the arm."""
        engaged = self._controller is not None and self._controller[0].phase == ControllerState.TELEOP
        message = TeleopStatus(device=self._identity, connected=True, engaged=engaged, text=self._session.notice)
        message.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(message)
        heartbeat = Header(frame_id=self._identity)
        heartbeat.stamp = message.header.stamp
        self._heartbeats.publish(heartbeat)

    def _ask_for(self, instruction: str) -> None:
        self._session.notice = f"asked for: {instruction}"
        if not self._instruct.service_is_ready():
            # A graph without an instruction keeper: its nodes hear the topic themselves.
            self._instructions.publish(String(data=instruction))
            return
        request = Instruct.Request(instruction=instruction, asked_by=DEVICE, asked=self.get_clock().now().to_msg())
        self._instruct.call_async(request).add_done_callback(self._on_instruct_answer)

    def _on_instruct_answer(self, future: Future) -> None:
        answer = future.result()
        if answer is None:
            self._session.notice = "new instruction: no answer"
        elif not answer.accepted:
            self._session.notice = f"refused: {answer.message}"

    def _call(self, request: Request) -> None:
        client = self._requests[request]
        if not client.service_is_ready():
            self._session.notice = f"cannot {request.value}: NO CONTROLLER is there"
            return
        self._session.notice = f"{request.value} ..."
        client.call_async(Trigger.Request()).add_done_callback(lambda future: self._on_answer(request, future))

    def _on_answer(self, request: Request, future: Future) -> None:
        answer = future.result()
        if answer is None:
            self._session.notice = f"{request.value}: no answer"
        else:
            self._session.notice = answer.message if answer.success else f"refused: {answer.message}"

    def _draw(self, now_s: float) -> None:
        width = self._terminal.width - 1
        if self._session.help_due:
            self._session.help_due = False
            self._terminal.print_lines(help_lines(width))
            self._shown = []
        status = None
        if self._controller is not None and now_s - self._controller[1] <= self._node_parameters.config.state_timeout_s:
            message = self._controller[0]
            status = Status(
                phase=PHASE_NAMES[message.phase] if message.phase < len(PHASE_NAMES) else f"phase {message.phase}",
                reason=message.reason,
                instruction=message.instruction,
                frame_age_ms=message.frame_age_ms,
                gripper_target=self._gripper_target,
            )
        lines = status_lines(status, self._session.typed, self._session.notice, width)
        if lines != self._shown:
            self._terminal.show_lines(lines)
            self._shown = lines


def main() -> int:
    """Entry point of `ros2 run magma_teleop keyboard_teleop`."""
    return run_node(KeyboardTeleop)


if __name__ == "__main__":
    sys.exit(main())
