"""The way from the pages to the controller: what operators ask for, and the state that answers them.

A node and a thread of its own: neither pictures nor the page framework stand between a press and the controller.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any

from magma_interfaces.msg import ControllerState, EndEffectorDelta, EndEffectorState, TeleopStatus
from magma_interfaces.srv import Instruct
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.conversions import delta_to_msg, ns_to_stamp
from magma_common.foreign_subscription import ForeignSubscription
from magma_common.instruction_topics import ASK_SERVICE
from magma_common.message_sizes import SMALL, TEXT
from magma_common.process.node_beside import node_beside
from magma_teleop.operator_device import DeviceStatus, FloatArray

NAME_ENDING = "_operator"
ESTOP, REARM, HAND_BACK = "magma/estop", "magma/rearm", "magma/hand_back"
Answer = Callable[[bool, str], None]
"""Told whether it was done, and a sentence; called from any thread."""


class RobotLink:
    """Publishes commands and heartbeats, calls the controller's services. Any thread may call anything."""

    def __init__(
        self,
        beside: Node,
        base_frame: str,
        on_controller: Callable[[ControllerState], None],
        on_pose: Callable[[EndEffectorState], None],
    ) -> None:
        """
        Args:
            beside: the console's node, whose name, namespace and context it shares.
            on_controller, on_pose: called from this link's thread.
        """
        self._node = node_beside(beside, NAME_ENDING)
        self._base_frame = base_frame
        node = self._node
        self._commands = node.create_publisher(EndEffectorDelta, "teleop/command", qos.COMMAND)
        self._statuses = node.create_publisher(TeleopStatus, "teleop/status", qos.ROBOT_STATE)
        self._heartbeats = node.create_publisher(Header, "magma/teleop_heartbeat", qos.ROBOT_STATE)
        self._clients: dict[str, Client] = {
            service: node.create_client(Trigger, service) for service in (ESTOP, REARM, HAND_BACK)
        }
        self._instruct = node.create_client(Instruct, ASK_SERVICE)
        state = "magma/controller_state"
        ForeignSubscription(node, ControllerState, state, on_controller, qos.STATE, most_bytes=TEXT)

        def pose(message: EndEffectorState) -> None:
            if math.isfinite(message.gripper_target):  # an opening that nobody knows is not to be repeated
                on_pose(message)

        arm = "magma/end_effector_state"
        ForeignSubscription(node, EndEffectorState, arm, pose, qos.ROBOT_STATE, most_bytes=SMALL)
        self._executor = SingleThreadedExecutor(context=beside.context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hears and says no more."""
        self._executor.shutdown(2.0)
        self._thread.join(2.0)
        self._node.destroy_node()

    def _run(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def now_ns(self) -> int:
        """ROS time."""
        return int(self._node.get_clock().now().nanoseconds)

    def command(self, delta: FloatArray, stamp_ns: int, identity: str) -> None:
        """Asks for a motion (7,); the controller judges it."""
        self._commands.publish(delta_to_msg(delta, stamp_ns, self._base_frame, identity))

    def beat(self, identity: str, status: DeviceStatus) -> None:
        """An operator's sign of life, and what that operator is doing."""
        stamp = ns_to_stamp(self.now_ns())
        message = TeleopStatus(
            device=identity, connected=status.connected, engaged=status.engaged, text=status.text[:200]
        )
        message.header.stamp = stamp
        self._statuses.publish(message)
        if status.connected:
            heartbeat = Header(frame_id=identity)
            heartbeat.stamp = stamp
            self._heartbeats.publish(heartbeat)

    def ask(self, service: str, answer: Answer) -> None:
        """Calls one of ESTOP, REARM, HAND_BACK."""
        client = self._clients[service]
        if not client.service_is_ready():
            answer(False, f"NO CONTROLLER is there: {client.srv_name} is not served")
            return

        def done(future: Future) -> None:
            result = future.result()
            answer(result is not None and result.success, result.message if result is not None else "no answer")

        client.call_async(Trigger.Request()).add_done_callback(done)

    def instruct(self, text: str, asked_by: str, answer: Answer) -> None:
        """Asks the instruction keeper."""
        if not self._instruct.service_is_ready():
            answer(False, "no instruction keeper is there: start it with robot.launch.py")
            return

        def done(future: Future) -> None:
            result: Any = future.result()
            answer(result is not None and result.accepted, result.message if result is not None else "no answer")

        request = Instruct.Request(instruction=text, asked_by=asked_by, asked=ns_to_stamp(self.now_ns()))
        self._instruct.call_async(request).add_done_callback(done)
