"""What the controller's parameters are now, such as its limits: they may be changed while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

PERIOD_S = 5.0
WORKSPACE = ("workspace_min_m", "workspace_max_m")


class ControllerParameters:
    """Asks for them again and again."""

    def __init__(self, node: Node, names: Sequence[str], told: Callable[[dict[str, ParameterValue]], None]) -> None:
        """Begins to ask every PERIOD_S.

        Args:
            told: called with all of them, by name, on the node's executor.
        """
        self._names = list(names)
        self._told = told
        self._client = node.create_client(GetParameters, "controller/get_parameters")
        self._asked = False
        node.create_timer(PERIOD_S, self._ask, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def ask_first(self) -> None:
        """Asks without waiting for the period, if that was not done yet and the controller is there."""
        if not self._asked:
            self._ask()

    def _ask(self) -> None:
        if self._client.service_is_ready():
            self._asked = True
            self._client.call_async(GetParameters.Request(names=self._names)).add_done_callback(self._on_answer)

    def _on_answer(self, future: Future) -> None:
        answer = future.result()
        if answer is not None and len(answer.values) == len(self._names):
            self._told(dict(zip(self._names, answer.values, strict=True)))


def workspace_of(values: Mapping[str, ParameterValue]) -> tuple[np.ndarray, np.ndarray] | None:
    """The lower and upper corner (3,) of the workspace box, metres, base frame; None if the parameters say none."""
    low, high = (np.array(values[name].double_array_value, dtype=np.float64) for name in WORKSPACE)
    return (low, high) if low.shape == high.shape == (3,) else None
