"""What the grippers that are told by an action have in common: the answers are looked at."""

from __future__ import annotations

import abc
import math
import time
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient

from magma_control.drivers.base import GripperDriver

RETRY_S = 0.5
"""A wish that was not taken is repeated this often."""


class ActionGripper(GripperDriver, abc.ABC):
    """Sends a goal per change of opening; a new goal replaces the one before.

    A goal that is rejected, or given up although nothing stood in the way, leaves the wish: it is told, and sent again.
    What becomes of one that is carried out shows in the measured opening; fingers that stall hold something.
    """

    def __init__(self, client: ActionClient, name: str) -> None:
        """
        Args:
            client: of the action; closed with the driver.
            name: of the action, for texts.
        """
        super().__init__()
        self._name = name
        self._client = client
        self._release_by(self._client.destroy)
        self._goals = 0
        self._not_before_s = 0.0
        self._told_s = -math.inf

    @abc.abstractmethod
    def _goal(self, opening: float) -> Any:
        """The goal for an opening 0 closed ... 1 open."""

    def _send(self, opening: float) -> bool:
        if time.monotonic() < self._not_before_s:
            return False
        if not self._client.server_is_ready():
            self._tell("is not there: is its controller running?")
            return False
        self._goals += 1
        goal = self._goals
        self._client.send_goal_async(self._goal(opening)).add_done_callback(partial(self._on_answer, goal))
        return True

    def _on_answer(self, goal: int, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._again(goal, "rejected a goal; its log says why")
        else:
            handle.get_result_async().add_done_callback(partial(self._on_result, goal))

    def _on_result(self, goal: int, future: Any) -> None:
        answer = future.result()
        if answer is None or answer.status != GoalStatus.STATUS_ABORTED:
            return
        if not (answer.result.stalled or answer.result.reached_goal):
            self._again(goal, "gave up a goal; its log says why")

    def _again(self, goal: int, why: str) -> None:
        """The newest wish was not taken: it will be sent once more."""
        if goal == self._goals:
            self._not_before_s = time.monotonic() + RETRY_S
            self._tell(why)
            self.forget()

    def _tell(self, why: str) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= RETRY_S:
            self._told_s = now_s
            self.trouble = f"the gripper's action {self._name} {why} (the wish is repeated)"
