"""Node task_server: the action magma/execute_task, in simulation."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from magma_interfaces.action import ExecuteTask
from magma_interfaces.msg import EpisodeStatus, Instruction
from magma_interfaces.srv import Instruct
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from magma_bringup.episodes.task_progress import Ending, TaskProgress
from magma_common.instruction_topics import ASK_SERVICE, IN_FORCE_TOPIC
from magma_common.process.node_main import run_node
from magma_common.qos import STATE
from magma_common.settings.config import NodeConfig, parameter
from magma_common.settings.node_config import NodeParameters

POLL_S = 0.2
STATUS_TOPIC = "magma/episode_status"


@dataclass(frozen=True)
class TaskServerConfig(NodeConfig):
    """Parameters of the node."""

    hold_steps: int = parameter(3, "A task is done when its goal held after so many steps in a row.", minimum=1)
    step_timeout_s: float = parameter(30.0, "Give a task up when no step comes for so long, seconds.", minimum=0.1)


class TaskServer(Node):
    """Asks for the instruction, watches the simulated world, and takes the instruction away at the end.

    One task at a time: a second goal is rejected. All in one thread: a task is a coroutine that each message wakes.
    """

    def __init__(self) -> None:
        super().__init__("task_server", automatically_declare_parameters_from_overrides=True)
        self._node_parameters = NodeParameters(self, TaskServerConfig)
        self._status: EpisodeStatus | None = None
        self._in_force = Instruction()
        self._busy = False
        self._news: Future = Future()
        self._instruct = self.create_client(Instruct, ASK_SERVICE)
        self.create_subscription(EpisodeStatus, STATUS_TOPIC, self._on_status, STATE)
        self.create_subscription(Instruction, IN_FORCE_TOPIC, self._on_instruction, STATE)
        # Silence is news too.
        self.create_timer(POLL_S, self._wake)
        self._server = ActionServer(
            self,
            ExecuteTask,
            "magma/execute_task",
            self._execute,
            goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def _on_status(self, status: EpisodeStatus) -> None:
        self._status = status
        self._wake()

    def _on_instruction(self, message: Instruction) -> None:
        self._in_force = message
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, Future()
        news.set_result(None)

    def _on_goal(self, goal: ExecuteTask.Goal) -> GoalResponse:
        why = None
        if self._busy:
            why = "a task is being carried out"
        elif self._status is None:
            why = f"there is no simulator ({self.resolve_topic_name(STATUS_TOPIC)})"
        elif not self._instruct.service_is_ready():
            why = f"there is no instruction keeper ({self.resolve_service_name(ASK_SERVICE)})"
        if why is not None:
            self.get_logger().warning(f"task {goal.instruction!r} rejected: {why}")
            return GoalResponse.REJECT
        self._busy = True
        return GoalResponse.ACCEPT

    async def _execute(self, goal: ServerGoalHandle) -> ExecuteTask.Result:
        try:
            ending = await self._carry_out(goal)
        finally:
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
        status = self._status
        if status is None:
            return Ending(False, 0, "there is no simulator")
        answer = await self._ask_for(goal.request.instruction or status.instruction)
        if not answer.accepted:
            return Ending(False, 0, f"the instruction is not in force: {answer.message}")
        try:
            return await self._watch(goal, status, int(answer.number))
        finally:
            # However it ended, nobody acts for it any more. An instruction that somebody gave since then stays.
            await self._ask_for("", replaces=int(answer.number))

    async def _ask_for(self, instruction: str, replaces: int = 0) -> Instruct.Response:
        request = Instruct.Request(instruction=instruction, asked_by=self.get_name(), replaces=replaces)
        request.asked = self.get_clock().now().to_msg()
        future = self._instruct.call_async(request)
        patience_s = self._node_parameters.config.step_timeout_s
        deadline_s = time.monotonic() + patience_s
        while not future.done():
            if time.monotonic() > deadline_s:
                self._instruct.remove_pending_request(future)
                name = self.resolve_service_name(ASK_SERVICE)
                return Instruct.Response(message=f"no answer of {name} for {patience_s:g} s")
            await self._news
        return future.result()

    async def _watch(self, goal: ServerGoalHandle, status: EpisodeStatus, given: int) -> Ending:
        """Until the task ends; `given` is the number of its instruction."""
        config = self._node_parameters.config
        max_steps = int(goal.request.max_steps or status.max_steps)
        progress = TaskProgress(int(status.step), max_steps, config.hold_steps, config.step_timeout_s, time.monotonic())
        reached = False
        while True:
            await self._news
            status = self._status or status
            if goal.is_cancel_requested:
                return Ending(False, progress.steps, "cancelled")
            number = int(self._in_force.number)
            reached = reached or number == given
            # A keeper that was started again counts from the beginning.
            if number > given or (reached and number < given):
                who, what = self._in_force.asked_by, self._in_force.instruction
                return Ending(False, progress.steps, f"another instruction was given: {what!r}, by {who}")
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
