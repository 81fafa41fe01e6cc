"""The arm's controller: EndEffectorDelta in, joint drive targets out.

This is where this project's absolute opening of the gripper meets finger joint positions; poses are converted in
`magma_sim.backends.shared.poses`. The controller keeps the target pose itself, in
float64, so that deltas applied open loop add up exactly; ManiSkill's own `pd_ee_target_delta_pose` sends rotations
through float32 Euler angles.
"""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien.pysapien_pinocchio import PinocchioModel
from sapien.wrapper.urdf_exporter import export_kinematic_chain_urdf

from magma_sim.backends.shared.poses import apply_delta, pose_from_sapien, pose_to_sapien

FINGER_OPEN_M = 0.04
"""position of each finger joint when the gripper is fully open (80 mm between the fingers)"""
FINGER_CLOSED_TARGET_M = -0.01
"""drive target when closed: beyond contact, so that a thin object is still pressed (as in ManiSkill's Panda)"""
ARM_STIFFNESS, ARM_DAMPING, ARM_FORCE_LIMIT = 2000.0, 120.0, 100.0
FINGER_STIFFNESS, FINGER_DAMPING, FINGER_FORCE_LIMIT = 1000.0, 60.0, 100.0
INTERPOLATED_FRACTION = 0.6
"""part of a step period over which the joint targets travel; the rest lets the arm arrive before the next frame"""
_ARM_JOINTS = 7


def finger_target(opening: float) -> float:
    """Opening 0 (closed) ... 1 (open) -> drive target of each finger joint, m."""
    return FINGER_CLOSED_TARGET_M + opening * (FINGER_OPEN_M - FINGER_CLOSED_TARGET_M)


class EndEffectorController:
    """Holds the target pose of the tool centre point and drives the joints towards it.

    The robot base is the origin of the world, so base frame and world frame are the same.
    """

    def __init__(self, robot: sapien.physx.PhysxArticulation, tool_link: sapien.physx.PhysxArticulationLinkComponent):
        self._robot = robot
        self._tool = tool_link
        self._joints = robot.active_joints
        # SAPIEN's compiled model even where the pinocchio wheel is installed: with that present,
        # robot.create_pinocchio_model() becomes a slow loop in Python with other results.
        self._kinematics = PinocchioModel(export_kinematic_chain_urdf(robot, force_fix_root=True), [0.0, 0.0, -9.81])
        self._kinematics.set_joint_order([f"joint_{joint.child_link.index}" for joint in self._joints])
        self._kinematics.set_link_order([f"link_{link.index}" for link in robot.links])
        self._movable = np.array([1] * _ARM_JOINTS + [0] * (len(self._joints) - _ARM_JOINTS), dtype=np.int32)
        limits = np.concatenate([joint.limits for joint in self._joints])[:_ARM_JOINTS]
        self._low, self._high = limits[:, 0], limits[:, 1]
        for index, joint in enumerate(self._joints):
            if index < _ARM_JOINTS:
                joint.set_drive_properties(ARM_STIFFNESS, ARM_DAMPING, ARM_FORCE_LIMIT, "force")
            else:
                joint.set_drive_properties(FINGER_STIFFNESS, FINGER_DAMPING, FINGER_FORCE_LIMIT, "force")
        self.target_position = np.zeros(3)
        self.target_quaternion_xyzw = np.array([0.0, 0.0, 0.0, 1.0])
        self.gripper_target = 1.0
        self._from = np.zeros(len(self._joints))
        self._to = np.zeros(len(self._joints))
        self._since_action = 0
        """physics steps since the last action"""
        self._driven = self._to

    def solve(
        self, position: NDArray[np.float64], quaternion_xyzw: NDArray[np.float64], start: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Joint positions that bring the tool to a pose, found from `start` (n joints); None when out of reach."""
        solution, success, _ = self._kinematics.compute_inverse_kinematics(
            self._tool.index,
            pose_to_sapien(position, quaternion_xyzw),
            initial_qpos=start,
            active_qmask=self._movable,
            eps=1e-4,
            max_iterations=300,
            dt=0.3,
        )
        solution = np.asarray(solution, dtype=np.float64).ravel()
        arm = solution[:_ARM_JOINTS]
        if not success or (arm < self._low).any() or (arm > self._high).any():
            return None
        return solution

    def reset(self, joint_positions: NDArray[np.float64]) -> None:
        """Puts the robot at rest at `joint_positions` (n joints, rad and m); the target is the pose it then has."""
        self._robot.set_qpos(joint_positions)
        self._robot.set_qvel(np.zeros(len(joint_positions)))
        self._kinematics.compute_forward_kinematics(joint_positions)
        self.target_position, self.target_quaternion_xyzw = pose_from_sapien(
            self._kinematics.get_link_pose(self._tool.index)
        )
        self.gripper_target = float(np.clip(joint_positions[-1] / FINGER_OPEN_M, 0.0, 1.0))
        self._to = np.array(joint_positions, dtype=np.float64)
        self._to[_ARM_JOINTS:] = finger_target(self.gripper_target)
        self._from = self._to
        self._since_action = 0
        for joint in self._joints:
            # Another controller of the same robot may have left one.
            joint.set_drive_velocity_target(0.0)
        self._drive(self._to)
        self._driven = self._to

    def set_action(self, action: NDArray[np.float64]) -> bool:
        """Moves the target by one EndEffectorDelta (7,).

        Returns:
            False when the new pose is out of reach: then only the gripper obeys and the target pose stays.
        """
        position, quaternion = apply_delta(self.target_position, self.target_quaternion_xyzw, action)
        solution = self.solve(position, quaternion, self._to)
        # Where the drives are now: on the way still, when the action before came late in its step.
        self._from = self._driven
        self._since_action = 0
        self._to = self._to.copy()
        if solution is not None:
            self.target_position, self.target_quaternion_xyzw = position, quaternion
            self._to[:_ARM_JOINTS] = solution[:_ARM_JOINTS]
        self.gripper_target = float(action[6])
        self._to[_ARM_JOINTS:] = finger_target(self.gripper_target)
        return solution is not None

    def before_physics_step(self, steps: int) -> None:
        """Sets drive targets for the next physics step; a step period has `steps` of them."""
        fraction = min(1.0, (self._since_action + 1) / (INTERPOLATED_FRACTION * steps))
        self._since_action += 1
        joints = self._from + fraction * (self._to - self._from)
        joints[_ARM_JOINTS:] = self._to[_ARM_JOINTS:]
        self._drive(joints)
        self._driven = joints if fraction < 1.0 else self._to

    def _drive(self, joints: NDArray[np.float64]) -> None:
        for joint, value in zip(self._joints, joints, strict=True):
            joint.set_drive_target(float(value))

    @property
    def opening(self) -> float:
        """Measured opening of the gripper, 0 ... 1."""
        return float(np.clip(self._robot.qpos[_ARM_JOINTS:].mean() / FINGER_OPEN_M, 0.0, 1.0))

    def joint_positions(self) -> dict[str, float]:
        """Measured position of every joint by name: rad, the two finger joints m."""
        # ManiSkill names joints scene-<number>-<robot>_<name in the robot's own model>.
        names = (joint.name.rpartition("-")[2].removeprefix("panda_") for joint in self._joints)
        return {name: float(value) for name, value in zip(names, self._robot.qpos, strict=True)}

    def measured_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) m and quaternion xyzw (4,) of the tool centre point."""
        return pose_from_sapien(self._tool.entity_pose)
