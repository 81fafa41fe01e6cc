"""ros2_control's joint_trajectory_controller by its action, for arms that offer nothing else.

An action per control period would be more bookkeeping than motion, so periods are collected into goals of a tenth of a
second; the arm is behind by as much. Each goal ends with the brake, as in `joint_trajectory`. That a goal is aborted
because the next one came is how it should be; a goal that is rejected, or aborted because the arm did not follow, is
trouble. Somebody else's goals stand in the action's status, where no result that is late can hide them; and if the
newest goal ends without success all the same, it was not by us either.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from action_msgs.msg import GoalStatus, GoalStatusArray
from rclpy.action import ActionClient
from rclpy.node import Node
from unique_identifier_msgs.msg import UUID

from magma_common import qos
from magma_control.drivers.base import ArmDriver, messages
from magma_control.drivers.joint_trajectory import trajectory
from magma_control.motion.arm_motion import ArmCommand
from magma_control.robots.robot_config import RobotConfig

DEFAULT_ACTION = "joint_trajectory_controller/follow_joint_trajectory"
GOAL_S = 0.1
ENDED = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED)
CANCELLED = (GoalStatus.STATUS_CANCELING, GoalStatus.STATUS_CANCELED)


class GoalWatch:
    """Tells from an action's status what others do to it: goals that are not ours, and ours that others cancel.

    A server lists every goal that it has accepted for some time after the goal's end, so that nothing is missed when
    statuses are lost or come late. Our goals are known by their ids: eight random bytes, then their number.
    """

    def __init__(self) -> None:
        self._mark = uuid.uuid4().bytes[:8]
        self._foreign: set[bytes] | None = None
        self._cancelled = 0

    def id_of(self, goal: int) -> UUID:
        """The id of our goal with that number, 1 ..."""
        return UUID(uuid=list(self._mark + goal.to_bytes(8, "big")))

    def look(self, statuses: GoalStatusArray) -> str | None:
        """What somebody else has done since the last look, in words; None if nothing."""
        listed = [(bytes(entry.goal_info.goal_id.uuid), entry.status) for entry in statuses.status_list]
        foreign = {goal for goal, _ in listed if not goal.startswith(self._mark)}
        if self._foreign is None:
            # What had ended before we came is nobody's business.
            new = {goal for goal, status in listed if goal in foreign and status not in ENDED}
        else:
            new = foreign - self._foreign
        self._foreign = foreign
        cancelled = max((self._number(goal) for goal, status in listed if status in CANCELLED), default=0)
        again, self._cancelled = cancelled > self._cancelled, max(cancelled, self._cancelled)
        if new:
            return f"somebody else gave the arm a trajectory (goal {min(new).hex()})"
        return "a trajectory of ours was cancelled by somebody else" if again else None

    def _number(self, goal: bytes) -> int:
        return int.from_bytes(goal[8:], "big") if goal.startswith(self._mark) else 0


class FollowJointTrajectoryDriver(ArmDriver):
    """Sends a control_msgs/FollowJointTrajectory goal every tenth of a second; a new goal replaces the old one."""

    def __init__(self, node: Node, robot: RobotConfig) -> None:
        super().__init__()
        self._action = messages("control_msgs.action", "control_msgs").FollowJointTrajectory
        self._names = list(robot.joints.names)
        name = robot.driver.name or DEFAULT_ACTION
        self._client = ActionClient(node, self._action, name)
        self._release_by(self._client.destroy)
        self._watch = GoalWatch()
        subscription = node.create_subscription(
            GoalStatusArray, f"{name}/_action/status", self._on_status, qos.ACTION_STATUS
        )
        self._release_by(lambda: node.destroy_subscription(subscription))
        self._collected: list[ArmCommand] = []
        self._rested = False
        self._goals = 0

    def _send(self, command: ArmCommand) -> None:
        resting = not (command.velocity.any() or command.acceleration.any())
        if resting and self._rested and not self._collected:
            return
        self._collected.append(command)
        if not resting and len(self._collected) * command.period_s < GOAL_S - 1e-9:
            return
        if self._client.server_is_ready():
            goal = self._action.Goal(trajectory=trajectory(self._names, self._collected))
            self._goals += 1
            sent = self._client.send_goal_async(goal, goal_uuid=self._watch.id_of(self._goals))
            sent.add_done_callback(partial(self._on_answer, self._goals))
            self._rested = resting
        self._collected = []

    def _start_anew(self) -> None:
        self._collected, self._rested = [], False

    def _on_answer(self, goal: int, future: Any) -> None:
        handle = future.result()
        if handle.accepted:
            handle.get_result_async().add_done_callback(partial(self._on_result, goal))
        else:
            self.trouble = "the arm's controller rejected a trajectory; its log says why"

    def _on_result(self, goal: int, future: Any) -> None:
        status, result, codes = future.result().status, future.result().result, self._action.Result
        if result.error_code in (codes.PATH_TOLERANCE_VIOLATED, codes.GOAL_TOLERANCE_VIOLATED):
            self.trouble = f"the arm's controller gave up a trajectory: {result.error_string}"
        elif status != GoalStatus.STATUS_SUCCEEDED and goal == self._goals:
            self.overruled = f"the newest trajectory was replaced or cancelled by somebody else: {result.error_string}"

    def _on_status(self, statuses: GoalStatusArray) -> None:
        self.overruled = self._watch.look(statuses) or self.overruled

    def _brake(self, last: ArmCommand) -> None:
        """Nothing to send: the arm has the brake already."""
