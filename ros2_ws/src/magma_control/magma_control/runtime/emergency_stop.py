"""The way of an emergency stop into the controller: no other input can hold it up.

A node and a thread of its own hear the buttons and the services. What they hear goes into a list that needs no lock;
whoever works with the core next takes it from there before anything else. So neither a callback that takes long nor a
flood on another topic stands between a press and the brake.

Each arm has a button and a service of its own, in its namespace; and every controller hears the button and the service
that lie in no namespace, which stop all arms of the graph. A controller in no namespace has these as its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from magma_common import qos
from magma_common.foreign_subscription import ANYTHING, ForeignSubscription
from magma_common.process.node_beside import node_beside

NAME_ENDING = "_emergency_stop"
BUTTON, SHARED_BUTTON = "magma/estop_button", "/magma/estop_button"
SERVICE, SHARED_SERVICE = "magma/estop", "/magma/estop"
REARM = "magma/rearm"
"""Nobody but the arm's own operator knows that it may move again: there is no shared one."""
_MOST_BYTES = 64


@dataclass(frozen=True)
class StopInput:
    """What a button says (`pressed`), or a call of a service (`pressed` is None)."""

    pressed: bool | None
    name: str = SHARED_SERVICE
    """of the topic or service in the graph"""
    shared: bool = False
    """whether it is there for all arms, and not for this one alone"""


class StopInputs:
    """What was heard and not taken yet. Any thread may call anything; nobody waits."""

    def __init__(self) -> None:
        self._heard: deque[StopInput] = deque()
        self._stops = 0
        self._stops_taken = 0

    def add(self, heard: StopInput) -> None:
        """Takes what was heard."""
        if heard.pressed is not False:
            self._stops += 1
        self._heard.append(heard)

    def take(self) -> StopInput | None:
        """The oldest that was not taken, or None. Only one thread at a time may take."""
        try:
            heard = self._heard.popleft()
        except IndexError:
            return None
        if heard.pressed is not False:
            self._stops_taken += 1
        return heard

    @property
    def stop_waits(self) -> bool:
        """Whether a stop was heard that the core does not know of yet: nothing may be sent to the arm."""
        return self._stops != self._stops_taken


class EmergencyStopLine:
    """Hears `magma/estop_button`, from publishers of every quality of service, and serves `magma/estop`: those of its
    namespace, and those of none."""

    def __init__(self, beside: Node, inputs: StopInputs, on_input: Callable[[bool], None]) -> None:
        """
        Args:
            beside: the controller's node: whose name, namespace and context it shares.
            inputs: where it puts what it hears.
            on_input: called from its thread after each input; whether that was a stop.
        """
        self._inputs = inputs
        self._on_input = on_input
        self._node = node_beside(beside, NAME_ENDING)
        self._rearm = self._node.resolve_service_name(REARM)
        for button, shared in self._each(BUTTON, SHARED_BUTTON, self._node.resolve_topic_name):
            ForeignSubscription(
                self._node,
                Bool,
                button,
                partial(self._on_button, self._node.resolve_topic_name(button), shared),
                qos.SAFETY_INPUT,
                best=qos.STATE,
                always=(ANYTHING,),
                most_bytes=_MOST_BYTES,
            )
        for service, shared in self._each(SERVICE, SHARED_SERVICE, self._node.resolve_service_name):
            called = partial(self._on_service, self._node.resolve_service_name(service), shared)
            self._node.create_service(Trigger, service, called)
        self._executor = SingleThreadedExecutor(context=beside.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._run, name="emergency stop", daemon=True)
        self._thread.start()

    @staticmethod
    def _each(own: str, shared: str, resolve: Callable[[str], str]) -> list[tuple[str, bool]]:
        """The names to hear, and which of them is shared; both are one in no namespace."""
        return [(own, False), (shared, True)] if resolve(own) != resolve(shared) else [(own, False)]

    def close(self) -> None:
        """Hears no more."""
        self._executor.shutdown(2.0)
        if self._thread is not threading.current_thread():
            self._thread.join(2.0)
        self._node.destroy_node()

    def _run(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _on_button(self, name: str, shared: bool, message: Bool) -> None:
        pressed = bool(message.data)
        self._inputs.add(StopInput(pressed, name, shared))
        self._on_input(pressed)

    def _on_service(self, name: str, shared: bool, request: Any, response: Any) -> Any:
        self._inputs.add(StopInput(None, name, shared))
        self._on_input(True)
        response.success = True
        response.message = f"stopped; re-arm with {self._rearm}"
        return response
