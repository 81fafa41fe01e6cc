"""Node task_server: the action /magma/execute_task, in simulation."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from magma_interfaces.action import ExecuteTask
from magma_interfaces.msg import EpisodeStatus
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String

from magma_bringup.task_progress import Ending, TaskProgress
from magma_common.config import NodeConfig, parameter
from magma_common.node_config import NodeParameters
from magma_common.node_main import run_node
from magma_common.qos import STATE

POLL_S = 0.2


@dataclass(frozen=True)
class TaskServerConfig(NodeConfig):
    """Parameters of the node."""

    hold_steps: int = parameter(3, "A task is done when its goal held after so many steps in a row.", minimum=1)
    step_timeout_s: float = parameter(30.0, "Give a task up when no step comes for so long, seconds.", minimum=0.1)


class TaskServer(Node):
    """Gives the instruction, watches the simulated world, and takes the instruction away at the end.

    One task at a time: a second goal is rejected. All in one thread: a task is a coroutine that each message wakes.
    """

    def __init__(self) -> None:
        super().__init__("task_server", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, TaskServerConfig)
        self._status: EpisodeStatus | None = None
        self._instruction = ""
        self._busy = False
        self._news: Future = Future()
        self._publisher = self.create_publisher(String, "/magma/instruction", STATE)
        self.create_subscription(EpisodeStatus, "/magma/episode_status", self._on_status, STATE)
        self.create_subscription(String, "/magma/instruction", self._on_instruction, STATE)
        # Silence is news too.
        self.create_timer(POLL_S, self._wake)
        self._server = ActionServer(
            self,
            ExecuteTask,
            "/magma/execute_task",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def _on_status(self, status: EpisodeStatus) -> None:
        self._status = status
        self._wake()

    def _on_instruction(self, message: String) -> None:
        self._instruction = message.data
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, Future()
        news.set_result(None)

    def _on_goal(self, goal: ExecuteTask.Goal) -> GoalResponse:
        if self._busy or self._status is None:
            why = "a task is being carried out" if self._busy else "there is no simulator (/magma/episode_status)"
            self.get_logger().warning(f"task {goal.instruction!r} rejected: {why}")
            return GoalResponse.REJECT
        self._busy = True
        return GoalResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> ExecuteTask.Result:
        try:
            ending = await self._carry_out(goal)
        finally:
            # Nobody acts any more, however it ended.
            self._publisher.publish(String(data=""))
            self._busy = False
        self.get_logger().info(f"task ended: {ending.reason}")
        if goal.is_cancel_requested:
            goal.canceled()
        elif ending.success:
            goal.succeed()
        else:
            goal.abort()
        return ExecuteTask.Result(success=ending.success, steps=ending.steps, reason=ending.reason)

    async def _carry_out(self, goal: ServerGoalHandle) -> Ending:
        config, status = self._node_parameters.config, self._status
        if status is None:
            return Ending(False, 0, "there is no simulator")
        instruction = goal.request.instruction or status.instruction
        max_steps = int(goal.request.max_steps or status.max_steps)
        progress = TaskProgress(int(status.step), max_steps, config.hold_steps, config.step_timeout_s, time.monotonic())
        self._publisher.publish(String(data=instruction))
        heard = False
        while True:
            await self._news
            status = self._status or status
            if goal.is_cancel_requested:
                return Ending(False, progress.steps, "cancelled")
            heard = heard or self._instruction == instruction
            if heard and self._instruction != instruction:
                return Ending(False, progress.steps, f"another instruction was given: {self._instruction!r}")
            before = progress.steps
            ending = progress.saw(int(status.step), bool(status.success), bool(status.done), time.monotonic())
            ending = ending or progress.silent(time.monotonic())
            if progress.steps != before:
                goal.publish_feedback(ExecuteTask.Feedback(step=progress.steps, success=progress.holds))
            if ending is not None:
                return ending


def main() -> int:
    """Entry point."""
    return run_node(TaskServer)


if __name__ == "__main__":
    sys.exit(main())
