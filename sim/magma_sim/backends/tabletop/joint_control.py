"""The tabletop tasks with an arm that takes joint positions instead of end-effector deltas, as a real arm does.

Nobody in here knows inverse kinematics: whoever moves this arm brings his own. Time passes in ticks of a hundredth of a
second; `step` only counts and looks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from magma_sim.backends.tabletop.control import FINGER_OPEN_M
from magma_sim.backends.tabletop.scene import PHYSICS_STEPS, SIM_FREQUENCY_HZ
from magma_sim.backends.tabletop.task import TabletopTask
from magma_sim.tasks.interface import Observation, check_action

ARM_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGER_JOINTS = ("panda_finger_joint1", "panda_finger_joint2")
TICK_S = 1.0 / SIM_FREQUENCY_HZ
TICKS_PER_STEP = PHYSICS_STEPS


class JointTabletopTask(TabletopTask):
    """A tabletop task whose arm is driven joint by joint; see `TabletopTask` for the arguments."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of all joints in the order of the vectors here, as in the robot's description."""
        return (*ARM_JOINTS, *FINGER_JOINTS)

    def joint_state(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Measured positions and velocities (9,): rad and rad/s, the fingers m and m/s."""
        robot = self._require_scene().agent.robot._objs[0]
        return np.asarray(robot.qpos, dtype=np.float64), np.asarray(robot.qvel, dtype=np.float64)

    def drive(self, positions: NDArray[np.float64], velocities: NDArray[np.float64]) -> None:
        """Sets what the joints' drives go for.

        Args:
            positions: (7,) rad; velocities: (7,) rad/s.

        Raises:
            ValueError: wrong shape, or a value that is not finite; nothing has changed then.
        """
        positions, velocities = np.asarray(positions, np.float64), np.asarray(velocities, np.float64)
        if positions.shape != (len(ARM_JOINTS),) or velocities.shape != positions.shape:
            raise ValueError(f"the arm has {len(ARM_JOINTS)} joints, got {positions.shape} and {velocities.shape}")
        if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
            raise ValueError(f"joint targets must be finite, got {positions.tolist()} and {velocities.tolist()}")
        joints = self._require_scene().agent.robot._objs[0].active_joints
        for joint, position, velocity in zip(joints, positions, velocities, strict=False):
            joint.set_drive_target(float(position))
            joint.set_drive_velocity_target(float(velocity))

    def drive_fingers(self, position: float) -> None:
        """Sets what both finger joints go for, m: below 0 presses, 0.04 is fully open."""
        if not np.isfinite(position):
            raise ValueError(f"the finger position must be finite, got {position}")
        scene = self._require_scene()
        for joint in scene.agent.robot._objs[0].active_joints[len(ARM_JOINTS) :]:
            joint.set_drive_target(float(np.clip(position, -FINGER_OPEN_M, FINGER_OPEN_M)))
        scene.controller.gripper_target = float(np.clip(position / FINGER_OPEN_M, 0.0, 1.0))

    def tick(self) -> None:
        """Lets TICK_S of simulated time pass."""
        self._require_scene().physics_tick()

    def step(self, action: NDArray[np.floating] | None, *, render: bool = True, late_s: float = 0.0) -> Observation:
        """Counts a step and looks; the arm has been driven by `drive` and `tick` before.

        Args:
            action: checked, and otherwise not used, as is `late_s`.
        """
        del late_s
        if action is not None:
            check_action(action)
        self._step += 1
        return self._observe(render)

    def _observe(self, render: bool) -> Observation:
        observation = super()._observe(render)
        measured = observation.end_effector
        # This arm knows no target pose of its own.
        return replace(
            observation,
            end_effector=replace(
                measured, target_position=measured.position, target_quaternion_xyzw=measured.quaternion_xyzw
            ),
        )
