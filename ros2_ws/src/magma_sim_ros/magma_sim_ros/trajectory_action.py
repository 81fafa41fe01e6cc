"""The action control_msgs/FollowJointTrajectory of a simulated joint_trajectory_controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future
from trajectory_msgs.msg import JointTrajectoryPoint

from magma_sim_ros.trajectory_following import TrajectoryFollower
from magma_sim_ros.trajectory_goal import Code, FloatArray, Verdict, judge, tolerances_of_goal

ACTION = "joint_trajectory_controller/follow_joint_trajectory"
FEEDBACK_EVERY = 5
"""Ticks: 20 Hz, that controller's `action_monitor_rate`."""
RESULT_KEPT_S = 10.0
"""For whoever asks late; a client that sends a goal ten times a second leaves many."""
CANCELED = Verdict(Code.SUCCESSFUL, "canceled")


class _Goal:
    """The goal that the arm follows."""

    def __init__(self, handle: Any, names: list[str]) -> None:
        self.handle = handle
        self.ended = Future()
        request = handle.request
        time = request.goal_time_tolerance
        self.tolerances = tolerances_of_goal(
            names, request.path_tolerance, request.goal_tolerance, time.sec + time.nanosec * 1e-9
        )


class TrajectoryAction:
    """One goal at a time: a new one takes over. All methods belong to the executor's thread."""

    def __init__(
        self,
        node: Node,
        names: list[str],
        refusal: Callable[[Any], str | None],
        take: Callable[[Any], object],
        hold: Callable[[], None],
    ) -> None:
        """
        Args:
            names: joints of the arm.
            refusal: why a trajectory_msgs/JointTrajectory cannot be followed, or None.
            take: follows it from now on.
            hold: stays where the arm is.
        """
        self._node = node
        self._names = names
        self._refusal, self._take, self._hold = refusal, take, hold
        self._goal: _Goal | None = None
        self._accepted: dict[bytes, _Goal] = {}
        self._ticks = 0
        self._server = ActionServer(
            node,
            FollowJointTrajectory,
            ACTION,
            self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            result_timeout=RESULT_KEPT_S,
        )

    def tick(self, follower: TrajectoryFollower, now_s: float, positions: FloatArray, velocities: FloatArray) -> None:
        """Looks at the arm after one period of its controller.

        Args:
            now_s: the follower's time; positions, velocities: (n,) as measured.
        """
        goal = self._goal
        if goal is None:
            return
        if goal.handle.is_cancel_requested:
            self._hold()
            self._end(CANCELED)
            return
        desired, speed = follower.at(now_s)
        self._ticks += 1
        if self._ticks % FEEDBACK_EVERY == 0:
            goal.handle.publish_feedback(self._feedback(desired, speed, positions, velocities))
        verdict = judge(goal.tolerances, now_s - follower.end_s, desired - positions, speed - velocities)
        if verdict is None:
            return
        if verdict.code is not Code.SUCCESSFUL:
            self._node.get_logger().warning(verdict.text)
            self._hold()
        self._end(verdict)

    def abandon(self, why: str) -> None:
        """The goal cannot be followed any more."""
        if self._goal is not None:
            self._end(Verdict(Code.INVALID_GOAL, why))

    def _on_goal(self, request: Any) -> GoalResponse:
        refusal = self._refusal(request.trajectory)
        if refusal is not None:
            self._node.get_logger().error(f"goal rejected: {refusal}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        self.abandon("Current goal preempted by new incoming action.")
        try:
            goal = _Goal(handle, self._names)
        except ValueError as error:
            # As that controller does: the arm moves, and the goal's own tolerances do not count.
            self._node.get_logger().error(f"{error}; using default tolerances")
            handle.request.path_tolerance, handle.request.goal_tolerance = [], []
            handle.request.goal_time_tolerance.sec = handle.request.goal_time_tolerance.nanosec = 0
            goal = _Goal(handle, self._names)
        self._goal = self._accepted[bytes(handle.goal_id.uuid)] = goal
        self._take(handle.request.trajectory)
        handle.execute()

    async def _execute(self, handle: Any) -> FollowJointTrajectory.Result:
        """Waits for the end, which `tick` finds."""
        goal = self._accepted.pop(bytes(handle.goal_id.uuid))
        verdict: Verdict = await goal.ended
        if verdict is CANCELED:
            handle.canceled()
        elif verdict.code is Code.SUCCESSFUL:
            handle.succeed()
        else:
            handle.abort()
        return FollowJointTrajectory.Result(error_code=int(verdict.code), error_string=verdict.text)

    def _end(self, verdict: Verdict) -> None:
        goal, self._goal = self._goal, None
        if goal is not None:
            goal.ended.set_result(verdict)

    def _feedback(
        self, desired: FloatArray, speed: FloatArray, positions: FloatArray, velocities: FloatArray
    ) -> FollowJointTrajectory.Feedback:
        feedback = FollowJointTrajectory.Feedback(joint_names=self._names)
        feedback.header.stamp = self._node.get_clock().now().to_msg()
        feedback.desired = _point(desired, speed)
        feedback.actual = _point(positions, velocities)
        feedback.error = _point(desired - positions, speed - velocities)
        return feedback


def _point(positions: FloatArray, velocities: FloatArray) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(positions=np.asarray(positions).tolist(), velocities=np.asarray(velocities).tolist())
