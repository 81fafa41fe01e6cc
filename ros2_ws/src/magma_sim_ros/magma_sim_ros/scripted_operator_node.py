"""Node scripted_operator: corrects the policy in the simulated world by the topics that a person's device uses."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from magma_interfaces.msg import ControllerState, EndEffectorDelta, EpisodeStatus, TeleopStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from magma_common.conversions import delta_from_msg, delta_to_msg, stamp_to_ns
from magma_common.instruction_topics import InstructionListener
from magma_common.process.node_main import run_node
from magma_common.qos import COMMAND, FRAME, ROBOT_STATE, STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters
from magma_common.transforms.frames import FRAME_PREFIX_HELP, FRAME_PREFIX_OF_NAMESPACE, frame_prefix
from magma_sim_ros.matched_world import MatchedWorld
from magma_sim_ros.scripted_operator import OperatorRules, ScriptedOperator
from magma_sim_ros.scripted_policies import CannotActError, make_policy
from magma_sim_ros.world_subscriptions import BASE_FRAME, WorldSubscriptions

DEVICE = "scripted operator"
STATUS_PERIOD_S = 0.1
DEFAULTS = OperatorRules()


@dataclass(frozen=True)
class ScriptedOperatorConfig(NodeConfig):
    """Parameters of the node; `OperatorRules` says what they mean."""

    frame_prefix: str = parameter(FRAME_PREFIX_OF_NAMESPACE, FRAME_PREFIX_HELP, read_only=True)
    tolerated_m: float = parameter(DEFAULTS.tolerated_m, "A larger difference is a mistake.", minimum=0.0)
    patience_steps: int = parameter(DEFAULTS.patience_steps, "Mistakes in a row before a take-over.", minimum=1)
    late_after_steps: int = parameter(DEFAULTS.late_after_steps, "Not done by then: takes over.", minimum=1)
    correction_steps: int = parameter(DEFAULTS.correction_steps, "Steps of a correction.", minimum=1)


class ScriptedOperatorNode(Node):
    """Publishes teleop/command while it corrects, and hands the arm back when it has."""

    def __init__(self) -> None:
        super().__init__("scripted_operator", automatically_declare_parameters_from_overrides=True)
        config = NodeParameters(self, ScriptedOperatorConfig).config
        rules = OperatorRules(
            config.tolerated_m, config.patience_steps, config.late_after_steps, config.correction_steps
        )
        self._operator = ScriptedOperator(make_policy("expert"), rules)
        self._world = MatchedWorld()
        self._in_charge = False
        self._trouble = ""
        self._commands = self.create_publisher(EndEffectorDelta, "teleop/command", COMMAND)
        self._statuses = self.create_publisher(TeleopStatus, "teleop/status", ROBOT_STATE)
        self._heartbeats = self.create_publisher(Header, "magma/teleop_heartbeat", ROBOT_STATE)
        self._hand_back = self.create_client(Trigger, "magma/hand_back")
        InstructionListener(self, self._on_instruction)
        prefix = frame_prefix(config.frame_prefix, self.get_namespace())
        self._parts = WorldSubscriptions(self, self._world, self._act, prefix)
        self.create_subscription(Image, "magma/frame", self._on_frame, FRAME)
        self.create_subscription(EndEffectorDelta, "magma/command", self._on_command, COMMAND)
        self.create_subscription(EpisodeStatus, "magma/episode_status", self._on_progress, STATE)
        self.create_subscription(ControllerState, "magma/controller_state", self._on_controller, STATE)
        self.create_timer(STATUS_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_instruction(self, instruction: str) -> None:
        self._operator.begin(instruction.strip())
        self._trouble = ""
        self._give_back()

    def _on_progress(self, message: EpisodeStatus) -> None:
        self._operator.on_progress(int(message.step), bool(message.success))

    def _on_command(self, message: EndEffectorDelta) -> None:
        command = delta_from_msg(message)
        if command.source != DEVICE:
            self._operator.on_policy_command(command.stamp_ns, command.delta)

    def _on_controller(self, message: ControllerState) -> None:
        self._in_charge = message.phase == ControllerState.TELEOP
        self._give_back()

    def _on_frame(self, message: Image) -> None:
        self._world.add_frame(stamp_to_ns(message.header.stamp))
        self._act()

    def _act(self) -> None:
        instant = self._world.take()
        if instant is None:
            return
        try:
            delta = self._operator.act(*instant)
            self._trouble = ""
        except CannotActError as error:
            delta, self._trouble = None, str(error)
        if delta is None:
            self._give_back()
            return
        now_ns = self.get_clock().now().nanoseconds
        self._commands.publish(delta_to_msg(delta, now_ns, BASE_FRAME, DEVICE))

    def _give_back(self) -> None:
        """Asks until the controller reports another phase: an answer may be lost, and asking twice does no harm."""
        if self._in_charge and not self._operator.engaged and self._hand_back.service_is_ready():
            self._hand_back.call_async(Trigger.Request())

    def _report(self) -> None:
        engaged = self._operator.engaged
        text = self._trouble or ("correcting the policy" if engaged else "watching the policy")
        message = TeleopStatus(device=DEVICE, connected=True, engaged=engaged, text=text)
        message.header.stamp = self.get_clock().now().to_msg()
        self._statuses.publish(message)
        self._heartbeats.publish(Header(stamp=message.header.stamp, frame_id=DEVICE))


def main() -> int:
    """Entry point."""
    return run_node(ScriptedOperatorNode)


if __name__ == "__main__":
    sys.exit(main())
