"""Node simulator, with an arm that speaks ros2_control's topics instead of magma/command.

The same worlds, the same camera; but the arm knows joints only: joint_states out, a joint_trajectory_controller and a
gripper_action_controller in. It moves exactly as it is told by them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from control_msgs.action import GripperCommand
from rclpy.action import ActionServer
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from magma_common.conversions import ns_to_stamp, stamp_to_ns
from magma_common.process.node_main import end_process, run_node
from magma_common.qos import JOINT_COMMAND
from magma_contracts.actions import EndEffectorDelta
from magma_sim_ros.simulator_node import Simulator
from magma_sim_ros.trajectory_action import TrajectoryAction
from magma_sim_ros.trajectory_following import TrajectoryFollower

if TYPE_CHECKING:
    from magma_sim import Task
    from magma_sim.backends.tabletop.joint_control import JointTabletopTask

TRAJECTORY_TOPIC = "joint_trajectory_controller/joint_trajectory"
GRIPPER_ACTION = "gripper_controller/gripper_cmd"
UNANSWERED_S = 0.25
"""Lock-step: a report that nobody has answered for so long is sent again."""
MAX_CATCH_UP_TICKS = 20
ARM_JOINTS = 7
"""The fingers come after them."""


class JointSimulator(Simulator):
    """The simulator with a joint-level arm.

    Lock-step: magma/command says that somebody has decided on a step, and the world then runs one step period, tick by
    tick: each tick is a report in joint_states and a trajectory that answers it (it carries the report's stamp). Real
    time: the world goes on by itself and the arm follows the newest trajectory.
    """

    REPORTS_END_EFFECTOR = False

    def __init__(self) -> None:
        self._follower: TrajectoryFollower | None = None
        self._time_s = 0.0
        self._ticks_left = 0
        self._deciding: EndEffectorDelta | None = None
        self._report_ns = 0
        self._reported_s = 0.0
        self._ticks = 0
        self._world_began_s = time.monotonic()
        super().__init__()
        self.create_subscription(JointTrajectory, TRAJECTORY_TOPIC, self._on_trajectory, JOINT_COMMAND)
        self._trajectory_goals = TrajectoryAction(
            self, list(self._arm.joint_names[:ARM_JOINTS]), self._refuse_goal, self._take, self._hold
        )
        self._gripper_server = ActionServer(self, GripperCommand, GRIPPER_ACTION, self._on_gripper_goal)

    @property
    def _arm(self) -> JointTabletopTask:
        return cast("JointTabletopTask", self._episode.task)

    def _make_task(self, name: str) -> Task:
        from magma_sim.backends.tabletop.joint_control import JointTabletopTask

        return JointTabletopTask(name)

    def _tick_period_s(self) -> float:
        from magma_sim.backends.tabletop.joint_control import TICK_S

        return TICK_S

    # The arm's controllers.

    def _on_trajectory(self, message: JointTrajectory) -> None:
        if self._lockstep and (not self._ticks_left or stamp_to_ns(message.header.stamp) != self._report_ns):
            return
        if not self._take(message):
            return
        if self._lockstep:
            self._arm_tick()

    def _take(self, message: JointTrajectory) -> bool:
        try:
            self._following().start(self._time_s, message.joint_names, *_rows(message))
        except ValueError as error:
            self._refuse(f"trajectory refused: {error}")
            return False
        return True

    def _refuse_goal(self, message: JointTrajectory) -> str | None:
        if self._lockstep:
            return f"a world that waits is driven by {TRAJECTORY_TOPIC} only"
        if stamp_to_ns(message.header.stamp):
            return "it has a start time, and this arm begins at once only: leave the stamp 0"
        try:
            self._following().check(message.joint_names, *_rows(message))
        except ValueError as error:
            return str(error)
        return None

    def _hold(self) -> None:
        """Stays where it is, as that controller does after a goal that was cancelled or aborted."""
        positions, _ = self._arm.joint_state()
        self._following().hold(positions[:ARM_JOINTS])

    def _on_gripper_goal(self, goal_handle: object) -> GripperCommand.Result:
        self._arm.drive_fingers(goal_handle.request.command.position)  # type: ignore[attr-defined]
        goal_handle.succeed()  # type: ignore[attr-defined]
        positions, _ = self._arm.joint_state()
        return GripperCommand.Result(position=float(positions[-1]))

    def _following(self) -> TrajectoryFollower:
        if self._follower is None:
            positions, _ = self._arm.joint_state()
            self._follower = TrajectoryFollower(self._arm.joint_names[:ARM_JOINTS], positions[:ARM_JOINTS])
        return self._follower

    # Moving the world.

    def _advance(self, command: EndEffectorDelta | None, moved_ns: int | None = None) -> None:
        """Somebody has decided on a step."""
        from magma_sim.backends.tabletop.joint_control import TICKS_PER_STEP

        if self._ticks_left:
            self._refuse("it came while a step was being executed")
            return
        self._deciding = command
        self._ticks_left = TICKS_PER_STEP
        self._report_joints(self._now_ns())

    def _arm_tick(self) -> None:
        """One tick of the world; the last one of a step shows it to everybody."""
        self._time_s += self._tick_period_s()
        follower = self._following()
        self._arm.drive(*follower.at(self._time_s))
        self._arm.tick()
        positions, velocities = self._arm.joint_state()
        self._trajectory_goals.tick(follower, self._time_s, positions[:ARM_JOINTS], velocities[:ARM_JOINTS])
        self._ticks_left -= 1
        if self._ticks_left > 0:
            self._report_joints(self._now_ns())
        else:
            command, self._deciding = self._deciding, None
            # Not when the picture has been made: the arm follows what it is told at once.
            super()._advance(command, None if self._lockstep else self._now_ns())

    def _tick(self) -> None:
        """Real time: as many ticks as have become due, few enough that a slow picture does not become a jump."""
        due = int((time.monotonic() - self._world_began_s) / self._tick_period_s()) - self._ticks
        if due > MAX_CATCH_UP_TICKS:
            self._ticks += due - MAX_CATCH_UP_TICKS
            due = MAX_CATCH_UP_TICKS
        for _ in range(max(due, 0)):
            self._ticks += 1
            if not self._ticks_left:
                from magma_sim.backends.tabletop.joint_control import TICKS_PER_STEP

                self._ticks_left = TICKS_PER_STEP
                self._deciding = self._take_pending()
            self._arm_tick()

    def _republish(self) -> None:
        if not self._ticks_left:
            super()._republish()
        elif time.monotonic() - self._reported_s > UNANSWERED_S:
            self._report_joints(self._now_ns())

    def _begin(self, task: str, variant: str, layout: int) -> None:
        self._ticks_left = 0
        self._deciding = None
        self._follower = None
        self._trajectory_goals.abandon("another episode has begun")
        super()._begin(task, variant, layout)

    # Publishing it.

    def _publish_arm(self, stamp_ns: int) -> None:
        self._report_joints(stamp_ns)

    def _report_joints(self, stamp_ns: int) -> None:
        positions, velocities = self._arm.joint_state()
        message = JointState(
            name=list(self._arm.joint_names), position=np.asarray(positions).tolist(), velocity=velocities.tolist()
        )
        message.header.stamp = ns_to_stamp(stamp_ns)
        self._report_ns = stamp_ns
        self._reported_s = time.monotonic()
        self._joints.publish(message)


def _rows(message: JointTrajectory) -> tuple[list[float], list[Any], list[Any]]:
    """Times (s), positions and velocities of a trajectory's points."""
    points = message.points
    times_s = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in points]
    return times_s, [point.positions for point in points], [point.velocities for point in points]


def main() -> None:
    """Entry point; ends the process."""
    end_process(run_node(JointSimulator))


if __name__ == "__main__":
    main()
